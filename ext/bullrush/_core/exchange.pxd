from bullrush._core.frames cimport ScriptFrame
from bullrush._core.job cimport JobBase
from bullrush._core.outcomes cimport Outcomes
from bullrush._core.session cimport Call, Verdict


cdef class Exchange(Outcomes):
    cdef readonly list unconfirmed      # suspects whose start is being reported
    cdef readonly list broken           # claimed, with a record that cannot be decoded: (job, error)
    cdef readonly list refused          # ids whose outcome came too late
    cdef readonly list expired          # leases that seem dead: (number, deadline)
    cdef readonly list unseen           # ids that the server says we hold and whose reply was lost
    cdef readonly bint lease_lost
    cdef readonly double renewed_at
    cdef readonly long long due_at      # server ms of a delayed job this worker was told of, 0 = none
    cdef readonly bint dry
    cdef readonly long long server_held
    cdef public int concurrency
    cdef public int prefetch            # -1 = adaptive
    cdef public int running
    cdef public bint claiming           # False: paused or closing
    cdef public bint look
    cdef public bint promote_only       # the next call claims nothing
    cdef public bint asked              # something may be there: look, whatever the last reply said
    cdef public int gather              # with a call in flight, another leaves once that much has gathered
    cdef public object running_jobs
    cdef public object on_opened        # called when the number is registered, before anything is claimed
    cdef readonly long long calls
    cdef readonly long long claimed_total
    cdef readonly long long settled_total
    cdef ScriptFrame _script
    cdef object _sink
    cdef dict _kinds
    cdef bytes _codec_name
    cdef bytes _host
    cdef readonly int lease
    cdef bytes _limit                   # the worker's own rate, as the script reads it
    cdef bint _register
    cdef double _sent_last
    cdef long long _starts
    cdef long long _starts_before
    cdef double _window_at
    cdef double _allowance

    cdef _start_afresh(self)
    cdef note_start(self)
    cdef bint may_start(self, double now) noexcept
    cdef double _prefetch_now(self, double now)
    cdef int _want(self, double now)
    cdef int _free(self)
    cdef int _want_suspects(self)
    cdef Call _next_call(self, double now)
    cdef bytes _encode(self, Call call_)
    cdef bint _still_wanted(self, Call call_)
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
