"""What is waited for, who waits, and what becomes of an outcome."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bullrush.errors import (
    JobCancelled,
    JobCrashed,
    JobExpired,
    JobFailed,
    JobRemoved,
    JobTimedOut,
    ResultTimeout,
)
from bullrush.events.stream import split_id
from bullrush.operations.outcomes import Outcome

if TYPE_CHECKING:
    from bullrush._core.job import JobBase

# None: the job is gone, and nobody knows how it ended.
Settled: TypeAlias = "Outcome | Exception | None"

_FAILURES: Final[dict[str, type[JobFailed]]] = {
    kind.__name__: kind for kind in (JobCancelled, JobExpired, JobTimedOut, JobCrashed)
}


class Wait:
    """A job that somebody waits for."""

    __slots__ = ("epoch", "fallback", "since", "takers")

    def __init__(self, since: str) -> None:
        self.takers: list[Taker] = []
        # Where in the stream its outcome may be: what stands before it is of another job of that id.
        self.since = split_id(since)
        # Of the queue in which the job was looked for: after obliterate its id may be that of another job.
        self.epoch: bytes | None = None
        # What the stream said of its end; the stored outcome says more, while it is there.
        self.fallback: Settled = None


class Taker:
    """One call of `wait`, `wait_all` or `as_completed`: it takes the outcomes of its jobs as they come."""

    def __init__(self, limit: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._deadline = None if limit is None else loop.time() + limit
        self._limit = limit
        self._fresh: deque[tuple[str, Settled]] = deque()
        self._news = asyncio.Event()
        self.missing: dict[str, None] = {}

    def take(self, id: str, settled: Settled) -> None:
        """Take the outcome of one job."""
        if id in self.missing:
            del self.missing[id]
            self._fresh.append((id, settled))
            self._news.set()

    async def next(self) -> tuple[str, Settled]:
        """Return the next outcome; raises ResultTimeout."""
        await self._wait()
        return self._fresh.popleft()

    async def next_all(self) -> list[tuple[str, Settled]]:
        """Wait for at least one outcome and return all that have come; raises ResultTimeout."""
        await self._wait()
        fresh, self._fresh = list(self._fresh), deque()
        return fresh

    async def _wait(self) -> None:
        while not self._fresh:
            self._news.clear()
            try:
                async with asyncio.timeout_at(self._deadline):
                    await self._news.wait()
            except TimeoutError:
                id = next(iter(self.missing))
                others = f" ({len(self.missing):,} of the jobs have not)" if len(self.missing) > 1 else ""
                raise ResultTimeout(
                    f"job {id} has not finished within {self._limit:g} s{others}; it goes on", job_id=id
                ) from None


def value_of(id: str, settled: Settled) -> object:
    """Return the value of a completed job; raise what became of any other."""
    if settled is None:
        raise JobRemoved(f"job {id} was removed, or finished and its outcome is no longer kept", job_id=id)
    if isinstance(settled, Exception):
        raise settled
    if settled.completed:
        return settled.value
    kind = _FAILURES.get(settled.error_type or "", JobFailed)
    raise kind(
        f"job {id} failed: {settled.error_type}: {settled.reason}",
        job_id=id,
        reason=settled.reason or "",
        error_type=settled.error_type or "",
        stacktrace=settled.stack.splitlines(),
        attempts_made=settled.attempts_made,
    )


def load_settled(job: JobBase[Any, Any], settled: Settled) -> None:
    """Fill a job with its outcome; raises JobRemoved when that is lost, and what made it unreadable."""
    if settled is None or isinstance(settled, Exception):
        value_of(job.id, settled)
        return
    job._load(
        outcome=(settled.value, settled.reason, settled.error_type, settled.stack),
        progress=job.progress,
        state="completed" if settled.completed else "failed",
        worker=settled.worker or None,
        processed=settled.processed,
        finished=settled.finished,
    )
    if settled.attempts_started:
        job._count(settled.attempts_made, settled.attempts_started)
