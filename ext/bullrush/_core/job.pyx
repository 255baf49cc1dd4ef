"""The job: what a producer gets back and a handler gets to see.

Data and options are decoded when they are first asked for.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memcmp

from bullrush._core.codec cimport RecordParts, pack_record, pack_value, parse_record, unpack_value

from datetime import UTC, datetime

from bullrush.errors import CodecError, JobCancelled, JobNotInState
from bullrush.options import DEFAULT_SETTINGS, JobRef, settings_from_wire
from bullrush.options.wire import unpack_options

cdef object UNREAD = object()

# Names repeat: the last few are kept as objects, so that a claim of a thousand equal names makes none.
cdef bytes last_name = b""
cdef str last_text = ""


cdef JobBase new_job(type kind, object owner, str id, str name):
    cdef JobBase job = kind.__new__(kind)
    job.owner = owner
    job.id = id
    job.name = name
    return job


cdef inline str _name_of(const char* text, Py_ssize_t size):
    global last_name, last_text
    if PyBytes_GET_SIZE(last_name) != size or memcmp(PyBytes_AS_STRING(last_name), text, size) != 0:
        last_text = PyUnicode_DecodeUTF8(text, size, NULL)
        last_name = text[:size]
    return last_text


def _moment(long long ms):
    return datetime.fromtimestamp(ms / 1000.0, UTC) if ms else None


# Not followed by the cyclic collector: thousands of them are alive at full speed, and looking at each again
# and again took a quarter of the worker's time. The one cycle, with the run of its handler, is broken when
# the handler ends.
@cython.no_gc
cdef class JobBase:
    """What needs no waiting, common to `bullrush.Job` and `bullrush.sync.Job`."""

    def __cinit__(self):
        self.id = ""
        self._data = UNREAD
        self.duplicate = False

    def __class_getitem__(cls, parameters):
        """Make `Job[Data, Result]` legal at run time; the parameters are for type checkers."""
        return cls

    def __reduce__(self):
        raise TypeError("a job cannot be pickled: send its id (job.ref) and fetch it with queue.get_job()")

    def __repr__(self):
        return f"<{type(self).__name__} {self.id or '(no id yet)'} {self.name!r} in {self.queue!r}>"

    cdef bint bare(self) noexcept:
        """Say whether nothing but the job's end has to be told: no options, attempts or plan of its own."""
        return self.options is None and self.packed_attempts is None and self.plan is None

    cdef int find_data(self) except -1:
        """Find the data in a record of our own making; its data was the last thing packed."""
        self._data = UNREAD
        self.data_size = -1
        return 0

    cdef int read_record(self, bytes record) except -1:
        cdef RecordParts parts
        cdef const unsigned char* raw = <const unsigned char*>PyBytes_AS_STRING(record)
        cdef int error = parse_record(raw, PyBytes_GET_SIZE(record), &parts)
        if error:
            raise CodecError(
                f"the record of job {self.id} cannot be decoded (code {error}); its bytes are kept in Redis")
        self.record = record
        self.timestamp = parts.timestamp
        self.data_at = parts.data_offset
        self.data_size = parts.data_size
        if parts.options_size:
            self.options = record[parts.options_offset:parts.options_offset + parts.options_size]
        try:
            self.name = _name_of(<const char*>raw + parts.name_offset, parts.name_size)
        except UnicodeDecodeError as error_:
            raise CodecError(f"the name of job {self.id} is no UTF-8: {error_}") from error_
        return 0

    # Identity and data.

    @property
    def queue(self):
        """The name of the queue."""
        return self.owner.name if self.owner is not None else ""

    @property
    def data(self):
        """What was added; decoded at the first look. Raises CodecError when it cannot be decoded."""
        if self._data is UNREAD:
            self._data = self._decode()
        elif isinstance(self._data, CodecError):
            raise self._data
        return self._data

    cdef object _decode(self):
        cdef object packed
        cdef const unsigned char* raw
        cdef RecordParts parts
        if self.record is None:
            return None
        if self.data_size < 0:
            raw = <const unsigned char*>PyBytes_AS_STRING(self.record)
            parse_record(raw, PyBytes_GET_SIZE(self.record), &parts)
            self.data_at, self.data_size = parts.data_offset, parts.data_size
        if self.data_size == 1 and self.record[self.data_at] == 0xc0:
            return None
        packed = memoryview(self.record)[self.data_at:self.data_at + self.data_size]
        codec = self.owner.codec if self.owner is not None else None
        if self.unsealed is not None:
            return codec.restore(self.unsealed)
        value = unpack_value(packed)
        if codec is None:
            return value
        if not hasattr(codec, "unseal"):
            return codec.decode(value)
        try:
            return codec.restore(codec.unseal(value, self.data_context()))
        except CodecError as error:
            raise CodecError(f"the data of job {self.id} cannot be read: {error}") from error

    cdef bytes data_context(self):
        """What the sealed data of this job is bound to, as `bullrush.codec.data_context` has it."""
        return pack_value(("data", self.owner.name, self.name, self.id))

    cdef int seal(self) except -1:
        """Seal the data for the id that the job has now; the record keeps its size."""
        cdef bytes sealed = self.owner.codec.seal(self.unsealed, self.data_context())
        self.record = pack_record(pack_value(self.name), self.timestamp, self.options, sealed)
        return 0

    @property
    def ref(self):
        """The queue and the id, by which another program can find the job."""
        return JobRef(self.queue, self.id)

    @property
    def opts(self):
        """The options that this job does not share with every other."""
        if self.options is None:
            return {}
        return {name: value for name, value in unpack_options(self.options).items() if name != "weak"}

    @property
    def settings(self):
        """The options, validated and complete."""
        if self._settings is None:
            self._settings = DEFAULT_SETTINGS if self.options is None else settings_from_wire(self.options)
        return self._settings

    @property
    def delay(self):
        """The delay it was added with, in ms."""
        return self.settings.delay

    @property
    def priority(self):
        """0 first, then ascending; as it was changed, where that is known."""
        if self.plan is None:
            return self.settings.priority
        # A plan says p<priority * 2**32 + place in line>, and has no p where there is no priority.
        return int(self.plan[1:].partition(b"\0")[0]) >> 32 if self.plan.startswith(b"p") else 0

    @property
    def attempts(self):
        """How many attempts the job may take in all."""
        return self.settings.attempts

    @property
    def is_last_attempt(self):
        """Say whether a failure now is final."""
        return self.attempts_made + 1 >= self.settings.attempts

    # Times.

    @property
    def created_at(self):
        """When the job was added."""
        return _moment(self.timestamp)

    @property
    def processed_on(self):
        """When the last attempt started, in ms since the epoch by the server's clock, or None."""
        return self.processed_ms or None

    @property
    def finished_on(self):
        """When the job finished, in ms since the epoch by the server's clock, or None."""
        return self.finished_ms or None

    @property
    def started_at(self):
        """When the last attempt started."""
        return _moment(self.processed_ms)

    @property
    def finished_at(self):
        """When the job finished."""
        return _moment(self.finished_ms)

    @property
    def due_at(self):
        """When the job was or is due; as it was changed, where that is known."""
        return _moment(self.due_ms_())

    cdef long long due_ms_(self) except? -1:
        if self.due_ms:
            return self.due_ms
        if self.plan is not None and (at := self.plan.find(b"\0t")) >= 0:
            return int(self.plan[at + 2:].partition(b"\0")[0])
        settings = self.settings
        return self.timestamp + settings.delay if settings.run_at is None else settings.run_at

    # Outcome: a snapshot.

    @property
    def progress(self):
        """The last progress that this snapshot knows, or None."""
        return self._progress

    @property
    def returnvalue(self):
        """What the handler returned, once completed."""
        return self.outcome[0] if self.outcome is not None else None

    @property
    def failed_reason(self):
        """Why the last attempt failed, or None."""
        return self.outcome[1] if self.outcome is not None else None

    @property
    def error_type(self):
        """The class of the error that ended the last attempt, or None."""
        return self.outcome[2] if self.outcome is not None else None

    @property
    def stacktrace(self):
        """The stack of the last failure, line by line."""
        return self.outcome[3].splitlines() if self.outcome is not None and self.outcome[3] else []

    @property
    def state(self):
        """The state when this snapshot was taken, or None where it was not asked."""
        return self._state

    @property
    def cancelled(self):
        """Say whether somebody asked this running job to stop."""
        return self.cancel_reason_ is not None

    @property
    def cancel_reason(self):
        """Why it was asked to stop, or None."""
        return self.cancel_reason_

    def to_dict(self):
        """Return the fields as a dict of plain values."""
        return {
            "id": self.id, "queue": self.queue, "name": self.name, "data": self.data, "opts": self.opts,
            "timestamp": self.timestamp, "attempts_made": self.attempts_made,
            "attempts_started": self.attempts_started, "crashes": self.crashes,
            "progress": self.progress, "returnvalue": self.returnvalue,
            "failed_reason": self.failed_reason, "error_type": self.error_type, "stacktrace": self.stacktrace,
            "processed_on": self.processed_on, "finished_on": self.finished_on, "state": self.state,
        }

    # For the layers above: they own the policy, this class only the fields.

    def _load(self, *, id=None, record=None, attempts=None, outcome=None, progress=None, state=None,
              worker=None, processed=0, finished=0, data=UNREAD, plan=UNREAD, due=0):
        """Fill a snapshot from what was read; internal."""
        if id is not None:
            self.id = id
        if record is not None:
            self._take_record(record)
        if data is not UNREAD:
            self._data = data
        if attempts is not None:
            self.packed_attempts = attempts
            made, lost, crashes, _ = attempts.split()
            self.attempts_made = int(made)
            self.attempts_started = self.attempts_made + int(lost)
            self.crashes = int(crashes)
        if plan is not UNREAD:
            self.plan = plan
        if due:
            self.due_ms = due
        self.outcome = outcome
        self._progress = progress
        self._state = state
        self.worker = worker
        self.processed_ms = processed
        self.finished_ms = finished

    cdef int _take_record(self, bytes record) except -1:
        """Show a record that was read: of a duplicate it is that of the job which is stored."""
        cdef object options = self.options
        self._data = UNREAD
        self.unsealed = None
        self.options = None
        try:
            self.read_record(record)
        except CodecError as error:
            # One job that cannot be read must not hide a page of others: its data says why.
            self.record, self._data, self.options = record, error, options
        # Settings have more than the record (a size limit), so they stay where they fit.
        if self.options != options:
            self._settings = None
        return 0

    def _mark_cancelled(self, reason):
        """Should it go back to the queue after all, it says there that it was cancelled."""
        if self.plan is None or b"\0c" not in self.plan:
            self.plan = (self.plan or b"w") + b"\0c" + reason.encode()

    def _rewrite(self, bytes record):
        """Take a record with other data, as it was stored."""
        self.options = None
        self.unsealed = None
        self.read_record(record)
        self._data = UNREAD

    def _cancel(self, reason):
        """Ask a running job to stop: a coroutine is cancelled at its next await, a thread sees the flag."""
        self.cancel_reason_ = reason
        if self.run is not None:
            self.run.cancel(reason)

    def raise_if_cancelled(self):
        """Raise JobCancelled when somebody asked this job to stop; for handlers in threads."""
        if self.cancel_reason_ is not None:
            raise JobCancelled(
                f"job {self.id} was asked to stop: {self.cancel_reason_}",
                job_id=self.id, reason=self.cancel_reason_)

    # Settling by hand: jobs of a Consumer.

    def complete(self, value=None):
        """Settle as completed with a return value.

        For jobs of a Consumer; a handler's job is settled by its end.
        """
        self._hand("complete").complete(self, value)

    def fail(self, error, *, retry=True):
        """Settle as failed with an error or a text.

        With `retry` by the job's attempts and backoff, else for good.
        """
        self._hand("fail").fail(self, error, retry)

    def release(self):
        """Give back to the head of the line, uncharged."""
        self._hand("release").release(self)

    def retry_later(self, delay):
        """Put off without charge, for a duration."""
        self._hand("retry_later").retry_later(self, delay)

    cdef object _hand(self, str verb):
        if self.sink is None or not hasattr(self.sink, "retry_later"):
            raise JobNotInState(
                f"job.{verb}() is for jobs of a Consumer; "
                f"job {self.id} is settled when its handler returns or raises",
                job_id=self.id, state=self._state or "unknown")
        return self.sink

    def _set_progress(self, value):
        self._progress = value

    def _count(self, int made, int started):
        """Set the counts of a finished job; internal."""
        self.attempts_made = made
        self.attempts_started = started

    @property
    def _owner(self):
        return self.owner

    @property
    def _size(self):
        return PyBytes_GET_SIZE(self.record) + 64

    @property
    def _stream_id(self):
        return self.stream_id

    @property
    def _packed_attempts(self):
        return self.packed_attempts

    @property
    def _sink(self):
        return self.sink

    @property
    def _on_loop(self):
        return self.run is not None

    @property
    def _took_token(self):
        return self.token

    @property
    def _is_suspect(self):
        return self.suspect
