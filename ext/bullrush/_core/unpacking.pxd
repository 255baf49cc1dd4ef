"""MessagePack to values."""

cdef object unpack_slice(const unsigned char* data, Py_ssize_t size)
