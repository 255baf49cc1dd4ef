"""Dates, times and durations as extension payloads."""

from bullrush._core.msgpack_writer cimport Writer

cdef bint is_moment(object value) noexcept
cdef int write_moment(Writer* out, object value) except -1
cdef object read_moment(int code, const unsigned char* payload, Py_ssize_t size)
