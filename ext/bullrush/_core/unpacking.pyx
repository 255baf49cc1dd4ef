"""MessagePack to values.

Everything is walked before it is read: the walker checks each length against what is there, so the reader can
trust them all, and a few bytes that claim a billion elements cost nothing. Nothing is ever imported by name.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memcpy

from bullrush._core.moments cimport read_moment
from bullrush._core.msgpack_writer cimport (
    AWARE_DATETIME_CODE, BIG_INT_CODE, DATE_CODE, DECIMAL_CODE, FROZENSET_CODE, MAX_DEPTH,
    NAIVE_DATETIME_CODE, SET_CODE, TIME_CODE, TIMEDELTA_CODE, UUID_CODE, load,
)
from bullrush._core.walker cimport describe, walk
from bullrush._core.weigher cimport WEIGH_FROM, refuse_heavy

from decimal import Decimal
from uuid import UUID

from msgpack import ExtType, Timestamp

from bullrush.errors import CodecError

cdef enum:
    TIMESTAMP_CODE = -1  # the format's own: an instant, as written by other languages


cdef struct Reader:
    const unsigned char* at
    int depth      # containers around the value that comes next


cdef object unpack_slice(const unsigned char* data, Py_ssize_t size):
    """Read the one value that fills these bytes; the caller keeps them alive. Raises CodecError."""
    try:
        if size > WEIGH_FROM:
            refuse_heavy(data, size)
        return read_whole(data, size, 0, False)
    except (CodecError, MemoryError):
        raise
    except Exception as error:
        raise CodecError(f"cannot decode {size} bytes: {error or type(error).__name__}") from error


cdef object read_whole(const unsigned char* data, Py_ssize_t size, int depth, bint hashable):
    """Prove the bytes well-formed at this depth, then read the value that fills them."""
    cdef Py_ssize_t end = 0
    cdef Reader source
    cdef int problem = walk(data, size, &end, MAX_DEPTH - depth)
    if problem:
        raise CodecError(f"cannot decode {size} bytes: {describe(problem)}")
    if end != size:
        raise CodecError(f"cannot decode {size} bytes: the value ends at {end}, more follows")
    source.at = data
    source.depth = depth
    return read_value(&source, hashable)


cdef inline unsigned long long take(Reader* source, int width) noexcept:
    cdef unsigned long long number = load(source.at, width)
    source.at += width
    return number


cdef object read_value(Reader* source, bint hashable):
    """Read the next value. In a set and as a key (`hashable`) lists become tuples."""
    cdef unsigned char tag = source.at[0]
    source.at += 1
    if 0xA0 <= tag < 0xC0:
        return read_str(source, tag & 0x1F)
    if tag < 0x80:
        return tag
    if tag < 0x90:
        return read_dict(source, tag & 0x0F)
    if tag < 0xA0:
        return read_sequence(source, tag & 0x0F, hashable)
    if tag >= 0xE0:
        return <signed char> tag
    if tag == 0xC0:
        return None
    if tag <= 0xC3:
        return tag == 0xC3
    return read_wide(source, tag, hashable)


cdef object read_wide(Reader* source, unsigned char tag, bint hashable):
    if tag <= 0xC6:
        return read_bytes(source, <Py_ssize_t> take(source, 1 << (tag - 0xC4)))
    if tag <= 0xC9:
        return read_extension(source, <Py_ssize_t> take(source, 1 << (tag - 0xC7)), hashable)
    if tag <= 0xD3:
        return read_number(source, tag)
    if tag <= 0xD8:
        return read_extension(source, 1 << (tag - 0xD4), hashable)
    if tag <= 0xDB:
        return read_str(source, <Py_ssize_t> take(source, 1 << (tag - 0xD9)))
    if tag <= 0xDD:
        return read_sequence(source, <Py_ssize_t> take(source, 2 << (tag - 0xDC)), hashable)
    return read_dict(source, <Py_ssize_t> take(source, 2 << (tag - 0xDE)))


cdef object read_number(Reader* source, unsigned char tag):
    if tag == 0xCB or tag == 0xCA:
        return read_float(source, tag == 0xCB)
    if tag <= 0xCF:
        return take(source, 1 << (tag - 0xCC))
    if tag == 0xD0:
        return <signed char> take(source, 1)
    if tag == 0xD1:
        return <short> take(source, 2)
    if tag == 0xD2:
        return <int> take(source, 4)
    return <long long> take(source, 8)


cdef object read_float(Reader* source, bint wide):
    cdef unsigned long long bits
    cdef unsigned int half
    cdef double number
    cdef float short_number
    if wide:
        bits = take(source, 8)
        memcpy(&number, &bits, 8)
        return number
    half = <unsigned int> take(source, 4)
    memcpy(&short_number, &half, 4)
    return <double> short_number


cdef object read_str(Reader* source, Py_ssize_t size):
    text = PyUnicode_DecodeUTF8(<const char*> source.at, size, NULL)
    source.at += size
    return text


cdef bytes read_bytes(Reader* source, Py_ssize_t size):
    data = PyBytes_FromStringAndSize(<const char*> source.at, size)
    source.at += size
    return data


cdef object read_sequence(Reader* source, Py_ssize_t size, bint hashable):
    source.depth += 1
    result = read_tuple(source, size) if hashable else read_list(source, size)
    source.depth -= 1
    return result


cdef list read_list(Reader* source, Py_ssize_t size):
    cdef Py_ssize_t index
    cdef list result = PyList_New(size)
    for index in range(size):
        item = read_value(source, False)
        Py_INCREF(item)
        PyList_SET_ITEM(result, index, item)
    return result


cdef tuple read_tuple(Reader* source, Py_ssize_t size):
    cdef Py_ssize_t index
    cdef tuple result = PyTuple_New(size)
    for index in range(size):
        item = read_value(source, True)
        Py_INCREF(item)
        PyTuple_SET_ITEM(result, index, item)
    return result


cdef dict read_dict(Reader* source, Py_ssize_t size):
    cdef Py_ssize_t _
    cdef dict result = {}
    source.depth += 1
    for _ in range(size):
        key = read_value(source, True)
        if type(key) is not str and type(key) is not int:
            raise ValueError(f"a key of type {type(key).__name__}: keys are str or int")
        result[key] = read_value(source, False)
    if len(result) != size:
        raise ValueError("a key that stands twice in one map")
    source.depth -= 1
    return result


# --- extensions

cdef object read_extension(Reader* source, Py_ssize_t size, bint hashable):
    cdef int code = <signed char> source.at[0]
    cdef const unsigned char* payload = source.at + 1
    source.at += 1 + size
    if code == SET_CODE:
        return set(read_members(payload, size, source.depth))
    if code == FROZENSET_CODE:
        return frozenset(read_members(payload, size, source.depth))
    if is_moment_code(code):
        return read_moment(code, payload, size)
    return read_leaf_extension(code, PyBytes_FromStringAndSize(<const char*> payload, size))


cdef bint is_moment_code(int code) noexcept:
    return (
        code == AWARE_DATETIME_CODE or code == NAIVE_DATETIME_CODE or code == DATE_CODE
        or code == TIME_CODE or code == TIMEDELTA_CODE
    )


cdef tuple read_members(const unsigned char* payload, Py_ssize_t size, int depth):
    members = read_whole(payload, size, depth, True)
    if type(members) is not tuple:
        raise ValueError("a set whose members are not a list")
    return members


cdef object read_leaf_extension(int code, bytes payload):
    if code == UUID_CODE:
        return UUID(bytes=payload)
    if code == DECIMAL_CODE:
        return Decimal(payload.decode("ascii"))
    if code == BIG_INT_CODE:
        return int.from_bytes(payload, "big", signed=True)
    if code == TIMESTAMP_CODE:
        return Timestamp.from_bytes(payload).to_datetime()
    return ExtType(code, payload)
