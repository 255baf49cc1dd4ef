from bullrush._core.frames cimport ScriptFrame, WriteBuffer


cpdef enum SessionState:
    CLOSED = 0
    OPENING = 1
    READY = 2
    ENDED = 3


cdef enum Verdict:
    UNKNOWN = 0
    DROP = 1
    AGAIN = 2


cdef list need_list(object part, Py_ssize_t least, str what)


cdef class Call:
    """One call in flight, numbered unless it changes nothing."""
    cdef readonly long long number
    cdef bint unnumbered
    cdef readonly str kind
    cdef bint by_text
    cdef readonly int tries
    cdef public int failures        # replies that nobody expected
    cdef readonly double sent_at


cdef class Session:
    cdef readonly SessionState state
    cdef readonly bytes id
    cdef readonly bytes previous
    cdef readonly object inflight
    cdef readonly list resend
    cdef readonly long long applied
    cdef readonly long long sent
    cdef readonly bytes epoch
    cdef readonly str events
    cdef readonly long long clock_offset
    cdef readonly bint want_reconnect
    cdef readonly object fatal
    cdef readonly str refusal
    cdef public object after
    cdef bint touched
    cdef object _unknown
    cdef set _unloaded
    cdef object _history
    cdef bint _draining
    cdef double _not_before
    cdef double _pause
    cdef double _opened_at
    cdef Call _unwritten            # the call that is being made and written; None once it has left
    cdef ScriptFrame _open
    cdef WriteBuffer _out

    cpdef object poll(self, double now)
    cdef bytes _send(self, Call call, double now)
    cdef bytes _send_unwritten(self, double now)
    cdef list _stray(self)
    cdef bytes _begin_open(self, double now)
    cpdef receive(self, object reply, double now)
    cdef _receive_open(self, object reply, double now)
    cdef _receive_error(self, Call call, object reply, double now)
    cdef _later(self, str code, str message, double now)
    cdef _back_off(self, double now)
    cdef _reopen(self, Call call)
    cpdef lost(self)
    cdef _lost_after_failover(self, long long known)
    cdef tuple _open_arguments(self)
    cdef _opened(self, list reply)
    cdef _answered(self, Call call, object reply, double now)
    cdef bytes _encode(self, Call call)
    cdef Call _next_call(self, double now)
    cdef _applied(self, Call call, object reply, double now)
    cdef _applied_unseen(self, Call call, object answer)
    cdef Verdict _refused(self, Call call, str code, str message)
    cdef bint _still_wanted(self, Call call)
    cdef _failed_to_open(self, str code, str message)
