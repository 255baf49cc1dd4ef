"""Values to MessagePack, written into the caller's buffer.

Own code instead of a Packer from the msgpack library: the rules (which keys, which types, how deep) hold
while writing, a record is built with one copy, threads share nothing, and a small dict takes half the time.

Extension payloads beside those in moments.pyx: UUID its 16 bytes, Decimal its str() in ASCII, set and
frozenset one list, an int beyond 64 bits the fewest bytes of two's complement, most significant first.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memcpy

from bullrush._core.moments cimport is_moment, write_moment
from bullrush._core.msgpack_writer cimport (
    BIG_INT_CODE, DECIMAL_CODE, FROZENSET_CODE, LAST_KNOWN_CODE, MAX_DEPTH, SET_CODE, UUID_CODE, Writer,
    store, write_count, write_length, write_number, write_payload, write_raw, write_tag, write_unsigned,
    writer_grow,
)

from decimal import Decimal
from uuid import UUID

from msgpack import ExtType

from bullrush.errors import CodecError

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int* overflow) except? -1

cdef object MEMBER = object()  # stands for "a member of this set" in a path
cdef str SUPPORTED = (
    "supported are None, bool, int, float, str, bytes, list, tuple, dict, set, frozenset, datetime, date, "
    "time, timedelta, Decimal and UUID"
)


class Refused(Exception):
    """Why a value cannot be written; collects the way to it, innermost step first, while it unwinds."""

    def __init__(self, reason):
        super().__init__(reason)
        self.trail = []


cdef int write_value(Writer* out, object value, int depth) except -1:
    """Write any supported value; exact built-in types first, they are nearly all there is.

    What a caller catches goes through `explain`, which makes the CodecError that names the path.
    """
    kind = type(value)
    if kind is str:
        return write_str(out, value)
    if kind is int:
        return write_int(out, value)
    if kind is dict:
        return write_dict(out, <dict> value, depth)
    if value is None:
        return write_tag(out, 0xC0)
    if value is True:
        return write_tag(out, 0xC3)
    if value is False:
        return write_tag(out, 0xC2)
    if kind is float:
        return write_float(out, value)
    if kind is list:
        return write_list(out, <list> value, depth)
    if kind is tuple:
        return write_tuple(out, <tuple> value, depth)
    if kind is bytes:
        return write_bytes(out, value)
    return write_other(out, value, depth)


cdef int write_str(Writer* out, object value) except -1:
    cdef Py_ssize_t size = 0
    cdef const char* text = PyUnicode_AsUTF8AndSize(value, &size)
    if size >= 32:
        write_length(out, 0xD9, size)
        return write_raw(out, text, size)
    if out.capacity - out.size < 1 + size:
        writer_grow(out, 1 + size)
    out.data[out.size] = <unsigned char> (0xA0 | size)
    memcpy(out.data + out.size + 1, text, size)
    out.size += 1 + size
    return 0


cdef int write_bytes(Writer* out, object value) except -1:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value)
    write_length(out, 0xC4, size)
    return write_raw(out, PyBytes_AS_STRING(value), size)


cdef int write_float(Writer* out, double value) except -1:
    cdef unsigned long long bits
    memcpy(&bits, &value, sizeof(bits))
    return write_number(out, 0xCB, bits, 8)


cdef int write_int(Writer* out, object value) except -1:
    cdef int overflow = 0
    cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        return write_big_int(out, value)
    if number >= 0:
        return write_unsigned(out, number)
    if number >= -32:
        return write_tag(out, <unsigned char> (number & 0xFF))
    if number >= -0x80:
        return write_number(out, 0xD0, number, 1)
    if number >= -0x8000:
        return write_number(out, 0xD1, number, 2)
    if number >= -0x80000000LL:
        return write_number(out, 0xD2, number, 4)
    return write_number(out, 0xD3, number, 8)


cdef int write_big_int(Writer* out, object value) except -1:
    cdef Py_ssize_t bits = int.bit_length(value)
    if bits == 64 and value > 0:
        return write_unsigned(out, value)
    return write_payload(out, BIG_INT_CODE, int.to_bytes(value, bits // 8 + 1, "big", signed=True))


# --- containers: the error collects the way to the refused value while it passes through them

cdef int enter(int depth) except -1:
    if depth >= MAX_DEPTH:
        raise Refused(f"more than {MAX_DEPTH} levels deep; a value must not contain itself or nest that far")
    return 0


cdef int write_list(Writer* out, list value, int depth) except -1:
    cdef Py_ssize_t index = 0, size = len(value)
    enter(depth)
    write_count(out, 0x90, 0xDC, size)
    try:
        for index in range(size):
            if index >= len(value):
                raise Refused("removed while it was encoded")
            write_value(out, value[index], depth + 1)
    except Exception as error:
        raise passing(error, index)
    return 0


cdef int write_tuple(Writer* out, tuple value, int depth) except -1:
    cdef Py_ssize_t index = 0
    enter(depth)
    write_count(out, 0x90, 0xDC, len(value))
    try:
        for index in range(len(value)):
            write_value(out, value[index], depth + 1)
    except Exception as error:
        raise passing(error, index)
    return 0


cdef int write_dict(Writer* out, dict value, int depth) except -1:
    key = None
    enter(depth)
    write_count(out, 0x80, 0xDE, len(value))
    try:
        for key, item in value.items():
            write_key(out, key)
            write_value(out, item, depth + 1)
    except Exception as error:
        raise passing(error, key)
    return 0


cdef int write_key(Writer* out, object key) except -1:
    if type(key) is str or isinstance(key, str):
        return write_str(out, key)
    if isinstance(key, int) and not isinstance(key, bool):
        return write_int(out, key)
    raise Refused(f"a key of type {type(key).__name__} is not supported; keys are str or int")


cdef int write_items(Writer* out, object items, int depth) except -1:
    """Write a dict subclass by its own items(), so that an OrderedDict keeps its order."""
    key = None
    enter(depth)
    write_count(out, 0x80, 0xDE, len(items))
    try:
        for key, item in items:
            write_key(out, key)
            write_value(out, item, depth + 1)
    except Exception as error:
        raise passing(error, key)
    return 0


cdef int write_set(Writer* out, unsigned char code, object value, int depth) except -1:
    """Write a set as an extension that holds one list; its length is filled in behind it."""
    cdef Py_ssize_t start
    enter(depth)
    members = tuple(value)
    write_number(out, 0xC9, 0, 4)
    write_tag(out, code)
    start = out.size
    try:
        write_tuple(out, members, depth)
    except Refused as refused:
        refused.trail.pop()
        refused.trail.append(MEMBER)
        raise
    store(out.data + start - 5, out.size - start, 4)
    return 0


# --- the rest: extension types and subclasses

cdef int write_other(Writer* out, object value, int depth) except -1:
    if is_moment(value):
        return write_moment(out, value)
    if isinstance(value, UUID):
        return write_payload(out, UUID_CODE, value.bytes)
    if isinstance(value, Decimal):
        return write_payload(out, DECIMAL_CODE, Decimal.__str__(value).encode("ascii"))
    if isinstance(value, set):
        return write_set(out, SET_CODE, value, depth)
    if isinstance(value, frozenset):
        return write_set(out, FROZENSET_CODE, value, depth)
    if isinstance(value, ExtType):
        return write_foreign(out, value)
    if isinstance(value, (bytearray, memoryview)):
        return write_bytes(out, bytes(value))
    return write_subclass(out, value, depth)


cdef int write_foreign(Writer* out, object value) except -1:
    if value.code <= LAST_KNOWN_CODE:
        raise Refused(f"extension code {value.code} is the library's own; yours are 32 to 127")
    return write_payload(out, value.code, value.data)


cdef int write_subclass(Writer* out, object value, int depth) except -1:
    """Write subclasses as what they are made of: an Enum of str as its str, a named tuple as a list."""
    if isinstance(value, str):
        return write_str(out, value)
    if isinstance(value, int):
        return write_int(out, value)
    if isinstance(value, float):
        return write_float(out, value)
    if isinstance(value, dict):
        return write_items(out, list(value.items()), depth)
    if isinstance(value, (list, tuple)):
        return write_tuple(out, tuple(value), depth)
    if isinstance(value, bytes):
        return write_bytes(out, value)
    raise Refused(f"{type(value).__name__} is not supported ({SUPPORTED})")


# --- errors

cdef object passing(object error, object step):
    """The error to raise further up, one step longer."""
    if isinstance(error, MemoryError):
        return error
    refused = as_refused(error)
    refused.trail.append(step)
    return refused


cdef object as_refused(object error):
    if isinstance(error, Refused):
        return error
    if isinstance(error, UnicodeEncodeError):
        lone = error.object[error.start]
        refused = Refused(f"the lone surrogate {lone!a} at index {error.start} is not Unicode; send bytes")
    else:
        refused = Refused(str(error) or type(error).__name__)
    refused.__cause__ = error
    return refused


cdef object explain(str root, object error):
    """The CodecError for what `write_value` raised: where, why, and what would work."""
    if isinstance(error, MemoryError):
        return error
    refused = as_refused(error)
    result = CodecError(f"{path_of(root, refused.trail[::-1])}: {refused}")
    result.__cause__ = refused.__cause__
    return result


cdef str path_of(str root, list steps):
    if len(steps) > 12:
        return path_of(root, steps[:6]) + "..."
    return root + "".join([path_step(step) for step in steps])


cdef str path_step(object step):
    if step is MEMBER:
        return "{member}"
    if isinstance(step, str) and step.isidentifier():
        return "." + str.__str__(step)
    return f"[{step!r:.40}]"
