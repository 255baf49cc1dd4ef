"""A growable buffer and the heads of MessagePack values; header only, so that no call leaves the module."""

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from libc.string cimport memcpy

cdef enum:
    MAX_DEPTH = 512       # containers inside each other, the outermost included; writer and reader agree
    STACK_BYTES = 1024    # a caller's first buffer: most jobs never allocate another


cdef enum:                # extension codes: 0 to 31 belong to the library, 32 to 127 to its users
    UUID_CODE = 0
    DECIMAL_CODE = 1
    DATE_CODE = 2
    TIME_CODE = 3
    TIMEDELTA_CODE = 4
    NAIVE_DATETIME_CODE = 5
    SET_CODE = 6
    FROZENSET_CODE = 7
    BIG_INT_CODE = 8
    AWARE_DATETIME_CODE = 9
    LAST_KNOWN_CODE = 9


cdef struct Writer:
    unsigned char* data
    Py_ssize_t size
    Py_ssize_t capacity
    bint owned            # False: `data` is the caller's first buffer


cdef inline void writer_start(Writer* out, unsigned char* space, Py_ssize_t capacity) noexcept nogil:
    out.data = space
    out.size = 0
    out.capacity = capacity
    out.owned = False


cdef inline void writer_release(Writer* out) noexcept nogil:
    if out.owned:
        PyMem_RawFree(out.data)
        out.owned = False


cdef inline int writer_grow(Writer* out, Py_ssize_t extra) except -1:
    cdef Py_ssize_t capacity = max(out.capacity * 2, out.size + extra)
    cdef unsigned char* data
    if out.owned:
        data = <unsigned char*> PyMem_RawRealloc(out.data, capacity)
    else:
        data = <unsigned char*> PyMem_RawMalloc(capacity)
    if data == NULL:
        raise MemoryError(f"no memory for {capacity} bytes of encoded data")
    if not out.owned:
        memcpy(data, out.data, out.size)
    out.data = data
    out.capacity = capacity
    out.owned = True
    return 0


cdef inline int write_raw(Writer* out, const void* source, Py_ssize_t size) except -1:
    if out.capacity - out.size < size:
        writer_grow(out, size)
    memcpy(out.data + out.size, source, size)
    out.size += size
    return 0


cdef inline int write_tag(Writer* out, unsigned char tag) except -1:
    if out.size == out.capacity:
        writer_grow(out, 1)
    out.data[out.size] = tag
    out.size += 1
    return 0


cdef inline void store(unsigned char* target, unsigned long long number, int width) noexcept nogil:
    """Write the low `width` bytes of a number, most significant first (negative ones in two's complement)."""
    while width > 0:
        width -= 1
        target[width] = <unsigned char> (number & 0xFF)
        number >>= 8


cdef inline unsigned long long load(const unsigned char* source, int width) noexcept nogil:
    cdef unsigned long long number = 0
    cdef int index
    for index in range(width):
        number = (number << 8) | source[index]
    return number


cdef inline int write_number(Writer* out, unsigned char tag, unsigned long long number, int width) except -1:
    """Write a tag and the number of `width` bytes behind it."""
    if out.capacity - out.size < 9:
        writer_grow(out, 9)
    out.data[out.size] = tag
    store(out.data + out.size + 1, number, width)
    out.size += 1 + width
    return 0


cdef inline int check_length(Py_ssize_t length) except -1:
    if length > 0xFFFFFFFF:
        raise ValueError(f"a length of {length} is more than the format holds (4294967295)")
    return 0


cdef inline int write_length(Writer* out, unsigned char tag, Py_ssize_t length) except -1:
    """Write the head of a str, bytes or extension; `tag` is its 8-bit form, the wider ones follow it."""
    if length <= 0xFF:
        return write_number(out, tag, length, 1)
    if length <= 0xFFFF:
        return write_number(out, tag + 1, length, 2)
    check_length(length)
    return write_number(out, tag + 2, length, 4)


cdef inline int write_count(
    Writer* out, unsigned char short_tag, unsigned char tag, Py_ssize_t count
) except -1:
    """Write the head of a list or dict; `tag` is its 16-bit form, the 32-bit form follows it."""
    if count < 16:
        return write_tag(out, short_tag | <unsigned char> count)
    if count <= 0xFFFF:
        return write_number(out, tag, count, 2)
    check_length(count)
    return write_number(out, tag + 1, count, 4)


cdef inline int write_unsigned(Writer* out, unsigned long long number) except -1:
    if number < 0x80:
        return write_tag(out, <unsigned char> number)
    if number <= 0xFF:
        return write_number(out, 0xCC, number, 1)
    if number <= 0xFFFF:
        return write_number(out, 0xCD, number, 2)
    if number <= 0xFFFFFFFFULL:
        return write_number(out, 0xCE, number, 4)
    return write_number(out, 0xCF, number, 8)


cdef inline int write_extension_head(Writer* out, unsigned char code, Py_ssize_t length) except -1:
    if length == 1 or length == 2 or length == 4 or length == 8 or length == 16:
        write_tag(out, 0xD4 if length == 1 else 0xD5 if length == 2 else 0xD6 if length == 4
                  else 0xD7 if length == 8 else 0xD8)
    else:
        write_length(out, 0xC7, length)
    return write_tag(out, code)


cdef inline int write_payload(Writer* out, unsigned char code, bytes payload) except -1:
    write_extension_head(out, code, len(payload))
    return write_raw(out, <const char*> payload, len(payload))
