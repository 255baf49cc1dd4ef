"""The exchange: one call settles every outcome collected so far and claims the next jobs.

Outcomes are packed the moment a job ends, into the arguments of the next call; a batch is sealed at 1,000 by
weight (a plain completion weighs 1, anything else 4) or 4 MB. At most two calls are in flight, and the second
leaves only once enough has gathered to be worth it. What is held and asked for never exceeds slots plus
prefetch.
"""

from collections import deque
from os import urandom

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize

from bullrush._core.codec cimport pack_named, pack_value
from bullrush._core.frames cimport ScriptFrame, WriteBuffer
from bullrush._core.job cimport JobBase, new_job
from bullrush._core.producer cimport monotonic_ns
from bullrush._core.session cimport Call, Session, SessionState, Verdict

from bullrush.errors import CodecError, JobCancelled, JobExpired, PayloadTooLarge, ServerError

cdef enum:
    CALL_WEIGHT = 1000
    CALL_BYTES = 4194304
    OTHER_WEIGHT = 4
    LARGE = 4000
    EVENT_VALUE = 1024          # larger return values stay out of events, unless somebody waits for them
    MAX_PREFETCH = 3000
    MAX_VALUE = 67108864
    STALE_NS = 50000000

cdef enum:
    PAUSED = 1
    MORE = 2
    SUSPECTS_LEFT = 4
    OUTCOMES_ONLY = 8
    EVENTS_OFF = 16
    LISTENING = 32
    LIMITED = 64
    CLOSED = 128

# A look for dead workers waits for a call that leaves anyway, as every 2 s on an idle worker; a worker with
# full slots makes one.
cdef double QUIET = 2.5

# What a job with no attempts yet has stored: made, lost, crashes, suspicion.
NO_ATTEMPTS = b"0 0 0 0"


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


cdef class Exchange(Session):
    """The working side of one queue on one socket, without I/O."""

    def __init__(self, ScriptFrame open_script, ScriptFrame exchange, owner, sink, *,
                 bytes number, bytes host, bytes codec_name, kind, dict kinds,
                 int concurrency, int prefetch, int lease, long long keep, long long age, bytes limit=b"",
                 bint own_keep=False):
        Session.__init__(self, open_script)
        self._script = exchange
        self._owner = owner
        self._sink = sink
        self._kind = kind
        self._kinds = kinds
        self._host = host
        self._codec_name = codec_name
        self.concurrency = concurrency
        self.prefetch = prefetch
        self.lease = lease
        self._keep = keep
        self._age = age
        self._limit = limit
        self._own_keep = own_keep
        self._sealed = deque()
        self._completed = WriteBuffer()
        self._completed_events = WriteBuffer()
        self._others = WriteBuffer()
        self._set_number(number)
        self.claiming = True
        self.gather = 250
        self.running_jobs = set()
        self._start_afresh()

    cdef _start_afresh(self):
        """Nothing is held, nothing is known of the queue."""
        self._sealed.clear()
        self._completed.clear()
        self._completed_events.clear()
        self._others.clear()
        self._events = {}
        self._completed_count = self._others_count = 0
        self._ids = []
        self._starting = []
        self.ready = deque()
        self.unconfirmed = []
        self.broken = []
        self.refused = []
        self.expired = []
        self.unseen = []
        self.lease_lost = False
        self.asked = True
        self.dry = False
        self.suspects = 0
        self.charged = False
        self.server_held = 0
        self._holds = 0
        self._hold_gathered = False
        self._register = True

    cdef _set_number(self, bytes number):
        self.number = number
        put_uint64(self._tail, int(number))

    def start_over(self, bytes number, bytes host):
        """Register under a new number: the lease is lost, and everything held with it."""
        self.inflight.clear()
        self.resend.clear()
        self._unknown.clear()
        self.state = SessionState.CLOSED
        self._set_number(number)
        self._host = host
        self._start_afresh()

    def rebind(self, ScriptFrame open_script, ScriptFrame exchange):
        """Use the keys of a new number."""
        self._open = open_script
        self._script = exchange

    def use_sink(self, sink):
        """Let jobs claimed from now on report to this sink."""
        self._sink = sink

    # Outcomes.

    def server_now(self):
        """Return the server's clock as estimated from its last reply, in ms."""
        return self.server_ms(monotonic_ns())

    def take_ready(self, int most):
        """Take claimed jobs to run them by hand; each holds a slot until `put_down`."""
        cdef list taken = []
        cdef JobBase job
        while self.ready and len(taken) < most and self.running < self.concurrency:
            job = self.ready.popleft()
            self.running += 1
            self.running_jobs.add(job)
            job.started_ns = monotonic_ns()
            taken.append(job)
        return taken

    def put_down(self, JobBase job not None):
        """A job taken by hand is settled: its slot is free.

        False when it was not taken, or is settled already.
        """
        if job not in self.running_jobs:
            return False
        self.running_jobs.discard(job)
        self.running -= 1
        return True

    def take_broken(self):
        """Return the claimed jobs whose record cannot be decoded, with the error, once."""
        taken, self.broken = self.broken, []
        return taken

    def take_refused(self):
        """Return the ids whose outcome came too late, once."""
        taken, self.refused = self.refused, []
        return [id.decode() for id in taken]

    def take_expired(self):
        """Return the leases that seem dead, once."""
        taken, self.expired = self.expired, []
        return taken

    def give_back_stale(self):
        """Give back what was not started 50 ms after its claim, from the back: a slow job hoards nothing."""
        cdef long long limit = monotonic_ns() - STALE_NS
        cdef JobBase job
        while self.ready:
            job = <JobBase>self.ready.pop()
            if job.claimed_ns > limit:
                self.ready.append(job)
                return
            self.release(job)

    def take_stale(self):
        """For another thread, while the loop does not turn.

        Take jobs that wait for their start too long, from the back.
        """
        cdef list taken = []
        cdef long long limit = monotonic_ns() - STALE_NS
        cdef JobBase job
        while self.ready:
            job = <JobBase>self.ready.pop()
            if job.claimed_ns > limit or job.suspect:
                self.ready.append(job)
                break
            taken.append(job)
        self.server_held -= len(taken)
        return taken

    def owns(self, JobBase job not None):
        """Say whether an outcome of this job still counts: it is held under this number, and not fenced."""
        return job.session is self.number and not job.fenced

    def fence(self, JobBase job not None):
        """A job was settled while its handler runs on: let nothing that still comes of it count."""
        job.fenced = True

    @property
    def limited(self):
        """Say whether the queue is paused or has a limit: what is claimed must start at once."""
        return self.flags & (PAUSED | LIMITED) != 0

    @property
    def closed_by_limit(self):
        """Say whether jobs may be there that a limit keeps from starting."""
        return self.flags & CLOSED != 0

    def give_back_surplus(self):
        """The queue was paused or limited: give back what cannot start at once, from the back.

        A job that the limit let through has a slot; only what was claimed before the limit goes back.
        """
        cdef int free = 0 if self.flags & PAUSED else self.concurrency - self.running
        while len(self.ready) > free:
            self.release(<JobBase>self.ready.pop())

    def take_waiting(self, str id):
        """Take a claimed job that has not started, by its id; None: it is not among these."""
        cdef JobBase job
        for source in (self.ready, self.unconfirmed):
            for job in source:
                if job.id == id:
                    source.remove(job)
                    return job
        return None

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
        cdef Py_ssize_t length = 1
        if job.session is not self.number:
            return
        if value is not None:
            packed = self._packed(value)
            raw, length = <const unsigned char*>PyBytes_AS_STRING(packed), PyBytes_GET_SIZE(packed)
        if not job.bare():
            self._complete_other(job, raw[:length], finished_ns)
            return
        into = self._completed
        into.put_bulk_text(job.id)
        self._put_blob_size(into, 39 + length)
        self._write_outcome_head(into, job, 0, 7, job.attempts_made, finished_ns)
        into.put_raw(raw, length)
        into.put_raw(<const unsigned char*>b"\r\n", 2)
        self._completed_count += 1
        self._ids.append(job.id)
        self._publish_value(job, raw, length)
        if self._completed_count + OTHER_WEIGHT * self._others_count >= CALL_WEIGHT or into.size > CALL_BYTES:
            self._seal()

    cdef bytes _packed(self, object value):
        cdef object codec = self._owner.codec
        cdef bytes packed
        if codec is None:
            packed = pack_named("returnvalue", value)
        else:
            packed = pack_value(codec.encode(value))
        if PyBytes_GET_SIZE(packed) > MAX_VALUE:
            raise PayloadTooLarge(
                f"the return value takes {PyBytes_GET_SIZE(packed):,} bytes, the limit is {MAX_VALUE:,}; "
                "store large results elsewhere and return a reference")
        return packed

    cdef _put_blob_size(self, WriteBuffer into, Py_ssize_t size):
        into.put_bytes(b"$%d\r\n" % size)

    cdef _complete_other(self, JobBase job, bytes packed, long long finished_ns):
        cdef WriteBuffer outcome = WriteBuffer()
        settings = job.settings
        own = settings.remove_on_complete
        if self._own_keep and "remove_on_complete" in settings.weak:
            own = None
        keep, age = self._retention(own, self._keep, self._age)
        self._write_outcome_head(outcome, job, 0, 7, job.attempts_made, finished_ns)
        outcome.put_bytes(packed)
        self._publish_value(job, <const unsigned char*>PyBytes_AS_STRING(packed), PyBytes_GET_SIZE(packed))
        self._other(b"c", job, outcome.take(), keep, age, True)

    cdef tuple _retention(self, object keep, long long count, long long age):
        if keep is None:
            return b"%d" % count, b"%d" % age
        count = -1 if keep.count is None else keep.count
        age = -1 if keep.age is None else keep.age
        return b"%d" % count, b"%d" % age

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
            # The suspicion ends here, or a death that nobody reported a start for would be charged.
            unsuspected = (job.packed_attempts or NO_ATTEMPTS).rpartition(b" ")[0] + b" 0"
            token = b"1" if job.token and not job.started_ns else b""
            self._other(b"l", job, unsuspected, b"%d" % delay, token, True)

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
            if job.suspect:
                self.later(job, duration)
            else:
                self._other(b"m", job, self.element_of(job), b"%d" % duration, b"", True)

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
        if self._others.size + PyBytes_GET_SIZE(a) > CALL_BYTES and self._others_count:
            self._seal()
        self._others.put_bulk(kind)
        self._others.put_bulk_text(job.id)
        self._others.put_bulk(a)
        self._others.put_bulk(b)
        self._others.put_bulk(c)
        self._others_count += 1
        if final:
            self._ids.append(job.id)
            if job.suspect:
                self.suspects -= 1
                self.charged = False
                job.suspect = False
        if self._completed_count + OTHER_WEIGHT * self._others_count >= CALL_WEIGHT:
            self._seal()

    @property
    def gathered(self):
        """How many outcomes wait to leave."""
        return self._completed_count + self._others_count + CALL_WEIGHT * len(self._sealed)

    @property
    def settled(self):
        """Say whether nothing waits, is in flight or must be sent again."""
        return self.gathered == 0 and not self.inflight and not self.resend and not self._unknown

    cdef _seal(self):
        cdef ExchangeCall call = ExchangeCall()
        cdef WriteBuffer published = WriteBuffer()
        call.kind = "exchange"
        call.completed_count, call.others_count = self._completed_count, self._others_count
        call.completed, call.others = self._completed.take(), self._others.take()
        if self._completed_events.size:
            published.put_bulk(b"completed")
            published.put_bulk(self._completed_events.take())
            call.published_count += 1
        for kind, packed in self._events.items():
            published.put_bulk(kind.encode())
            published.put_bulk(b"".join(packed))
            call.published_count += 1
        call.published = published.take()
        call.ids, self._ids = self._ids, []
        call.starting, self._starting = self._starting, []
        call.holds, self._hold_gathered = self._hold_gathered, False
        self._events = {}
        self._completed_count = self._others_count = 0
        self._sealed.append(call)

    # Claims.

    cdef note_start(self):
        self._starts += 1

    cdef bint may_start(self, double now) noexcept:
        """Nothing starts in the last tenth of a lease: whoever reaps must never meet a start."""
        return now < self.renewed_at + 0.0009 * self.lease

    def renewed(self, double sent_at):
        """Another connection renewed the lease with a call that it sent at that time."""
        if sent_at > self.renewed_at:
            self.renewed_at = sent_at

    cdef double _prefetch_now(self, double now):
        """What the start rate of the last 100 ms says will be started within 5 ms.

        At most doubled a call, forgotten after 1 s.
        """
        cdef double elapsed = now - self._window_at
        cdef double rate, span
        if self.flags & LIMITED:
            return 0
        if self.prefetch >= 0:
            return self.prefetch
        if elapsed > 1.0:
            self._starts = self._starts_before = 0
            self._window_at = now
            self._allowance = 0
            return 0
        span = elapsed + (0.05 if self._starts_before else 0.0) + 0.0005
        rate = (self._starts + self._starts_before) / span
        if elapsed > 0.05:
            self._starts_before, self._starts = self._starts, 0
            self._window_at = now
        self._allowance = min(rate * 0.005, 2 * self._allowance + 8, <double>MAX_PREFETCH)
        return self._allowance

    cdef int _want(self, double now):
        cdef ExchangeCall call
        cdef int held = len(self.ready) + self.running + len(self.unconfirmed)
        cdef int prefetch
        if not self.claiming or self.unseen:
            return 0
        for call in self.inflight:
            held += call.want
        prefetch = 0 if self.charged else <int>self._prefetch_now(now)
        return max(0, min(CALL_WEIGHT, self.concurrency + prefetch - held))

    cdef int _free(self):
        """How many claimed jobs would start at once."""
        cdef ExchangeCall call
        cdef int held = len(self.ready) + self.running + len(self.unconfirmed)
        for call in self.inflight:
            held += call.free
        return max(0, self.concurrency - held)

    cdef int _want_suspects(self):
        cdef ExchangeCall call
        if self.charged or not self.claiming or self.unseen:
            return 0
        for call in self.inflight:
            if call.want_suspects:
                return 0
        return max(0, max(1, self.concurrency // 16) - self.suspects)

    cdef Call _next_call(self, double now):
        """Decide whether a call leaves now, and with what."""
        cdef int flights = len(self.inflight)
        cdef int gathered = self.gathered
        cdef int want
        cdef ExchangeCall call
        if flights >= 2 or self.lease_lost:
            return None
        want = 0 if self.promote_only else self._want(now)
        if flights == 1:
            if gathered < self.gather and (self.dry or want < self.gather):
                return None
        elif not (gathered or self.asked or (want and not self.dry)
                  or (self.look and now - self._sent_last > min(QUIET, self.lease / 4000.0))):
            return None
        if not self._sealed:
            self._seal()
        call = self._sealed.popleft()
        call.free = min(want, self._free())
        call.want, call.want_suspects = want, self._want_suspects() if want else 0
        call.promotes, self.promote_only = self.promote_only, False
        self.asked = False
        self._sent_last = now
        return call

    cdef bytes _encode(self, Call call_):
        cdef ExchangeCall call = <ExchangeCall>call_
        cdef int outcomes = 2 * call.completed_count + 5 * call.others_count
        self._script.begin(self._out, 15 + outcomes + 2 * call.published_count, call.by_text)
        self._out.put_bulk(self.id)
        self._out.put_bulk_number(call.number)
        self._out.put_bulk(self.number)
        self._out.put_bulk_number(self.lease)
        self._out.put_bulk_number(call.want)
        self._out.put_bulk_number(call.free)
        self._out.put_bulk_number(call.want_suspects)
        self._out.put_bulk_number(self.suspects == 0)
        self._out.put_bulk_number(self.look)
        self._out.put_bulk_number(self._keep)
        self._out.put_bulk_number(self._age)
        self._out.put_bulk(self._limit)
        self._out.put_bulk_number(call.completed_count)
        self._out.put_bulk_number(call.others_count)
        self._out.put_bulk_number(call.published_count)
        self._out.put_bytes(call.completed)
        self._out.put_bytes(call.others)
        self._out.put_bytes(call.published)
        self.look = False
        self.calls += 1
        return self._out.take()

    cdef bint _still_wanted(self, Call call_):
        """A call sent again claims nothing by itself: what it asked for then is not what is free now."""
        cdef ExchangeCall call = <ExchangeCall>call_
        call.want = call.free = call.want_suspects = 0
        self.asked = True
        if call.failures >= 2:
            self._isolate(call)
        return call.completed_count + call.others_count > 0

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
            call.failures = 1
            self._repack(rest, outcomes[half:])
            self._repack(call, outcomes[:half])
            self.resend.insert(0, rest)
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
        call.ids = []
        call.completed_count = call.others_count = call.published_count = 0
        for outcome in outcomes:
            into = completed if len(outcome) == 2 else others
            for argument in outcome:
                into.bulk(argument)
            if len(outcome) == 2:
                call.completed_count += 1
                call.ids.append(outcome[0].decode())
                events.append(pack_value(outcome[0].decode()) + outcome[1][39:])
            else:
                call.others_count += 1
                if outcome[0] not in (b"s", b"p", b"g"):
                    call.ids.append(outcome[1].decode())
        if events:
            published.put_bulk(b"completed")
            published.put_bulk(b"".join(events))
            call.published_count = 1
        call.completed, call.others, call.published = completed.take(), others.take(), published.take()

    # Replies.

    cdef tuple _open_arguments(self):
        register = 1 if self._register else 0
        return (0, urandom(8).hex(), self._codec_name, "", self.number, register, self.lease, self._host)

    cdef _opened(self, list reply):
        cdef set held = {id.decode() for id in reply[7]}
        cdef JobBase job
        self._register = False
        self.lease_lost = False
        self.renewed_at = self._opened_at
        self.server_held = len(held)
        self.asked = True
        self.dry = False
        for job in (*self.ready, *self.unconfirmed):
            if job.suspect and job.id not in held:
                self.suspects -= 1
                self.charged = False
        self.unconfirmed = [job for job in self.unconfirmed if job.id in held]
        kept = [job for job in self.ready if job.id in held]
        self.ready.clear()
        self.ready.extend(kept)
        # A suspect whose report was lost reports again; one whose report arrived was confirmed by
        # `_applied_unseen`.
        self.unseen = sorted(held - self._known(), key=lambda id: (len(id), id))

    cdef set _known(self):
        cdef set known = set(self._ids)
        cdef JobBase job
        cdef ExchangeCall call
        for job in self.ready:
            known.add(job.id)
        for job in self.unconfirmed:
            known.add(job.id)
        for job in self.running_jobs:
            # One that runs on from a lost lease may be held anew.
            if job.session is self.number:
                known.add(job.id)
        for source in (self._sealed, self.resend):
            for call in source:
                known.update(call.ids)
        return known

    def adopt(self, list ids, list records, list attempts, list plans):
        """Take up jobs that the server says are held here and whose claim's reply was lost."""
        cdef long long now_ns = monotonic_ns()
        for i in range(len(ids)):
            suspect = attempts[i] is not None and not attempts[i].endswith(b" 0")
            # Whether its claim took a token is not known; a refund too many would let too many start.
            self._adopt_one(ids[i], records[i], attempts[i], plans[i], suspect, False, now_ns)
        taken = set(ids)
        self.unseen = [id for id in self.unseen if id not in taken]

    cdef _applied(self, Call call_, object reply, double now):
        cdef ExchangeCall call = <ExchangeCall>call_
        cdef list answer = <list>reply
        self.renewed_at = max(self.renewed_at, call.sent_at)
        self.clock_offset = answer[0] - <long long>(now * 1000)
        self.flags = answer[1]
        if answer[2]:
            self.due_at = answer[2]
        # A refused report of a start settles nothing.
        refused = sum([id.decode() in call.ids for id in answer[6]])
        self.server_held += len(answer[4]) - len(call.ids) + refused
        self.settled_total += len(call.ids)
        self.claimed_total += len(answer[4])
        if answer[3]:
            self._claim(answer, now)
        if self._holds:
            self._release_ready()
            self._holds -= call.holds
        # Who only promoted waits for a token like all: jobs that nobody handles here reach another worker.
        self.dry = call.promotes or not self.flags & MORE
        if self.flags & SUSPECTS_LEFT and self.suspects == 0:
            self.asked = True
        if answer[6]:
            self.refused += answer[6]
        if answer[7]:
            expired = answer[7]
            self.expired += [(expired[i], expired[i + 1]) for i in range(0, len(expired), 2)]
        if call.starting:
            self._confirm(call.starting)

    cdef _claim(self, list answer, double now):
        cdef list ids = (<bytes>answer[3]).decode().split(" ")
        cdef list records = <list>answer[4]
        cdef list extras = <list>answer[5]
        cdef long long now_ns = monotonic_ns()
        cdef dict by_position = {}
        cdef bint token = self.flags & LIMITED != 0
        cdef Py_ssize_t i
        for i in range(0, len(extras), 4):
            by_position[extras[i]] = i
        for i in range(len(ids)):
            if by_position and i in by_position:
                k = by_position[i]
                attempts, plan = extras[k + 1] or None, extras[k + 2] or None
                self._adopt_one(ids[i], records[i], attempts, plan, extras[k + 3] == b"1", token, now_ns)
            else:
                self._adopt_one(ids[i], records[i], None, None, False, token, now_ns)

    cdef _adopt_one(
            self, str id, object record, object attempts, object plan, bint suspect, bint token,
            long long now_ns):
        cdef JobBase job = new_job(self._kind, self._owner, id, None)
        job.session = self.number
        job.claimed_ns = now_ns
        job.token = token
        if record is None:
            self._other(b"x", job, b"1" if job.token else b"", b"", b"", True)
            return
        job.sink = self._sink
        try:
            job.read_record(record)
            if job.options is not None:
                job.settings  # noqa: B018 - options that cannot be read fail here, not in the middle of a start
        except CodecError as error:
            job.record, job.name = record, None     # without a name it is never started
            self.broken.append((job, error))
        else:
            if self._kinds:
                job = self._recast(job)
        if attempts is not None:
            job._load(attempts=attempts)
        job.plan = plan
        if job.name is not None and (job.options is not None or plan is not None):
            error = self._doom(job)
            if error is not None:
                self.broken.append((job, error))
                return
        job.attempts_started += 1
        if suspect:
            self._suspect(job)
        elif job.name is not None:
            self.ready.append(job)

    cdef object _doom(self, JobBase job):
        """Why this job must not start: it was cancelled while a worker had it, or its time is over."""
        cdef long long due, limit
        if job.plan is not None and (at := job.plan.find(b"\0c")) >= 0:
            reason = job.plan[at + 2:].partition(b"\0")[0].decode(errors="replace")
            return JobCancelled(reason, job_id=job.id, reason=reason)
        if job.options is None or job.settings.expires_in is None:
            return None
        due, limit = job.due_ms_(), job.settings.expires_in
        if self.server_ms(job.claimed_ns) <= due + limit:
            return None
        late = self.server_ms(job.claimed_ns) - due - limit
        return JobExpired(f"not started within {limit} ms of its time: {late} ms late", job_id=job.id)

    cdef JobBase _recast(self, JobBase job):
        """Handlers of several kinds: `async def` ones get an async job, `def` ones a sync job."""
        cdef JobBase other
        kind, owner = self._kinds.get(job.name, (self._kind, self._owner))
        if type(job) is kind:
            return job
        other = new_job(kind, owner, job.id, job.name)
        other.session, other.claimed_ns, other.sink = job.session, job.claimed_ns, job.sink
        other.token = job.token
        other.read_record(job.record)
        return other

    cdef _suspect(self, JobBase job):
        """A suspect runs only after its start was reported and the report was answered.

        Only then can a death be charged to it.
        """
        job.suspect = True
        self.suspects += 1
        self.charged = job.crashes > 0
        self.unconfirmed.append(job)
        made, lost, crashes, _ = job.packed_attempts.split()
        job.packed_attempts = b"%s %s %s 1" % (made, lost, crashes)
        self._starting.append(job)
        self._other(b"s", job, job.packed_attempts, b"", b"", False)

    cdef _confirm(self, list jobs):
        cdef JobBase job
        for job in jobs:
            if job.session is self.number and job in self.unconfirmed:
                self.unconfirmed.remove(job)
                if job.name is not None:
                    self.ready.appendleft(job)

    cdef _applied_unseen(self, Call call_, object answer):
        cdef ExchangeCall call = <ExchangeCall>call_
        self.settled_total += len(call.ids)
        self._holds -= call.holds
        self._confirm(call.starting)

    cdef Verdict _refused(self, Call call_, str code, str message):
        if code == "LEASE":
            self.lease_lost = True
            return Verdict.DROP
        if code == "OOM":
            return Verdict.AGAIN
        self._trouble = message
        return Verdict.UNKNOWN

    cdef _failed_to_open(self, str code, str message):
        if code == "LEASE":
            self.lease_lost = True
        elif code == "TAKEN":
            self.lease_lost = True
        else:
            from bullrush.connection.refusals import open_error
            self.end(open_error(code, message))
