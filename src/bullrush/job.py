"""The job as asyncio code sees it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Generator
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from typing_extensions import TypeVar

from bullrush._core.codec import encode
from bullrush._core.job import JobBase as JobBase
from bullrush.errors import CodecError, InvalidOptionType, JobIsActive, JobNotFound, JobNotInState
from bullrush.operations import control, jobs
from bullrush.options import time_ms

if TYPE_CHECKING:
    from bullrush.events.kinds import Event
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


def report_line(job: JobBase, line: object) -> None:
    """Take a log line from a handler."""
    sink = job._sink
    if not isinstance(line, str):
        raise InvalidOptionType(f"log line is {line!r} ({type(line).__name__}); it must be a str")
    if sink is None:
        raise JobIsActive(
            f"only the handler that runs job {job.id} can log to it", job_id=job.id, took_effect=False
        )
    try:
        sink.report_line(job, line.encode())
    except UnicodeEncodeError as error:
        raise CodecError(f"log line {line!r} is no valid text: {error}") from error


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
