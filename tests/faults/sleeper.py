"""A consumer that holds jobs until a file appears, and then tries everything with them, one thing each.

As a program, `python -m tests.faults.sleeper SETTINGS`. It prints nothing and notes what it did with its jobs.
Whoever stops it meanwhile (SIGSTOP) makes its file while it sleeps, so that it acts the moment it wakes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bullrush import BullrushError, Consumer, Job, Queue
from tests.faults.crew import recorder
from tests.waiting import wait_until_async

PATIENCE = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the jobs are, and the files: `starts` gets a line for each job, `go` lets it act."""

    url: str
    prefix: str
    queue: str
    starts: str
    go: str
    lease_ms: int = 1000


def complete(job: Job[Any, Any]) -> None:
    job.complete("sleeper")


def fail(job: Job[Any, Any]) -> None:
    job.fail("sleeper", retry=False)


def release(job: Job[Any, Any]) -> None:
    job.release()


def retry_later(job: Job[Any, Any]) -> None:
    job.retry_later("1h")


def tell(job: Job[Any, Any]) -> None:
    """Say how far it is, write a line, and keep it."""
    report(job)


def tell_and_complete(job: Job[Any, Any]) -> None:
    report(job)
    job.complete("sleeper")


def report(job: Job[Any, Any]) -> None:
    job.update_progress("sleeper")  # in force at once, awaited or not
    job.log("sleeper")


ACTS: tuple[Callable[[Job[Any, Any]], None], ...] = (
    complete,
    fail,
    release,
    retry_later,
    tell,
    tell_and_complete,
)


async def main(settings: Settings) -> None:
    """Hold a job for each act, sleep, act; then work on like any other."""
    note = recorder(settings.starts)
    async with (
        Queue(settings.queue, settings.url, prefix=settings.prefix) as queue,
        Consumer[Any](queue, prefetch=len(ACTS), lease=settings.lease_ms) as consumer,
    ):
        jobs = list[Job[Any, Any]]()
        while len(jobs) < len(ACTS):
            jobs += await consumer.fetch(len(ACTS) - len(jobs))
        for job in jobs:
            note(job)
        await wait_until_async(Path(settings.go).exists, PATIENCE)
        for act, job in zip(ACTS, jobs, strict=True):
            with contextlib.suppress(BullrushError):  # it may know by now that they are lost
                act(job)
        async for job in consumer:
            note(job)
            job.complete("awake")
            await consumer.flush()
            return


if __name__ == "__main__":
    asyncio.run(main(Settings(**json.loads(sys.argv[1]))))
