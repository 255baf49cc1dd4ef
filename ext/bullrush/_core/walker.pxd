"""Proves bytes to be well-formed MessagePack without making any object."""

cdef enum:
    WELL_FORMED = 0
    TRUNCATED = 1        # ends inside a value, or a length says more than there is
    TOO_DEEP = 2         # more containers inside each other than MAX_DEPTH
    RESERVED_BYTE = 3    # 0xC1, which no value starts with

cdef enum Shape:
    BAD = 0
    LEAF = 1       # `size` bytes follow the head
    SEQUENCE = 2   # `size` values follow
    MAPPING = 3    # `size` pairs follow


cdef struct Head:
    Shape shape
    Py_ssize_t size
    int width      # bytes of the length behind the tag

cdef Head look(unsigned char tag) noexcept nogil
cdef int skip_value(const unsigned char* data, Py_ssize_t size, Py_ssize_t* position) noexcept nogil
cdef int walk(const unsigned char* data, Py_ssize_t size, Py_ssize_t* position, int depth) noexcept nogil
cdef str describe(int problem)
