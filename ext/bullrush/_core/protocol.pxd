from bullrush._core.session cimport Session


cdef class DataProtocol:
    cdef readonly object transport
    cdef readonly object loop
    cdef readonly object lost
    cdef object _old
    cdef object _reader
    cdef object _pending
    cdef object _on_lost
    cdef list _touched
    cdef double _waiting_since

    cpdef pump(self, Session session)
    cdef _expect(self, who, double now)
    cdef _hand_over(self, double now)
