from bullrush._core.job cimport JobBase


cdef class JobFactory:
    cdef type _kind
    cdef object _owner
    cdef object _codec
    cdef bint _sealing          # its bytes are bound to the id, which a job has when its call is written
    cdef object _name_check
    cdef object _settings_of
    cdef long long _size_limit
    cdef dict _names

    cdef bytes _packed_name(self, object name)
    cdef JobBase _make(self, object name, object data, object settings, long long now_ms)
    cdef _place(self, JobBase job, object settings)
