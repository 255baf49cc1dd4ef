"""The default codec and the job record, for the rest of the core."""

from bullrush._core.unpacking cimport unpack_slice
from bullrush._core.walker cimport WELL_FORMED, skip_value

cdef enum:
    NOT_A_RECORD = 16    # not an array of four elements or more
    BAD_NAME = 17
    BAD_TIMESTAMP = 18
    BAD_OPTIONS = 19
    TRAILING_BYTES = 20


cdef struct RecordParts:
    Py_ssize_t name_offset      # of the text, behind its head
    Py_ssize_t name_size
    long long timestamp         # ms
    Py_ssize_t options_offset
    Py_ssize_t options_size     # 0: none
    Py_ssize_t data_offset
    Py_ssize_t data_size

cdef bytes pack_value(object value)
cdef bytes pack_named(str root, object value)
cdef object unpack_value(object buffer)
cdef bytes pack_record(bytes packed_name, long long timestamp, bytes options, object data)
cdef int parse_record(const unsigned char* data, Py_ssize_t size, RecordParts* parts) noexcept nogil
cdef str record_problem(int code)
