from bullrush._core.frames cimport WriteBuffer
from bullrush._core.job cimport JobBase
from bullrush._core.session cimport Call, Session


cdef enum:
    CALL_WEIGHT = 1000
    OTHER_WEIGHT = 4

# What a reply says of the queue; see exchange.lua.
cdef enum:
    PAUSED = 1
    MORE = 2
    SUSPECTS_LEFT = 4
    OUTCOMES_ONLY = 8
    EVENTS_OFF = 16
    LISTENING = 32
    LIMITED = 64
    CLOSED = 128


cdef class Packed:
    """A return value that was packed before its job is settled."""
    cdef bytes value


cdef class ExchangeCall(Call):
    """One exchange: the outcomes it carries, and what it asks for."""
    cdef bytes completed
    cdef bytes others
    cdef bytes published
    cdef int completed_count
    cdef int others_count
    cdef int published_count
    cdef list ids               # of the jobs that it settles
    cdef list starting          # suspects whose start it reports
    cdef readonly int want
    cdef readonly int free      # of those wanted, how many would start at once
    cdef readonly int want_suspects
    cdef bint promotes          # and claims nothing
    cdef bint holds             # tells the queue to start nothing for a while


cdef class Outcomes(Session):
    cdef readonly bytes number
    cdef readonly int flags
    cdef public int suspects            # held and not settled
    cdef public bint charged            # one of them was charged before
    cdef object _owner
    cdef object _kind
    cdef long long _keep
    cdef long long _age
    cdef bint _own_keep                 # the worker was given a retention, which wins over a queue's default
    cdef object _sealed
    cdef WriteBuffer _completed_events
    cdef WriteBuffer _others
    cdef dict _events
    cdef int _completed_count
    cdef int _others_count
    cdef list _ids
    cdef list _starting
    cdef unsigned char _tail[10]        # the worker's number as msgpack, for outcomes
    cdef str _trouble
    cdef readonly object ready          # claimed, not started
    cdef int _holds                     # calls that hold the queue and have no reply yet
    cdef bint _hold_gathered
    cdef WriteBuffer _completed

    cdef _forget_outcomes(self)
    cdef _set_number(self, bytes number)
    cdef long long server_ms(self, long long ns) noexcept
    cdef complete(self, JobBase job, object value, long long finished_ns)
    cdef bytes _packed(self, JobBase job, object value)
    cdef int _reserve_event(self, Py_ssize_t id_size, Py_ssize_t length) except -1
    cdef _complete_other(self, JobBase job, bytes packed, long long finished_ns)
    cdef tuple _retention(self, object keep, long long count, long long age)
    cdef _publish_value(self, JobBase job, const unsigned char* raw, Py_ssize_t length)
    cdef bytes _failure(self, JobBase job, bytes reason, bytes error_type, bytes stack)
    cdef _publish(self, str kind, bytes packed)
    cdef _other(self, bytes kind, JobBase job, bytes a, bytes b, bytes c, bint final)
    cdef bytes _unsuspected(self, JobBase job)
    cdef _release_ready(self)
    cdef _seal(self)
    cdef _seal_full(self)
    cdef _isolate(self, ExchangeCall call)
    cdef bytes _blame(self)
    cdef _repack(self, ExchangeCall call, list outcomes)
    cdef _write_outcome_head(
        self, WriteBuffer into, JobBase job, int kind, int size, int made, long long finished_ns)
