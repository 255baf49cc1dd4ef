"""The stopper: ends jobs that run too long or were cancelled.

A coroutine gets CancelledError at its next await. A thread cannot be stopped: its job is flagged and settled
at once, and what the thread still does counts for nothing. It keeps its slot until it returns, and one that
goes on is reported. The same happens to a coroutine that does not give way.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from bullrush.worker.settler import TIMEOUT, Settler

if TYPE_CHECKING:
    from bullrush._core.exchange import Exchange
    from bullrush.job import JobBase

logger = logging.getLogger("bullrush")

# How long a handler that was told to stop may take before it is settled without it, and reported.
GRACE: Final = 5.0


class Stopper:
    """Timers of running jobs with a timeout, and what a cancel does to a job that is held here."""

    def __init__(self, exchange: Exchange, settler: Settler, loop: asyncio.AbstractEventLoop) -> None:
        self._exchange = exchange
        self._settler = settler
        self._loop = loop
        self._timers: dict[JobBase, asyncio.TimerHandle] = {}

    def arm(self, job: JobBase) -> None:
        """A job with a timeout started."""
        timeout = job.settings.timeout
        if timeout is not None and job in self._exchange.running_jobs:
            self._timers[job] = self._loop.call_later(timeout / 1000, self._stop, job, TIMEOUT)

    def disarm(self, job: JobBase) -> None:
        """The handler of a job ended."""
        timer = self._timers.pop(job, None)
        if timer is not None:
            timer.cancel()

    def cancel(self, id: str, reason: str) -> bool:
        """Cancel a job that is held here, started or not; False: it is not."""
        waiting = self._exchange.take_waiting(id)
        if waiting is not None:
            self._settler.cancelled_early(waiting, reason)
            return True
        for job in list(self._exchange.running_jobs):
            if job.id == id and self._exchange.owns(job):
                job._mark_cancelled(reason)
                self._stop(job, reason)
                return True
        return False

    def _stop(self, job: JobBase, reason: str) -> None:
        if job not in self._exchange.running_jobs:
            return
        self.disarm(job)
        job._cancel(reason)
        if job._on_loop:
            self._timers[job] = self._loop.call_later(GRACE, self._give_up, job, reason)
        else:
            self._settler.fence(job, reason)
            self._timers[job] = self._loop.call_later(GRACE, self._report, job, reason)

    def _give_up(self, job: JobBase, reason: str) -> None:
        self._settler.fence(job, reason)
        self._report(job, reason)

    def _report(self, job: JobBase, reason: str) -> None:
        self._timers.pop(job, None)
        if job in self._exchange.running_jobs:
            logger.warning(
                "job %s %r was told to stop (%s) and runs on: its outcome was settled without it, "
                "its slot is lost until it returns",
                job.id,
                job.name,
                reason,
            )

    def close(self) -> None:
        """Forget all timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
