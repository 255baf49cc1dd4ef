"""The job as asyncio code sees it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Generator
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from typing_extensions import TypeVar

from bullrush._core.codec import encode
from bullrush._core.job import JobBase as JobBase
from bullrush.errors import (
    CodecError,
    InvalidOption,
    InvalidOptionType,
    JobIsActive,
    JobNotFound,
    JobNotInState,
)
from bullrush.operations import change, control, jobs
from bullrush.options import duration_ms, time_ms
from bullrush.options.jobs import MAX_PRIORITY
from bullrush.options.texts import check_bool, check_int

if TYPE_CHECKING:
    from bullrush.events.kinds import Event
    from bullrush.operations.change import Refusal
    from bullrush.operations.jobs import Snapshot
    from bullrush.options import Duration, State, Time
    from bullrush.queue import Queue

DataT = TypeVar("DataT", default=Any)
ResultT = TypeVar("ResultT", default=Any)

# How often, in s, whoever follows a job looks whether it has ended unheard.
EVENTS_LOOK = 5


class _Done:  # asyncio only
    """An awaitable that is done: awaiting `update_progress` and `log` is allowed and optional."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_DONE = _Done()  # asyncio only


def load_snapshot(job: JobBase, snapshot: Snapshot) -> None:
    """Fill a job with what was read."""
    outcome = snapshot.outcome
    ended = None if outcome is None else (outcome.value, outcome.reason, outcome.error_type, outcome.stack)
    job._load(
        id=snapshot.id,
        record=snapshot.record,
        attempts=snapshot.attempts,
        outcome=ended,
        progress=None if snapshot.progress is None else decode_progress(snapshot.progress),
        state=snapshot.state,
        worker=None if outcome is None else outcome.worker,
        processed=0 if outcome is None else outcome.processed,
        finished=0 if outcome is None or snapshot.state not in ("completed", "failed") else outcome.finished,
        plan=snapshot.plan,
        due=snapshot.due,
    )
    if outcome is not None and snapshot.attempts is None:
        job._count(outcome.attempts_made, outcome.attempts_started)


def decode_progress(packed: bytes) -> object:
    """Decode a stored progress value."""
    from bullrush._core.codec import decode

    return decode(packed)


def report_progress(job: JobBase, value: object) -> None:
    """Take a progress value from a handler: in force at the call, with others at the next exchange."""
    sink = job._sink
    if sink is None:
        raise JobIsActive(
            f"progress of job {job.id} can be told only by the handler that runs it",
            job_id=job.id,
            took_effect=False,
        )
    job._set_progress(value)
    sink.report_progress(job, encode(value))


def postpone(job: JobBase, until: Time) -> None:
    """Put a running job off until a time."""
    when = time_ms(until, "until")
    sink = job._sink
    if sink is None:
        raise JobNotInState(
            f"only the handler that runs job {job.id} can move it to delayed; use change_delay() for a job "
            "that waits",
            job_id=job.id,
            state=job.state or "unknown",
        )
    sink.postpone(job, when)


def due_of(delay: Duration | None, run_at: Time | None) -> tuple[Literal["d", "t"], int]:
    """Return what the delay script takes: ms from now, or a time; exactly one must be given."""
    if (delay is None) == (run_at is None):
        raise InvalidOption("change_delay takes a delay or run_at: give one of them; nothing was changed")
    if run_at is not None:
        return "t", time_ms(run_at, "run_at")
    return "d", duration_ms(delay, "delay")


def check_refusal(job: JobBase, verb: str, needed: str, state: Refusal) -> None:
    """Raise JobNotFound or JobNotInState where a change was refused; None: it was made."""
    if state == "unknown":
        raise JobNotFound(f"job {job.id} is not in queue {job.queue!r}: nothing was changed", job_id=job.id)
    if state is not None:
        raise JobNotInState(
            f"job {job.id} is {state}; only a job that is {needed} can {verb}: nothing was changed",
            job_id=job.id,
            state=state,
        )


def encode_line(line: object) -> bytes:
    """Return a log line as it is stored; raises InvalidOptionType or CodecError."""
    if not isinstance(line, str):
        raise InvalidOptionType(f"log line is {line!r} ({type(line).__name__}); it must be a str")
    try:
        return line.encode()
    except UnicodeEncodeError as error:
        raise CodecError(f"log line {line!r} is no valid text: {error}") from error


def report_line(job: JobBase, line: object) -> None:
    """Take a log line from a handler."""
    sink, packed = job._sink, encode_line(line)
    if sink is None:
        raise JobIsActive(
            f"only the handler that runs job {job.id} can log to it (queue.add_job_log() is for others)",
            job_id=job.id,
            took_effect=False,
        )
    sink.report_line(job, packed)


class Job(JobBase[DataT, ResultT]):
    """A job in asyncio code: what `add` returns and `async def` handlers get. Fields are a snapshot."""

    __slots__ = ()

    @property
    def _queue(self) -> Queue[DataT, ResultT]:
        return cast("Queue[DataT, ResultT]", self._owner)

    def update_progress(self, value: object, /) -> Awaitable[None]:
        """Tell how far the running job is: any value of the codec.

        Others see it within 100 ms; the last one wins. In force at the call; awaiting it is optional. Raises
        JobIsActive outside the handler, CodecError for other types.
        """
        report_progress(self, value)
        return _DONE  # asyncio only

    def log(self, line: str, /) -> Awaitable[None]:
        """Add a line to the job's log. In force at the call; awaiting it is optional."""
        report_line(self, line)
        return _DONE  # asyncio only

    async def move_to_delayed(self, until: Time) -> None:
        """Put the job off until a time, from inside its handler, without charge.

        It is settled at once: what the handler still returns or raises does not count. Raises JobNotInState
        outside its handler.
        """
        postpone(self, until)

    async def get_state(self) -> State | Literal["unknown"]:
        """Return the state the job is in now; "unknown" when it is gone."""
        return await self._queue._port.run(jobs.get_state(self._queue._port.keys, self.id))

    async def refresh(self) -> Self:
        """Read all fields again and return this job; raises JobNotFound when it is gone."""
        queue = self._queue
        snapshot = await queue._port.run(jobs.get_snapshot(queue._port.keys, self.id, queue.codec))
        if snapshot is None:
            raise JobNotFound(f"job {self.id} is not in queue {queue.name!r} any more", job_id=self.id)
        load_snapshot(self, snapshot)
        return self

    async def result(self, timeout: Duration | None = None) -> ResultT:
        """Wait until the job has finished and return what its handler returned.

        Raises JobFailed (or its subclass) when it failed, ResultTimeout after `timeout`, JobRemoved when it
        finished before the wait began and its outcome is no longer kept. A wait that began before the job
        finished always gets the value.
        """
        return cast("ResultT", await self._queue._wait_result(self, timeout))

    async def retry(self, *, reset_attempts: bool = False) -> None:
        """Run a finished job again, where its priority puts it.

        It gets one more attempt, or all of them anew with `reset_attempts`. Its outcome is forgotten; a
        deduplication id that is free is taken again. Raises JobNotInState unless it has completed or failed,
        JobNotFound when it is gone.
        """
        check_bool(reset_attempts, "reset_attempts")
        port = self._queue._port
        state = await port.run(change.retry(port.keys, self.id, reset_attempts))
        check_refusal(self, "be retried", "completed or failed", state)

    async def promote(self) -> None:
        """Let a delayed job stand in line now, where its priority puts it.

        Raises JobNotInState when it is not delayed, JobNotFound when it is gone.
        """
        port = self._queue._port
        check_refusal(self, "be promoted", "delayed", await port.run(change.promote(port.keys, self.id)))

    async def change_delay(self, delay: Duration | None = None, *, run_at: Time | None = None) -> None:
        """Let a delayed job be due after `delay` from now, or at `run_at`; give one of them.

        Raises JobNotInState when it is not delayed, JobNotFound when it is gone, InvalidOption for other
        values. This object's `due_at` follows with `refresh`.
        """
        kind, ms = due_of(delay, run_at)
        port = self._queue._port
        state = await port.run(change.change_delay(port.keys, self.id, kind, ms))
        check_refusal(self, "get another delay", "delayed", state)

    async def change_priority(self, priority: int, *, lifo: bool = False) -> None:
        """Give the job another priority, 0 (first, the default) to 2,097,151.

        One that waits moves behind all others of that priority, with `lifo` before them. A delayed one keeps
        its time, a running one runs on: it counts when they stand in line again. Raises JobNotInState when
        it has finished, JobNotFound when it is gone.
        """
        check_int(priority, "priority", 0, MAX_PRIORITY)
        check_bool(lifo, "lifo")
        port = self._queue._port
        state = await port.run(change.change_priority(port.keys, self.id, priority, lifo))
        check_refusal(self, "get another priority", "not finished", state)

    async def update_data(self, data: DataT) -> None:
        """Store other data for the job, whatever its state, and show it here.

        A handler that runs already has the old data. Raises CodecError, PayloadTooLarge above `size_limit`
        or 16 MiB, JobNotFound when it is gone: nothing was changed.
        """
        queue = self._queue
        limit = self.settings.size_limit or change.MAX_RECORD
        operation = change.update_data(queue._port.keys, self.id, data, queue.codec, limit)
        record = await queue._port.run(operation)
        if record is None:
            check_refusal(self, "get other data", "there", "unknown")
        else:
            self._rewrite(record)

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens to this job from now on, up to the event that ends it.

        That is Completed, Failed or Removed. Ends at once when the job has finished already or is gone. Where
        the queue publishes no such event (mode "off"), or it was lost in a gap, it ends within 10 s of that.
        One reader per queue and process serves all iterations.
        """
        from bullrush.events.kinds import Completed, Failed, Removed

        if await self._has_ended():
            return
        async with self._queue.events() as events:
            ended, look_at = False, 0.0
            while not ended or time.monotonic() < look_at:
                if time.monotonic() >= look_at:
                    ended, look_at = await self._has_ended(), time.monotonic() + EVENTS_LOOK
                event = await events.get(f"{EVENTS_LOOK}s")
                if getattr(event, "job_id", None) == self.id and event is not None:
                    yield event
                    if isinstance(event, Completed | Failed | Removed):
                        return

    async def _has_ended(self) -> bool:
        return await self.get_state() in ("completed", "failed", "unknown")

    async def cancel(
        self, reason: str | None = None
    ) -> Literal["removed", "signalled", "finished", "unknown"]:
        """Cancel the job: remove it, or tell the worker that runs it to stop; see `Queue.cancel`."""
        return await self._queue.cancel(self.id, reason)

    async def remove(self) -> bool:
        """Remove the job; False when it is gone already. Raises JobIsActive while a worker holds it."""
        return await self._queue.remove(self.id)

    async def get_logs(self, start: int = 0, end: int = -1) -> tuple[list[str], int]:
        """Return the log lines between two positions, the end included, and how many there are in all."""
        return await self._queue._port.run(control.get_logs(self._queue._port.keys, self.id, start, end))

    async def clear_logs(self, *, keep: int = 0) -> None:
        """Remove the job's log lines, all but the last `keep`."""
        await self._queue.clear_job_logs(self.id, keep=keep)
