"""The exchange: one call settles every outcome collected so far and claims the next jobs.

At most two calls are in flight, and the second leaves only once enough has gathered to be worth it. What is
held and asked for never exceeds slots plus prefetch. What becomes of jobs is packed by `outcomes`.
"""

from collections import deque
from os import urandom

from bullrush._core.frames cimport ScriptFrame
from bullrush._core.job cimport JobBase, new_job
from bullrush._core.outcomes cimport (
    CALL_WEIGHT, CLOSED, LIMITED, MORE, PAUSED, SUSPECTS_LEFT, ExchangeCall, Outcomes)
from bullrush._core.producer cimport monotonic_ns
from bullrush._core.session cimport Call, Session, SessionState, Verdict, need_list

from bullrush.errors import CodecError, JobCancelled, JobExpired

cdef enum:
    MAX_PREFETCH = 3000
    STALE_NS = 50000000

# A look for dead workers waits for a call that leaves anyway, as every 2 s on an idle worker; a worker with
# full slots makes one.
cdef double QUIET = 2.5


cdef class Exchange(Outcomes):
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
        self._set_number(number)
        self.claiming = True
        self.gather = 250
        self.running_jobs = set()
        self._start_afresh()

    cdef _start_afresh(self):
        """Nothing is held, nothing is known of the queue."""
        self._forget_outcomes()
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

    def start_over(self, bytes number, bytes host):
        """Register under a new number: the lease is lost, and everything held with it."""
        self.inflight.clear()
        self.resend.clear()
        self._unwritten = None
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

    # Claims.

    cdef note_start(self):
        self._starts += 1

    cdef bint may_start(self, double now) noexcept:
        """Nothing starts in the last tenth of a lease: whoever reaps must never meet a start."""
        return now < self.renewed_at + 0.0009 * self.lease

    def renewed(self, double sent_at, bytes number not None):
        """Another connection renewed the lease of this number with a call that it sent at that time."""
        if sent_at > self.renewed_at and number == self.number:
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
        self._unwritten = call = self._sealed.popleft()
        call.free = min(want, self._free())
        call.want, call.want_suspects = want, self._want_suspects() if want else 0
        call.promotes, self.promote_only = self.promote_only, False
        self.asked = False
        self._sent_last = now
        return call

    cdef bytes _encode(self, Call call_):
        cdef ExchangeCall call = <ExchangeCall>call_
        cdef int outcomes = 2 * call.completed_count + 5 * call.others_count
        cdef bytes frame
        self._out.clear()       # one that found no memory half-way left bytes behind
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
        frame = self._out.take()
        self.look = False
        self.calls += 1
        return frame

    cdef bint _still_wanted(self, Call call_):
        """A call sent again claims nothing by itself: what it asked for then is not what is free now."""
        cdef ExchangeCall call = <ExchangeCall>call_
        call.want = call.free = call.want_suspects = 0
        self.asked = True
        if call.failures >= 2:
            self._isolate(call)
        return call.completed_count + call.others_count > 0

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
        if self.on_opened is not None:
            self.on_opened()

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
        for source in (self._sealed, self.resend, self._stray()):
            for call in source:
                known.update(call.ids)
        return known

    def adopt(self, list ids, list records, list attempts, list plans):
        """Take up jobs that the server says are held here and whose claim's reply was lost."""
        cdef long long now_ns = monotonic_ns()
        if not len(ids) == len(records) == len(attempts) == len(plans):
            raise ValueError(f"{len(ids)} ids with {len(records)} records cannot be adopted")
        for i in range(len(ids)):
            suspect = attempts[i] is not None and not attempts[i].endswith(b" 0")
            # Whether its claim took a token is not known; a refund too many would let too many start.
            self._adopt_one(ids[i], records[i], attempts[i], plans[i], suspect, False, now_ns)
        taken = set(ids)
        self.unseen = [id for id in self.unseen if id not in taken]

    cdef _applied(self, Call call_, object reply, double now):
        cdef ExchangeCall call = <ExchangeCall>call_
        cdef list answer = need_list(reply, 8, "exchange")
        cdef Py_ssize_t i
        for i in range(4, 8):
            need_list(answer[i], 0, "exchange")
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
            call.holds = False
        # Who only promoted waits for a token like all: jobs that nobody handles here reach another worker.
        self.dry = call.promotes or not self.flags & MORE
        if self.flags & SUSPECTS_LEFT and self.suspects == 0:
            self.asked = True
        if answer[6]:
            self.refused += answer[6]
        if answer[7]:
            expired = <list>answer[7]
            self.expired += [(expired[i], expired[i + 1]) for i in range(0, len(expired) - 1, 2)]
        if call.starting:
            self._confirm(call.starting)

    cdef _claim(self, list answer, double now):
        cdef list ids = (<bytes?>answer[3]).decode().split(" ")
        cdef list records = need_list(answer[4], len(ids), "exchange")
        cdef list extras = <list>answer[5]
        cdef long long now_ns = monotonic_ns()
        cdef dict by_position = {}
        cdef bint token = self.flags & LIMITED != 0
        cdef Py_ssize_t i
        for i in range(0, len(extras) - 3, 4):
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
