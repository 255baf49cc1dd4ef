"""The producer: adds wait in a buffer while calls are in flight, and leave together. A batch forms by itself.

The first add goes out at once. A second call leaves beside it only once 256 jobs or 256 kB wait; more never
do. Ids come from blocks that this session reserved; they are given when a call is written, so a job whose
call was never applied is written anew with an id of the new session. Conditional calls (custom ids, scripts
with an answer) travel alone: their answer stays with the session until the next call, so that it survives a
lost reply.

Behind a call of jobs that are to be durable leave *confirmations* on the same socket, in the same turn, so
they cost no round trip: a command (WAIT, for example) whose reply says whether everything written before it
is as safe as was asked. Until it says so the adds are not done. After a lost connection it is asked again on
the new one, where it covers all that was written before the session was opened.
"""

from collections import deque

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from os import urandom
from time import time

from bullrush._core.frames cimport ScriptFrame, WriteBuffer
from bullrush._core.job cimport JobBase
from bullrush._core.session cimport Call, Session, SessionState, Verdict, need_list

from bullrush._core.session import ReplyError
from bullrush.errors import ConnectionLost, NotDurable, QueueFull, ServerError

cdef enum:
    EARLY_JOBS = 256
    EARLY_BYTES = 262144
    CALL_JOBS = 1000
    CALL_BYTES = 4194304
    LARGE = 4000
    FIRST_BLOCK = 64
    LAST_BLOCK = 65536


# Kinds of calls; the session remembers for each whether the server has its script.
cdef str ADD = "add"
cdef str ADD_SPECIAL = "add_special"
cdef str RESERVE = "reserve"
cdef str CONFIRM = "confirm"

cdef class Confirmation:
    """A command that tells whether what was written before it is as durable as somebody asked.

    `frame` is sent as it is, `holds` judges its reply, `level` names it in errors.
    """

    def __init__(self, str level not None, bytes frame not None, holds):
        self.level = level
        self.frame = frame
        self.holds = holds


@cython.no_gc       # nothing it refers to refers back; with many adds waiting, collections have less to visit
cdef class Unit:
    """What is stored or refused as a whole: one job, or a chunk of `add_bulk`.

    Or one script call of its own.
    """


cdef class AddCall(Call):
    """A call of units, or a reservation of ids."""


cdef class ConfirmCall(Call):
    """A question behind a call: is it durable? It changes nothing, so it has no number."""


cdef class Producer(Session):
    """The adding side of one queue on one socket, without I/O.

    Waiters are futures: asyncio's or concurrent's.
    """

    def __init__(self, ScriptFrame open_script, ScriptFrame add, ScriptFrame add_special, ScriptFrame reserve,
                 bytes codec_name,
                 Py_ssize_t max_jobs=20000, Py_ssize_t max_bytes=33554432):
        Session.__init__(self, open_script)
        self._add = add
        self._add_special = add_special
        self._reserve = reserve
        self._codec_name = codec_name
        self.events_mode = ""
        self.pending = deque()
        self.max_jobs = max_jobs
        self.max_bytes = max_bytes
        self._plain = WriteBuffer()
        self._others = WriteBuffer()
        self._block = FIRST_BLOCK
        self._spare = deque()
        self._left = 0
        self._next_id, self._last_id = 1, 0
        self.clock_offset = monotonic_ms_offset()
        self._space = deque()
        self._questions = deque()
        self._unconfirmed = []
        self.on_missing = None

    # What goes in.

    def push(self, JobBase job not None, waiter, double deadline, Confirmation confirmation=None):
        """Buffer one job; the waiter gets it back once it is stored, and confirmed if need be."""
        cdef Unit unit = Unit()
        unit.single = job
        unit.confirmation = confirmation
        unit.count = 1
        unit.bytes = PyBytes_GET_SIZE(job.record) + 64
        unit.conditional = job.conditional
        unit.special = job.place is not None or PyBytes_GET_SIZE(job.record) > LARGE
        self._push(unit, waiter, deadline)

    def push_all(self, list jobs, waiter, double deadline, Confirmation confirmation=None):
        """Buffer a chunk that is stored or refused as a whole; at most 1,000 jobs.

        The waiter gets the list.
        """
        cdef Unit unit = Unit()
        unit.confirmation = confirmation
        cdef JobBase job
        if len(jobs) > CALL_JOBS:
            raise ValueError(f"a chunk has at most {CALL_JOBS} jobs, this one has {len(jobs)}")
        unit.jobs = jobs
        unit.count = len(jobs)
        for job in jobs:
            unit.bytes += PyBytes_GET_SIZE(job.record) + 64
            if job.place is not None or PyBytes_GET_SIZE(job.record) > LARGE:
                unit.special = True
                unit.conditional |= job.conditional
        self._push(unit, waiter, deadline)

    def push_script(self, ScriptFrame script, tuple arguments, waiter, double deadline):
        """Buffer a numbered call of another script.

        The waiter gets its answer, as the script returned it or as the session kept it.
        """
        cdef Unit unit = Unit()
        unit.script = script
        unit.arguments = arguments
        unit.conditional = True
        self._push(unit, waiter, deadline)

    cdef _push(self, Unit unit, waiter, double deadline):
        unit.waiter = waiter
        unit.deadline = deadline
        if self.fatal is not None:
            raise self.fatal
        self.pending.append(unit)
        self.pending_jobs += unit.count
        self.pending_bytes += unit.bytes

    @property
    def full(self):
        """Say whether an add should wait before it pushes."""
        return self.pending_jobs >= self.max_jobs or self.pending_bytes >= self.max_bytes

    def wait_for_space(self, waiter):
        """Resolve this waiter once the buffer has space again, in order of arrival."""
        self._space.append(waiter)

    @property
    def busy(self):
        """Say whether anything is pending, in flight or to be sent again."""
        return (bool(self.pending or self.inflight or self.resend or self._unknown or self._unconfirmed)
                or self._unwritten is not None)

    def waiters(self):
        """Return the futures of everything that is not settled."""
        cdef list found = [(<Unit>unit).waiter for unit in self.pending]
        for source in (self.inflight, self._unknown, self.resend, self._unconfirmed, self._stray()):
            for entry in source:
                if isinstance(entry, AddCall):
                    found += [(<Unit>unit).waiter for unit in (<AddCall>entry).units or ()]
        return [waiter for waiter in found if not waiter.done()]

    def give_id(self, JobBase job not None):
        """Give a job its id before its call is written; False when no reserved one is left."""
        if self.state != SessionState.READY or self._left < 1:
            return False
        self._number_for(job)
        return True

    def expire(self, double now):
        """Give up what has waited past its deadline.

        Returns whether a call in flight was among it (the socket is then stuck).
        """
        cdef Unit unit
        cdef AddCall call
        cdef bint stuck = False
        for source in (self.inflight, self._unknown, self.resend, self._stray()):
            for entry in source:
                if isinstance(entry, AddCall):
                    call = <AddCall>entry
                    for unit in call.units or ():
                        took_effect = False if source is self.resend and self.refusal else None
                        stuck |= self._expire(unit, now, took_effect) and source is self.inflight
                elif source is self.inflight and now - (<Call>entry).sent_at > 10.0:
                    stuck = True
        for call in self._unconfirmed:
            for unit in call.units:
                if unit.confirmation is not None and unit.deadline <= now and not unit.waiter.done():
                    unit.waiter.set_exception(not_durable(unit))
        while self.pending and (<Unit>self.pending[0]).deadline <= now:
            unit = self.pending.popleft()
            self.pending_jobs -= unit.count
            self.pending_bytes -= unit.bytes
            self._expire(unit, now, False)
        self._make_space()
        return stuck

    cdef bint _expire(self, Unit unit, double now, took_effect):
        if unit.deadline > now or unit.waiter.done():
            return False
        if took_effect is False and self.refusal is not None:
            unit.waiter.set_exception(ServerError(
                f"the server takes nothing at the moment, nothing was stored: {self.refusal}; "
                "add again when it does", took_effect=False))
            return True
        effect = "it may have been stored" if took_effect is None else "nothing was stored"
        unit.waiter.set_exception(ConnectionLost(
            f"no answer from the server in time: {effect}; add again when a job that runs twice does no "
            "harm, or use a job_id",
            took_effect=took_effect))
        return True

    def fail_all(self, error):
        """Fail everything that waits: the queue is closed, or this process is a fork."""
        cdef Unit unit
        for source in (self.inflight, self._unknown, self.resend, self._unconfirmed, self._stray()):
            for entry in source:
                if isinstance(entry, AddCall):
                    for unit in (<AddCall>entry).units or ():
                        if not unit.waiter.done():
                            unit.waiter.set_exception(error)
        for unit in self.pending:
            if not unit.waiter.done():
                unit.waiter.set_exception(error)
        for waiter in self._space:
            if not waiter.done():
                waiter.set_exception(error)
        self.pending.clear()
        self.resend.clear()
        self._unwritten = None
        self._unknown.clear()
        self._space.clear()
        self._questions.clear()
        self._unconfirmed.clear()
        self.pending_jobs = self.pending_bytes = 0

    # Ids.

    cdef long long _take_id(self, JobBase job) except -1:
        """Give a job the next id; whoever calls has seen that one is left."""
        if self._next_id > self._last_id:
            self._next_id, self._last_id = self._spare.popleft()
        job.id = str(self._next_id)     # may find no memory, and then the id is not taken
        job.session = self.id
        self._next_id += 1
        self._left -= 1
        return self._next_id - 1

    cdef Call _reserve_call(self):
        cdef AddCall call = AddCall()
        call.kind = RESERVE
        call.units = []
        self._block = self._next_block(self._block * 2)
        call.size = self._block
        return call

    cdef long long _next_block(self, long long size):
        """Blocks double from 64 to 65,536, and cover what waits already, in calls to be sent again as well.
        """
        cdef AddCall call
        cdef long long needed = self.pending_jobs
        for source in (self._unknown, self.resend):
            for call in source:
                needed += call.count
        while size < LAST_BLOCK and size < needed:
            size *= 2
        return min(size, LAST_BLOCK)

    cdef long long _last_of_block(self, object number, long long size) except 0:
        """The last id of a reserved block: ids are 1 and more, and numbers of scripts end at 2**53."""
        cdef long long last = number
        if not size <= last < 1 << 53:
            raise ConnectionError(f"the server reserved {size} ids that end at {last}, which cannot be")
        return last

    cdef bint _in_flight(self, str kind):
        cdef Call call
        for call in self.inflight:
            if call.kind is kind:
                return True
        return False

    # The session's hooks.

    cdef tuple _open_arguments(self):
        self._block = self._next_block(FIRST_BLOCK)
        return (self._block, urandom(8).hex(), self._codec_name, self.events_mode, "", "", "", "")

    cdef _opened(self, list reply):
        self._last_id = self._last_of_block(reply[4], self._block)
        self._next_id = self._last_id - self._block + 1
        self._left = self._block
        self._spare.clear()
        self.events_mode = ""
        # A reservation that was under way belonged to the session before.
        self.resend[:] = [call for call in self.resend if (<Call>call).kind is not RESERVE]

    cdef Call _next_call(self, double now):
        cdef Unit unit
        cdef Call entry
        cdef int adds = 0
        if self._questions:
            entry = self._next_question()
            if entry is not None:
                return entry
        for entry in self.inflight:
            if entry.kind is CONFIRM:
                continue
            if (<AddCall>entry).conditional:
                return None
            adds += entry.kind is not RESERVE
        if not self.pending:
            return None
        if 2 * self._left < self._block and not self._in_flight(RESERVE):
            return self._reserve_call()
        unit = <Unit>self.pending[0]
        if unit.conditional:
            if self.inflight:
                return None
            return self._script_call() if unit.script is not None else self._add_call()
        if adds >= 2 or (adds == 1 and self.pending_jobs < EARLY_JOBS and self.pending_bytes < EARLY_BYTES):
            return None
        return self._add_call()

    cdef Call _script_call(self):
        cdef AddCall call = AddCall()
        cdef Unit unit = self.pending[0]
        call.kind = "script"
        call.conditional = True
        call.units = [unit]
        self.pending.popleft()
        self._unwritten = call
        return call

    cdef AddCall _add_call(self):
        """Take as many units as one call carries; ids must be at hand for all of them.

        None: wait for a block.
        """
        cdef AddCall call = AddCall()
        cdef Unit unit
        cdef Py_ssize_t size = 0
        cdef bint conditional = (<Unit>self.pending[0]).conditional
        call.kind = ADD
        call.conditional = conditional
        call.units = []
        self._unwritten = call          # what it has taken is found here if memory ends half-way
        while self.pending:
            unit = <Unit>self.pending[0]
            if unit.script is not None or unit.conditional != conditional:
                break
            if call.units and (call.count + unit.count > CALL_JOBS or size + unit.bytes > CALL_BYTES):
                break
            if not unit.waiter.done():
                if call.count + unit.count > self._left:
                    break
                if unit.special:
                    call.kind = ADD_SPECIAL
                if unit.confirmation is not None:
                    call.durable = True
                call.units.append(unit)
                call.count += unit.count
                size += unit.bytes
            self.pending.popleft()
            self.pending_jobs -= unit.count
            self.pending_bytes -= unit.bytes
        self._make_space()
        if call.units:
            return call
        self._unwritten = None
        return <AddCall>self._reserve_call() if self.pending and not self._in_flight(RESERVE) else None

    cdef _make_space(self):
        while self._space and not self.full:
            waiter = self._space[0]
            if not waiter.done():
                waiter.set_result(None)
            self._space.popleft()

    cdef bytes _encode(self, Call call):
        cdef AddCall add
        cdef Unit unit
        cdef bytes frame
        if call.kind is CONFIRM:
            return (<ConfirmCall>call).confirmation.frame
        add = <AddCall>call
        if add.kind is ADD or add.kind is ADD_SPECIAL:
            frame = self._encode_add(add)
            add.stored = False
            if add.durable:
                self._ask(add)
            return frame
        if add.kind is RESERVE:
            return self._reserve.call(self.id, call.number, add.size, by_text=call.by_text)
        unit = <Unit>add.units[0]
        unit.sent = True
        return unit.script.call(self.id, call.number, *unit.arguments, by_text=call.by_text)

    cdef bytes _encode_add(self, AddCall call):
        cdef Unit unit
        cdef JobBase job
        cdef ScriptFrame script
        cdef long long first = 0
        cdef long long last = -1
        cdef list ranges = []
        cdef Py_ssize_t plain = 0
        cdef Py_ssize_t others = 0
        # One that found no memory half-way left bytes behind.
        self._out.clear()
        self._plain.clear()
        self._others.clear()
        for unit in call.units:
            unit.sent = True
            if unit.single is not None:
                others += self._put_job(unit.single, &first, &last, ranges)
            else:
                for job in unit.jobs:
                    others += self._put_job(job, &first, &last, ranges)
        plain = call.count - others
        if last >= first:
            ranges.append(b"%d-%d" % (first, last))
        script = self._add if call.kind is ADD else self._add_special
        script.begin(self._out, (4 if call.kind is ADD else 5) + 2 * plain + 3 * others, call.by_text)
        self._out.put_bulk(self.id)
        self._out.put_bulk_number(call.number)
        self._out.put_bulk_number(plain)
        if call.kind is ADD_SPECIAL:
            self._out.put_bulk_number(others)
        self._out.put_bulk(b" ".join(ranges))
        self._out.put_buffer(self._plain)
        self._out.put_buffer(self._others)
        return self._out.take()

    cdef long long _number_for(self, JobBase job) except -1:
        """An id of this session stays when its call was refused and is written again."""
        return int(job.id) if job.session is self.id else self._take_id(job)

    cdef int _put_job(self, JobBase job, long long* first, long long* last, list ranges) except -1:
        """Write one job; returns 1 when it is among the others. Plain jobs get their ids here, in runs."""
        cdef long long number
        if job.conditional and job.place[0] == 63:
            self._others.put_bulk_text(job.id)
            if job.unsealed is not None:
                job.seal()
        else:
            number = self._number_for(job)
            if job.unsealed is not None:
                job.seal()
            if job.place is None and PyBytes_GET_SIZE(job.record) <= LARGE:
                if number != last[0] + 1 or last[0] < first[0]:
                    if last[0] >= first[0]:
                        ranges.append(b"%d-%d" % (first[0], last[0]))
                    first[0] = number
                last[0] = number
                self._plain.put_bulk_number(number)
                self._plain.put_bulk(job.record)
                return 0
            self._others.put_bulk_number(number)
        self._others.put_bulk(job.record)
        self._others.put_bulk(b"w" if job.place is None else job.place)
        return 1

    cdef _applied(self, Call call, object reply, double now):
        cdef AddCall add = <AddCall>call
        cdef long long last
        if add.kind is RESERVE:
            last = self._last_of_block(reply, add.size)
            self._spare.append((last - add.size + 1, last))
            self._left += add.size
            return
        if add.kind == "script":
            self._done_script(<Unit>add.units[0], reply)
            return
        need_list(reply, 3 if add.kind is ADD_SPECIAL else 2, "add")
        self.clock_offset = reply[0] - <long long>(now * 1000)
        self._store(add, reply[1], reply[2] if add.kind is ADD_SPECIAL else b"")

    cdef _applied_unseen(self, Call call, object answer):
        """The reply was lost, the call was not: `open` says so, and brings the answer of a conditional one.
        """
        cdef AddCall add = <AddCall>call
        kept = b"" if answer is None else (<bytes?>answer).partition(b" ")[2]
        if add.kind == "script":
            self._done_script(<Unit>add.units[0], kept)
        elif add.kind is not RESERVE:
            # Number 0 of the new session: whoever knows this session has the call, which came before it.
            call.number = 0
            if add.stored:
                self._unconfirmed.append(add)
            else:
                self._store(add, None, kept)
            if add.durable:
                self._ask(add)

    # Confirmations.

    cdef _ask(self, AddCall call):
        """Ask once for each confirmation that a unit of this call wants, behind it."""
        cdef Unit unit
        cdef ConfirmCall question
        cdef list asked = []
        for unit in call.units:
            if unit.confirmation is not None and unit.confirmation not in asked:
                asked.append(unit.confirmation)
        call.unconfirmed = len(asked)
        for confirmation in asked:
            question = ConfirmCall()
            question.kind = CONFIRM
            question.unnumbered = True
            question.of = call
            question.confirmation = confirmation
            self._questions.append(question)

    cdef Call _next_question(self):
        cdef ConfirmCall question
        while self._questions:
            question = self._questions.popleft()
            if self._waited_for(question.of):
                return question
        return None

    cdef bint _waited_for(self, AddCall call):
        """Say whether anybody waits for this call; one that nobody waits for is forgotten."""
        cdef Unit unit
        for unit in call.units:
            if not unit.waiter.done():
                return True
        if call in self._unconfirmed:
            self._confirmed(call)
        return False

    cdef _answered(self, Call call, object reply, double now):
        cdef ConfirmCall question = <ConfirmCall>call
        cdef AddCall add = question.of
        if add not in self._unconfirmed:
            return  # refused, and asked for again when it is sent again; or nobody waits any more
        if isinstance(reply, ReplyError) or not question.confirmation.holds(reply):
            self._back_off(now)
            self._questions.append(question)
            return
        add.unconfirmed -= 1
        if add.unconfirmed == 0:
            self._confirmed(add)

    cdef _confirmed(self, AddCall call):
        self._unconfirmed.remove(call)
        self._finish(call, True)

    cpdef lost(self):
        """Say that the socket is gone: what is not confirmed may be missing on the next server."""
        if self.state != SessionState.ENDED:
            self._questions.clear()
            self._unknown.extend(self._unconfirmed)
            self._unconfirmed.clear()
        Session.lost(self)

    def forget(self):
        """Become new: after a fork all of it belongs to the parent."""
        self._questions.clear()
        self._unconfirmed.clear()
        Session.forget(self)

    cdef _done_script(self, Unit unit, object answer):
        if not unit.waiter.done():
            unit.waiter.set_result(answer)

    cdef _store(self, AddCall call, bytes stream_id, bytes answer):
        """The call was applied: done for whoever wants no more than that."""
        call.stream_id = stream_id
        call.duplicates = self._find_duplicates(call, answer) if answer else None
        self._finish(call, False)
        if call.durable:
            self._unconfirmed.append(call)
            call.stored = True
            self._waited_for(call)

    cdef _finish(self, AddCall call, bint confirmed):
        """Tell those who waited for a confirmation, or those who did not.

        Until then a job is as it was sent: it may have to be sent again, to another server.
        """
        cdef Unit unit
        cdef Py_ssize_t count = 0
        if call.duplicates is not None:
            for unit, job, holder in call.duplicates:
                if (unit.confirmation is not None) == confirmed:
                    self._note_duplicate(job, holder)
        for unit in call.units:
            if (unit.confirmation is not None) == confirmed:
                count += unit.count
                self._done(unit, call.stream_id)
        self.acknowledged += count
        self._history.append((call.number, count))

    cdef list _find_duplicates(self, AddCall call, bytes answer):
        """Which jobs were not stored: the answer has their positions among those that are not plain."""
        cdef Unit unit
        cdef JobBase job
        cdef list found = []
        cdef Py_ssize_t at
        # An empty chunk has neither.
        cdef list others = [(unit, job) for unit in call.units
                            for job in ((unit.single,) if unit.jobs is None else unit.jobs)
                            if job.place is not None or PyBytes_GET_SIZE(job.record) > LARGE]
        for entry in answer.split():
            position, _, holder = entry.partition(b":")
            at = int(position)
            if not 0 <= at < len(others):
                raise ConnectionError(
                    f"the server's reply to add names job {at} of the {len(others)} that had a condition")
            found.append((*others[at], holder))
        return found

    cdef _note_duplicate(self, JobBase job, bytes holder):
        """A job that was not stored stands for the one that is: of its id, or of its deduplication."""
        job.duplicate = "deduplication" if holder else "id"
        if holder:
            job.id = holder.decode()

    cdef _done(self, Unit unit, bytes stream_id):
        cdef JobBase job
        if unit.single is not None:
            unit.single.stream_id = stream_id
            if not unit.waiter.done():
                unit.waiter.set_result(unit.single)
            return
        for job in unit.jobs:
            job.stream_id = stream_id
        if not unit.waiter.done():
            unit.waiter.set_result(unit.jobs)

    cdef Verdict _refused(self, Call call, str code, str message):
        cdef AddCall add = <AddCall>call
        if code == "RETRY":
            # The held sets that the call declared are not those of now: its caller reads the workers again.
            return self._refuse(add, ReplyError(message))
        if code == "OOM":
            if add.kind is RESERVE:
                return Verdict.AGAIN
            return self._refuse(add, QueueFull(
                "the server is out of memory (maxmemory) and refused these jobs: nothing was stored; "
                "let workers drain the queue or raise maxmemory", took_effect=False))
        if add.tries >= 3:
            return self._refuse(add, ServerError(
                f"the server refused this call three times: {message}", took_effect=False))
        return Verdict.UNKNOWN

    cdef Verdict _refuse(self, AddCall call, error):
        cdef Unit unit
        for unit in call.units:
            if not unit.waiter.done():
                unit.waiter.set_exception(error)
        return Verdict.DROP

    cdef bint _still_wanted(self, Call call):
        """Leave out units that were given up meanwhile."""
        cdef AddCall add = <AddCall>call
        cdef Unit unit
        if add.kind is RESERVE or add.kind is CONFIRM:
            return True
        if add.stored and add.number == 0:
            # Applied under a session before the last one, and this server does not know the last one: whether
            # it has the call cannot be learned.
            self._refuse(add, ConnectionLost(
                "a server took over that does not know this connection, before jobs were confirmed: it may "
                "have them or not; look for them, or use a job_id and add again", took_effect=None))
            return False
        add.units = [unit for unit in add.units if not unit.waiter.done()]
        add.count = sum([unit.count for unit in add.units])
        return bool(add.units)

    cdef _lost_after_failover(self, long long known):
        cdef long long lost = 0
        for number, count in self._history:
            if number > known:
                lost += count
        if lost:
            self.missing += lost
            if self.on_missing is not None:
                self.on_missing(lost)

    cdef _failed_to_open(self, str code, str message):
        from bullrush.connection.refusals import open_error
        error = open_error(code, message)
        self.end(error)
        self.fail_all(error)


cdef object not_durable(Unit unit):
    cdef list jobs = unit.jobs if unit.single is None else [unit.single]
    return NotDurable(
        f"stored, but not confirmed in time as durability={unit.confirmation.level}: {len(jobs)} jobs are in "
        "the queue, and a server that fails now may lose them; do not add them again",
        ids=[job.id for job in jobs])


cdef long long monotonic_ns() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return <long long>at.tv_sec * 1000000000 + at.tv_nsec


def monotonic_ms_offset():
    """What to add to the monotonic clock (ms) for the wall clock, until the server's is known."""
    return <long long>(time() * 1000) - monotonic_ns() // 1000000
