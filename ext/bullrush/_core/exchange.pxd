from bullrush._core.frames cimport ScriptFrame, WriteBuffer
from bullrush._core.job cimport JobBase
from bullrush._core.session cimport Call, Session, Verdict


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


cdef class Exchange(Session):
    cdef readonly bytes number
    cdef readonly object ready          # claimed, not started
    cdef readonly list unconfirmed      # suspects whose start is being reported
    cdef readonly list broken           # claimed, with a record that cannot be decoded: (job, error)
    cdef readonly list refused          # ids whose outcome came too late
    cdef readonly list expired          # leases that seem dead: (number, deadline)
    cdef readonly list unseen           # ids that the server says we hold and whose reply was lost
    cdef readonly bint lease_lost
    cdef readonly double renewed_at
    cdef readonly long long due_at      # server ms of a delayed job this worker was told of, 0 = none
    cdef readonly int flags
    cdef readonly bint dry
    cdef readonly long long server_held
    cdef public int concurrency
    cdef public int prefetch            # -1 = adaptive
    cdef public int running
    cdef public int suspects            # held and not settled
    cdef public bint charged            # one of them was charged before
    cdef public bint claiming           # False: paused or closing
    cdef public bint look
    cdef public bint promote_only       # the next call claims nothing
    cdef public bint asked              # something may be there: look, whatever the last reply said
    cdef public int gather              # with a call in flight, another leaves once that much has gathered
    cdef public object running_jobs
    cdef readonly long long calls
    cdef readonly long long claimed_total
    cdef readonly long long settled_total
    cdef ScriptFrame _script
    cdef object _owner
    cdef object _sink
    cdef object _kind
    cdef dict _kinds
    cdef bytes _codec_name
    cdef bytes _host
    cdef readonly int lease
    cdef long long _keep
    cdef long long _age
    cdef bint _own_keep                 # the worker was given a retention, which wins over a queue's default
    cdef bytes _limit                   # the worker's own rate, as the script reads it
    cdef bint _register
    cdef int _holds                     # calls that hold the queue and have no reply yet
    cdef bint _hold_gathered
    cdef object _sealed
    cdef WriteBuffer _completed
    cdef WriteBuffer _completed_events
    cdef WriteBuffer _others
    cdef dict _events
    cdef int _completed_count
    cdef int _others_count
    cdef list _ids
    cdef list _starting
    cdef unsigned char _tail[10]        # the worker's number as msgpack, for outcomes
    cdef double _sent_last
    cdef long long _starts
    cdef long long _starts_before
    cdef double _window_at
    cdef double _allowance
    cdef str _trouble

    cdef _start_afresh(self)
    cdef _set_number(self, bytes number)
    cdef long long server_ms(self, long long ns) noexcept
    cdef _write_outcome_head(
        self, WriteBuffer into, JobBase job, int kind, int size, int made, long long finished_ns)
    cdef complete(self, JobBase job, object value, long long finished_ns)
    cdef bytes _packed(self, object value)
    cdef _put_blob_size(self, WriteBuffer into, Py_ssize_t size)
    cdef _complete_other(self, JobBase job, bytes packed, long long finished_ns)
    cdef tuple _retention(self, object keep, long long count, long long age)
    cdef _publish_value(self, JobBase job, const unsigned char* raw, Py_ssize_t length)
    cdef bytes _failure(self, JobBase job, bytes reason, bytes error_type, bytes stack)
    cdef _publish(self, str kind, bytes packed)
    cdef _other(self, bytes kind, JobBase job, bytes a, bytes b, bytes c, bint final)
    cdef _release_ready(self)
    cdef _seal(self)
    cdef note_start(self)
    cdef bint may_start(self, double now) noexcept
    cdef double _prefetch_now(self, double now)
    cdef int _want(self, double now)
    cdef int _free(self)
    cdef int _want_suspects(self)
    cdef Call _next_call(self, double now)
    cdef bytes _encode(self, Call call_)
    cdef bint _still_wanted(self, Call call_)
    cdef _isolate(self, ExchangeCall call)
    cdef bytes _blame(self)
    cdef _repack(self, ExchangeCall call, list outcomes)
    cdef tuple _open_arguments(self)
    cdef _opened(self, list reply)
    cdef set _known(self)
    cdef _applied(self, Call call_, object reply, double now)
    cdef _claim(self, list answer, double now)
    cdef _adopt_one(self, str id, object record, object attempts, object plan, bint suspect, bint token,
                    long long now_ns)
    cdef object _doom(self, JobBase job)
    cdef JobBase _recast(self, JobBase job)
    cdef _suspect(self, JobBase job)
    cdef _confirm(self, list jobs)
    cdef _applied_unseen(self, Call call_, object answer)
    cdef Verdict _refused(self, Call call_, str code, str message)
    cdef _failed_to_open(self, str code, str message)
