cdef class JobBase:
    cdef readonly str id
    cdef readonly str name
    cdef readonly long long timestamp
    cdef object owner                  # the queue or the worker's side of it: name, codec, calls
    cdef bytes record
    cdef Py_ssize_t data_at            # where the packed data stands in the record
    cdef Py_ssize_t data_size
    cdef object _data
    cdef bytes unsealed                # of a job to be added: its encoded data, sealed once its id is known
    cdef bytes options                 # packed options, or None
    cdef object _settings
    cdef bytes place                   # where a special job goes when it is added, or None
    cdef bytes session                 # whose block the id comes from
    cdef bytes stream_id               # of the entry that told of its adding
    cdef public object duplicate
    cdef bytes packed_attempts         # as stored: "made lost crashes suspicion", or None
    cdef bytes plan
    cdef readonly int attempts_made
    cdef readonly int attempts_started
    cdef readonly int crashes
    cdef bint suspect
    cdef bint fenced                   # settled while its handler ran on
    cdef bint token                    # its claim took a token of a rate limit
    cdef bint conditional              # its add has an answer: own id, deduplication
    cdef long long due_ms              # when due, where it differs from its options
    cdef long long claimed_ns          # monotonic
    cdef long long started_ns
    cdef object outcome                # (returnvalue, failed_reason, error_type, stacktrace), or None
    cdef readonly long long processed_ms
    cdef readonly long long finished_ms
    cdef object _progress
    cdef readonly object worker
    cdef object _state
    cdef object run
    cdef object sink                   # takes progress and log lines while a handler runs
    cdef readonly object context
    cdef object cancel_reason_
    cdef object __weakref__

    cdef bint bare(self) noexcept
    cdef int find_data(self) except -1
    cdef int read_record(self, bytes record) except -1
    cdef int _take_record(self, bytes record) except -1
    cdef object _decode(self)
    cdef bytes data_context(self)
    cdef int seal(self) except -1
    cdef object _hand(self, str verb)
    cdef long long due_ms_(self) except? -1


cdef JobBase new_job(type kind, object owner, str id, str name)
