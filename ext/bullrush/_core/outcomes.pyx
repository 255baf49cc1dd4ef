"""Outcomes: what became of the jobs that a worker holds, packed the moment a job ends.

They wait as arguments of the next exchange. A batch is sealed at 1,000 by weight (a plain completion weighs
1, anything else 4) or 4 MB. One that the script cannot take is halved until the guilty outcome is alone.
"""

from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize

from bullrush._core.codec cimport pack_named, pack_value
from bullrush._core.frames cimport WriteBuffer
from bullrush._core.job cimport JobBase, new_job
from bullrush._core.producer cimport monotonic_ns
from bullrush._core.session cimport Call, Session

from bullrush.errors import PayloadTooLarge, ServerError

cdef enum:
    CALL_BYTES = 4194304
    LARGE = 4000
    EVENT_VALUE = 1024          # larger return values stay out of events, unless somebody waits for them
    MAX_VALUE = 67108864

# What a job with no attempts yet has stored: made, lost, crashes, suspicion.
NO_ATTEMPTS = b"0 0 0 0"


cdef class Packed:
    """A return value that was packed before its job is settled."""


cdef class ExchangeCall(Call):
    """One exchange: the outcomes it carries, and what it asks for."""


def split_bulks(bytes packed):
    """Take packed arguments apart again."""
    cdef list found = []
    cdef Py_ssize_t at = 0
    while at < len(packed):
        end = packed.index(b"\r\n", at)
        size = int(packed[at + 1:end])
        found.append(packed[end + 2:end + 2 + size])
        at = end + 4 + size
    return found


cdef inline void put_uint64(unsigned char* at, unsigned long long value) noexcept:
    cdef int i
    at[0] = 0xcf
    for i in range(8):
        at[1 + i] = <unsigned char>(value >> (56 - 8 * i))

cdef class Outcomes(Session):
    """The settling half of an exchange, without I/O."""

    def __cinit__(self, *_arguments, **_options):
        self._completed = WriteBuffer()
        self._completed_events = WriteBuffer()
        self._others = WriteBuffer()

    cdef _forget_outcomes(self):
        self._sealed = deque()
        self._completed.clear()
        self._completed_events.clear()
        self._others.clear()
        self._events = {}
        self._completed_count = self._others_count = 0
        self._ids = []
        self._starting = []

    cdef _set_number(self, bytes number):
        self.number = number
        put_uint64(self._tail, int(number))

    def server_now(self):
        """Return the server's clock as estimated from its last reply, in ms."""
        return self.server_ms(monotonic_ns())

    def owns(self, JobBase job not None):
        """Say whether an outcome of this job still counts: it is held under this number, and not fenced."""
        return job.session is self.number and not job.fenced

    def fence(self, JobBase job not None):
        """A job was settled while its handler runs on: let nothing that still comes of it count."""
        job.fenced = True

    def element_of(self, JobBase job not None):
        """Return the list element of a job that goes back to the head of its line."""
        cdef bytes id = job.id.encode()
        if job.packed_attempts is not None or job.plan is not None or PyBytes_GET_SIZE(job.record) > LARGE:
            return b"\x01" + id
        return id

    cdef long long server_ms(self, long long ns) noexcept:
        return ns // 1000000 + self.clock_offset

    cdef _write_outcome_head(
            self, WriteBuffer into, JobBase job, int kind, int size, int made, long long finished_ns):
        """[kind, processed ms, finished ms, attempts made, attempts started, worker, ...]"""
        cdef unsigned char head[48]
        cdef int at
        head[0] = 0x90 + size
        head[1] = kind
        put_uint64(head + 2, self.server_ms(job.started_ns) if job.started_ns else 0)
        put_uint64(head + 11, self.server_ms(finished_ns))
        head[20] = 0xce
        for at in range(4):
            head[21 + at] = <unsigned char>(made >> (24 - 8 * at))
        head[25] = 0xce
        for at in range(4):
            head[26 + at] = <unsigned char>(job.attempts_started >> (24 - 8 * at))
        for at in range(9):
            head[30 + at] = self._tail[at]
        into.put_raw(head, 39)

    cdef complete(self, JobBase job, object value, long long finished_ns):
        """Settle a job as completed. Raises CodecError or PayloadTooLarge when its value cannot be stored."""
        cdef bytes packed
        cdef WriteBuffer into
        cdef unsigned char nil = 0xc0
        cdef const unsigned char* raw = &nil
        cdef Py_ssize_t length = 1, size
        cdef const char* text
        if job.session is not self.number:
            return
        if value is not None:
            packed = (<Packed>value).value if type(value) is Packed else self._packed(job, value)
            raw, length = <const unsigned char*>PyBytes_AS_STRING(packed), PyBytes_GET_SIZE(packed)
        if not job.bare():
            self._complete_other(job, raw[:length], finished_ns)
            return
        into = self._completed
        text = PyUnicode_AsUTF8AndSize(job.id, &size)
        # All memory first: an outcome is written whole, or not at all.
        into.reserve(size + length + 120)
        self._reserve_event(size, length)
        self._ids.append(job.id)
        into.put_bulk_raw(<const unsigned char*>text, size)
        into.put_bulk_head(39 + length)
        self._write_outcome_head(into, job, 0, 7, job.attempts_made, finished_ns)
        into.put_raw(raw, length)
        into.put_raw(<const unsigned char*>b"\r\n", 2)
        self._completed_count += 1
        self._publish_value(job, raw, length)
        if self._completed_count + OTHER_WEIGHT * self._others_count >= CALL_WEIGHT or into.size > CALL_BYTES:
            self._seal_full()

    def pack(self, JobBase job, value):
        """Pack a return value of this job now, in any thread, for `complete_with`; raises what that would."""
        cdef Packed packed
        if value is None:
            return None
        packed = Packed.__new__(Packed)
        packed.value = self._packed(job, value)
        return packed

    cdef bytes _packed(self, JobBase job, object value):
        cdef object codec = self._owner.codec
        cdef bytes packed
        if codec is None:
            packed = pack_named("returnvalue", value)
        elif hasattr(codec, "seal"):
            packed = pack_value(
                codec.seal(codec.prepare(value), pack_value(("result", self._owner.name, job.id))))
        else:
            packed = pack_value(codec.encode(value))
        if PyBytes_GET_SIZE(packed) > MAX_VALUE:
            raise PayloadTooLarge(
                f"the return value takes {PyBytes_GET_SIZE(packed):,} bytes, the limit is {MAX_VALUE:,}; "
                "store large results elsewhere and return a reference")
        return packed

    cdef _complete_other(self, JobBase job, bytes packed, long long finished_ns):
        cdef WriteBuffer outcome = WriteBuffer()
        settings = job.settings
        own = settings.remove_on_complete
        if self._own_keep and "remove_on_complete" in settings.weak:
            own = None
        keep, age = self._retention(own, self._keep, self._age)
        self._write_outcome_head(outcome, job, 0, 7, job.attempts_made, finished_ns)
        outcome.put_bytes(packed)
        self._reserve_event(4 * len(job.id), PyBytes_GET_SIZE(packed))
        self._other(b"c", job, outcome.take(), keep, age, True)
        self._publish_value(job, <const unsigned char*>PyBytes_AS_STRING(packed), PyBytes_GET_SIZE(packed))

    cdef tuple _retention(self, object keep, long long count, long long age):
        if keep is None:
            return b"%d" % count, b"%d" % age
        count = -1 if keep.count is None else keep.count
        age = -1 if keep.age is None else keep.age
        return b"%d" % count, b"%d" % age

    cdef int _reserve_event(self, Py_ssize_t id_size, Py_ssize_t length) except -1:
        if self.flags & EVENTS_OFF and not self.flags & LISTENING:
            return 0
        return self._completed_events.reserve(id_size + 8 + (
            length if length <= EVENT_VALUE or self.flags & LISTENING else 0))

    cdef _publish_value(self, JobBase job, const unsigned char* raw, Py_ssize_t length):
        cdef Py_ssize_t size
        cdef const char* text
        cdef unsigned char head[2]
        if self.flags & EVENTS_OFF and not self.flags & LISTENING:
            return
        text = PyUnicode_AsUTF8AndSize(job.id, &size)
        if size < 32:
            head[0] = 0xa0 + <int>size
            self._completed_events.put_raw(head, 1)
        else:
            head[0] = 0xd9
            head[1] = <unsigned char>size
            self._completed_events.put_raw(head, 2)
        self._completed_events.put_raw(<const unsigned char*>text, size)
        if length <= EVENT_VALUE or self.flags & LISTENING:
            self._completed_events.put_raw(raw, length)
        else:
            self._completed_events.put_raw(<const unsigned char*>b"\xc7\x00\x1f", 3)

    def complete_with(self, JobBase job not None, value):
        """Settle a job as completed from outside the dispatcher."""
        self.complete(job, value, monotonic_ns())

    def fail(self, JobBase job not None, bytes reason, bytes error_type, bytes stack, keep, long long count,
             long long age):
        """Settle a job as failed for good: reason, class and stack are packed msgpack strings."""
        if job.session is not self.number:
            return
        cdef bytes outcome = self._failure(job, reason, error_type, stack)
        kept, aged = self._retention(keep, count, age)
        self._publish("failed", pack_value(job.id) + reason + error_type + pack_value(job.attempts_made + 1))
        self._other(b"e" if job.token and not job.started_ns else b"f", job, outcome, kept, aged, True)

    def retry(self, JobBase job not None, bytes reason, bytes error_type, bytes stack, long long delay):
        """Settle a failed attempt that another follows, after `delay` ms."""
        cdef bytes outcome
        if job.session is not self.number:
            return
        outcome = self._failure(job, reason, error_type, stack)
        lost = job.attempts_started - job.attempts_made - 1
        made = job.attempts_made + 1
        told = pack_value(job.id) + pack_value(made) + pack_value(delay) + reason + error_type
        self._publish("retrying", told)
        self._other(b"r", job, b"%d %d 0 0" % (made, max(lost, 0)), b"%d" % delay, outcome, True)

    cdef bytes _failure(self, JobBase job, bytes reason, bytes error_type, bytes stack):
        cdef WriteBuffer outcome = WriteBuffer()
        self._write_outcome_head(outcome, job, 1, 9, job.attempts_made + 1, monotonic_ns())
        outcome.put_bytes(reason)
        outcome.put_bytes(error_type)
        outcome.put_bytes(stack)
        return outcome.take()

    def later(self, JobBase job not None, long long delay):
        """Put a job off without charge, for `delay` ms."""
        if job.session is self.number:
            token = b"1" if job.token and not job.started_ns else b""
            self._other(b"l", job, self._unsuspected(job), b"%d" % delay, token, True)

    cdef bytes _unsuspected(self, JobBase job):
        """Its attempts without suspicion, or a death that nobody reported a start for would be charged."""
        return (job.packed_attempts or NO_ATTEMPTS).rpartition(b" ")[0] + b" 0"

    def release(self, JobBase job not None):
        """Give a job back to the head of its line, uncharged.

        Give several back in reverse order of their claim.
        """
        if job.session is not self.number:
            return
        token = b"1" if job.token and not job.started_ns else b""
        if job.suspect:
            self._other(b"q", job, (b"\x02" if job.crashes else b"\x01") + job.id.encode(), token, b"", True)
        else:
            self._other(b"b", job, self.element_of(job), token, b"", True)

    def hold(self, JobBase job not None, long long duration):
        """Give a job back to the head of its line, uncharged, and let nothing start for that long."""
        if job.session is self.number:
            # What was claimed already, here and by calls in flight, would be the next to break the limit.
            self._release_ready()
            if not self._hold_gathered:
                self._hold_gathered = True
                self._holds += 1
            # A suspect ran and its worker lives: it is none any more.
            attempts = self._unsuspected(job) if job.suspect else b""
            self._other(b"m", job, self.element_of(job), b"%d" % duration, attempts, True)

    cdef _release_ready(self):
        """Give back, from the back, what was claimed and has not started."""
        while self.ready:
            self.release(<JobBase>self.ready.pop())

    def progress(self, JobBase job not None, bytes packed):
        """Tell a running job's progress with the next exchange."""
        if job.session is self.number:
            if not self.flags & (EVENTS_OFF | OUTCOMES_ONLY):
                self._publish("progress", pack_value(job.id) + packed)
            self._other(b"p", job, packed, b"", b"", False)

    def log(self, JobBase job not None, bytes line):
        """Write a log line of a running job with the next exchange."""
        if job.session is self.number:
            keep = None if job.options is None else job.settings.keep_logs
            self._other(b"g", job, line, b"" if keep is None else b"%d" % keep, b"", False)

    cdef _publish(self, str kind, bytes packed):
        if self.flags & EVENTS_OFF and not self.flags & LISTENING:
            return
        if kind == "retrying" and self.flags & OUTCOMES_ONLY:
            return
        (<list>self._events.setdefault(kind, [])).append(packed)

    cdef _other(self, bytes kind, JobBase job, bytes a, bytes b, bytes c, bint final):
        """One outcome of five arguments; a final one ends what this worker knows of the job."""
        cdef Py_ssize_t size
        cdef const char* text = PyUnicode_AsUTF8AndSize(job.id, &size)
        if self._others.size + PyBytes_GET_SIZE(a) > CALL_BYTES and self._others_count:
            self._seal()
        # All memory first: an outcome is written whole, or not at all.
        self._others.reserve(
            size + PyBytes_GET_SIZE(a) + PyBytes_GET_SIZE(b) + PyBytes_GET_SIZE(c) + 150)
        if final:
            self._ids.append(job.id)
        self._others.put_bulk(kind)
        self._others.put_bulk_raw(<const unsigned char*>text, size)
        self._others.put_bulk(a)
        self._others.put_bulk(b)
        self._others.put_bulk(c)
        self._others_count += 1
        if final:
            if job.suspect:
                self.suspects -= 1
                self.charged = False
                job.suspect = False
        if self._completed_count + OTHER_WEIGHT * self._others_count >= CALL_WEIGHT:
            self._seal_full()

    @property
    def gathered(self):
        """How many outcomes wait to leave."""
        return self._completed_count + self._others_count + CALL_WEIGHT * len(self._sealed)

    @property
    def settled(self):
        """Say whether nothing waits, is in flight or must be sent again."""
        return (self.gathered == 0 and not self.inflight and not self.resend and not self._unknown
                and self._unwritten is None)

    cdef _seal_full(self):
        """Seal a full batch. Without the memory for that it just grows; the outcome in hand is settled."""
        try:
            self._seal()
        except MemoryError:
            pass

    cdef _seal(self):
        """Make a call of what has gathered; nothing is taken before nothing can fail any more."""
        cdef ExchangeCall call = ExchangeCall()
        cdef WriteBuffer published = WriteBuffer()
        cdef list ids = []
        cdef list starting = []
        cdef dict events = {}
        call.kind = "exchange"
        call.completed_count, call.others_count = self._completed_count, self._others_count
        call.completed, call.others = self._completed.copy(), self._others.copy()
        if self._completed_events.size:
            published.put_bulk(b"completed")
            published.put_bulk(self._completed_events.copy())
            call.published_count += 1
        for kind, packed in self._events.items():
            published.put_bulk(kind.encode())
            published.put_bulk(b"".join(packed))
            call.published_count += 1
        call.published = published.take()
        call.ids, call.starting, call.holds = self._ids, self._starting, self._hold_gathered
        self._sealed.append(call)
        self._ids, self._starting, self._events = ids, starting, events
        self._hold_gathered = False
        self._completed_count = self._others_count = 0
        self._completed.clear()
        self._completed_events.clear()
        self._others.clear()

    # An exchange that the script cannot take.

    cdef _isolate(self, ExchangeCall call):
        """The script fails with these outcomes.

        Halve them until one is alone, and settle that job as failed.
        """
        cdef ExchangeCall rest
        cdef list completed = split_bulks(call.completed)
        cdef list others = split_bulks(call.others)
        cdef list outcomes = [completed[i:i + 2] for i in range(0, len(completed), 2)]
        outcomes += [others[i:i + 5] for i in range(0, len(others), 5)]
        if len(outcomes) > 1:
            half = len(outcomes) // 2
            rest = ExchangeCall()
            # Each half has failed once, as part of the whole: it is halved or blamed when it fails by itself.
            rest.kind, rest.failures, rest.starting = call.kind, 1, []
            self._repack(rest, outcomes[half:])
            self.resend.insert(0, rest)
            self._repack(call, outcomes[:half])
            call.failures = 1
        elif outcomes and call.failures < 4:
            id = outcomes[0][0] if len(outcomes[0]) == 2 else outcomes[0][1]
            self._repack(call, [[b"f", id, self._blame(), b"10000", b"-1"]])
            call.failures = 3
        else:
            self.end(ServerError(f"the server refuses every exchange: {self._trouble}", took_effect=None))

    cdef bytes _blame(self):
        """The outcome of a job whose own outcome the server cannot take."""
        cdef WriteBuffer outcome = WriteBuffer()
        cdef JobBase nobody = new_job(self._kind, self._owner, "", "")
        self._write_outcome_head(outcome, nobody, 1, 9, 1, monotonic_ns())
        outcome.put_bytes(pack_value(f"the server could not store the outcome: {self._trouble}"))
        outcome.put_bytes(pack_value("ServerError"))
        outcome.put_bytes(pack_value(""))
        return outcome.take()

    cdef _repack(self, ExchangeCall call, list outcomes):
        """Fill a call with these outcomes.

        Events of plain completions are made anew, the others' are lost.
        """
        cdef WriteBuffer completed = WriteBuffer()
        cdef WriteBuffer others = WriteBuffer()
        cdef WriteBuffer published = WriteBuffer()
        cdef list events = []
        cdef list ids = []
        cdef int completed_count = 0
        cdef bytes first, second, third
        for outcome in outcomes:
            into = completed if len(outcome) == 2 else others
            for argument in outcome:
                into.bulk(argument)
            if len(outcome) == 2:
                completed_count += 1
                ids.append(outcome[0].decode())
                events.append(pack_value(outcome[0].decode()) + outcome[1][39:])
            elif outcome[0] not in (b"s", b"p", b"g"):
                ids.append(outcome[1].decode())
        if events:
            published.put_bulk(b"completed")
            published.put_bulk(b"".join(events))
        first, second, third = completed.take(), others.take(), published.take()
        call.completed, call.others, call.published, call.ids = first, second, third, ids
        call.completed_count, call.others_count = completed_count, len(outcomes) - completed_count
        call.published_count = 1 if events else 0
