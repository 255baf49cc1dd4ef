"""Estimates what a value takes in memory once it is decoded, without making any object.

A megabyte of empty maps is a million dicts, 72 MB: well-formed, and a way to end a worker's process with a
few jobs. So a long value is weighed before it is read, and refused when it would grow far beyond what honest
data does: `BASE` and eightfold its bytes. Lists of numbers grow to five times their bytes, text to twice,
rows of small dicts to six times and more, which the base leaves room for up to a megabyte.

Sizes are those of CPython 3.11 to 3.14 on 64-bit machines (sys.getsizeof), rounded up.
"""

from bullrush._core.msgpack_writer cimport FROZENSET_CODE, SET_CODE, load
from bullrush._core.walker cimport BAD, LEAF, MAPPING, Head, look

from bullrush.errors import CodecError

cdef enum:
    BASE = 33554432         # 32 MiB
    FACTOR = 8
    SLOT = 8                # of a list or tuple
    LIST = 64
    DICT = 64
    FILLED_DICT = 160
    ENTRY = 64              # of a dict or a set, with the free places of its table
    SET = 216
    TEXT = 56
    WIDEST = 4              # bytes of a character, when one of them is beyond the basic plane
    BYTES = 40
    NUMBER = 32
    EXTENSION = 160         # the heaviest is a Decimal


cdef inline long long most_for(Py_ssize_t size) noexcept nogil:
    """How much a value of so many bytes may weigh."""
    return BASE + FACTOR * <long long> size


cdef long long weigh(const unsigned char* data, Py_ssize_t size) noexcept nogil:
    """Bytes in memory of what these bytes decode to, an upper estimate.

    The members of sets lie inside an extension and are counted like the rest. What is malformed ends the
    count: the reader refuses it.
    """
    cdef long long weight = 0
    cdef Py_ssize_t at = 0
    cdef Head head
    cdef unsigned char tag
    cdef bint in_set = False
    while at < size:
        tag = data[at]
        head = look(tag)
        at += 1
        if head.shape == BAD or size - at < head.width:
            break
        if head.width:
            head.size += <Py_ssize_t> load(data + at, head.width)
            at += head.width
        if head.size > size - at:
            break
        if head.shape == MAPPING:
            weight += DICT if head.size == 0 else FILLED_DICT + ENTRY * <long long> head.size
        elif head.shape != LEAF:
            weight += LIST + (SLOT + (ENTRY if in_set else 0)) * <long long> head.size
        elif is_set(tag, data[at] if at < size else 0):
            weight += SET
            at += 1          # the code; its payload is a list, and comes next
            in_set = True
            continue
        else:
            weight += weight_of_leaf(tag, head.size)
            at += head.size
        in_set = False
    return weight


cdef int refuse_heavy(const unsigned char* data, Py_ssize_t size) except -1:
    """Raise CodecError for what is too long, or would take too much memory once it is decoded."""
    cdef long long weight
    if size <= WEIGH_FROM:
        return 0
    if size > MAX_BYTES:
        raise CodecError(f"{size:,} bytes, and {MAX_BYTES:,} are the limit for one value")
    weight = weigh(data, size)
    if weight > most_for(size):
        raise CodecError(
            f"{size:,} bytes that take about {weight:,} bytes of memory once they are decoded, and "
            f"{most_for(size):,} are the limit for that length; put fewer, larger objects into it")
    return 0


cdef bint is_set(unsigned char tag, unsigned char code) noexcept nogil:
    return (0xC7 <= tag <= 0xC9 or 0xD4 <= tag <= 0xD8) and (code == SET_CODE or code == FROZENSET_CODE)


cdef long long weight_of_leaf(unsigned char tag, Py_ssize_t size) noexcept nogil:
    if tag < 0x80 or tag >= 0xE0 or tag == 0xC0 or tag == 0xC2 or tag == 0xC3:
        return 0             # small numbers, None and bools are there already, whatever refers to them
    if 0xA0 <= tag < 0xC0 or 0xD9 <= tag <= 0xDB:
        return TEXT + WIDEST * <long long> size if size > 1 else 0
    if 0xC4 <= tag <= 0xC6:
        return BYTES + size
    if 0xCA <= tag <= 0xD3:
        return NUMBER
    return EXTENSION + 2 * <long long> size
