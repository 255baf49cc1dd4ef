cdef class WriteBuffer:
    cdef unsigned char* data
    cdef Py_ssize_t size
    cdef Py_ssize_t capacity

    cdef int reserve(self, Py_ssize_t extra) except -1
    cdef void clear(self) noexcept
    cdef bytes copy(self)
    cdef bytes take(self)
    cdef int put_raw(self, const unsigned char* source, Py_ssize_t length) except -1
    cdef int put_bytes(self, bytes source) except -1
    cdef int put_buffer(self, WriteBuffer other) except -1
    cdef int put_bulk_head(self, Py_ssize_t length) except -1
    cdef int put_bulk_raw(self, const unsigned char* source, Py_ssize_t length) except -1
    cdef int put_bulk(self, bytes source) except -1
    cdef int put_bulk_text(self, str source) except -1
    cdef int put_bulk_number(self, long long number) except -1


cdef class ScriptFrame:
    """One script bound to the keys of one queue: its call's constant head, packed once."""
    cdef readonly str name
    cdef bytes _by_sha
    cdef bytes _by_text
    cdef Py_ssize_t _fixed

    cdef int begin(self, WriteBuffer into, Py_ssize_t arguments, bint by_text) except -1


cdef int write_number(unsigned char* target, long long number) noexcept nogil
