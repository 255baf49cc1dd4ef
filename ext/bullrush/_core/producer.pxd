from bullrush._core.frames cimport ScriptFrame, WriteBuffer
from bullrush._core.job cimport JobBase
from bullrush._core.session cimport Call, Session, Verdict


cdef class Confirmation:
    """A command that tells whether what was written before it is as durable as somebody asked."""
    cdef readonly str level
    cdef readonly bytes frame
    cdef readonly object holds


cdef class Unit:
    """What is stored or refused as a whole: a job, a chunk of `add_bulk`, or a script call of its own."""
    cdef JobBase single
    cdef list jobs
    cdef object waiter
    cdef Py_ssize_t count
    cdef Py_ssize_t bytes
    cdef double deadline
    cdef bint conditional
    cdef bint special           # has a job that is not plain
    cdef bint sent
    cdef ScriptFrame script
    cdef tuple arguments
    cdef Confirmation confirmation


cdef class AddCall(Call):
    cdef readonly list units
    cdef bint conditional
    cdef Py_ssize_t count
    cdef long long size        # of a block to reserve
    cdef bint durable          # a unit of it asks for a confirmation
    cdef bint stored           # applied, and what follows is its answer
    cdef int unconfirmed       # confirmations still to come
    cdef bytes stream_id
    cdef list duplicates


cdef class ConfirmCall(Call):
    cdef AddCall of
    cdef Confirmation confirmation


cdef class Producer(Session):
    cdef readonly object pending
    cdef readonly Py_ssize_t pending_jobs
    cdef readonly Py_ssize_t pending_bytes
    cdef readonly long long acknowledged
    cdef readonly long long missing
    cdef public Py_ssize_t max_jobs
    cdef public Py_ssize_t max_bytes
    cdef ScriptFrame _add
    cdef ScriptFrame _add_special
    cdef ScriptFrame _reserve
    cdef bytes _codec_name
    cdef public str events_mode
    cdef public object on_missing
    cdef long long _next_id
    cdef long long _last_id
    cdef long long _left
    cdef object _spare
    cdef long long _block
    cdef WriteBuffer _plain
    cdef WriteBuffer _others
    cdef object _space
    cdef object _questions     # confirmations to be asked for
    cdef list _unconfirmed     # calls that were applied and not confirmed

    cdef _push(self, Unit unit, waiter, double deadline)
    cdef bint _expire(self, Unit unit, double now, took_effect)
    cdef long long _take_id(self, JobBase job) except -1
    cdef Call _reserve_call(self)
    cdef long long _next_block(self, long long size)
    cdef long long _last_of_block(self, object number, long long size) except 0
    cdef bint _in_flight(self, str kind)
    cdef tuple _open_arguments(self)
    cdef _opened(self, list reply)
    cdef Call _next_call(self, double now)
    cdef Call _script_call(self)
    cdef AddCall _add_call(self)
    cdef _make_space(self)
    cdef bytes _encode(self, Call call)
    cdef bytes _encode_add(self, AddCall call)
    cdef long long _number_for(self, JobBase job) except -1
    cdef int _put_job(self, JobBase job, long long* first, long long* last, list ranges) except -1
    cdef _applied(self, Call call, object reply, double now)
    cdef _applied_unseen(self, Call call, object answer)
    cdef _done_script(self, Unit unit, object answer)
    cdef _ask(self, AddCall call)
    cdef Call _next_question(self)
    cdef bint _waited_for(self, AddCall call)
    cdef _confirmed(self, AddCall call)
    cdef _store(self, AddCall call, bytes stream_id, bytes answer)
    cdef _finish(self, AddCall call, bint confirmed)
    cdef list _find_duplicates(self, AddCall call, bytes answer)
    cdef _note_duplicate(self, JobBase job, bytes holder)
    cdef _done(self, Unit unit, bytes stream_id)
    cdef Verdict _refused(self, Call call, str code, str message)
    cdef Verdict _refuse(self, AddCall call, error)
    cdef bint _still_wanted(self, Call call)
    cdef _lost_after_failover(self, long long known)
    cdef _failed_to_open(self, str code, str message)


cdef long long monotonic_ns() noexcept nogil
