"""Values to MessagePack, written into the caller's buffer."""

from bullrush._core.msgpack_writer cimport Writer

cdef int write_value(Writer* out, object value, int depth) except -1
cdef object explain(str root, object error)
