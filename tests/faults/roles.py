"""What the processes of a fault run do: run jobs, or add them, and say so to the recorder."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import cast

from bullrush import BullrushError, Job, LeaseLost, Queue, Worker
from tests.faults.recorder import Notes

SUICIDES = ("exit", "segfault")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the jobs are, and who writes down what becomes of them."""

    url: str
    queue: str
    notes: str
    prefix: str = "faults"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRole:
    """A worker process: its handler takes `seconds`; a job whose name is a suicide takes the process along."""

    place: Place
    concurrency: int = 10
    lease_ms: int = 1000
    seconds: float = 0.0
    max_crashes: int = 2

    def run(self) -> None:
        """Work until a signal comes."""
        place = self.place
        notes = Notes(place.notes)
        queue = Queue(place.queue, place.url, prefix=place.prefix)
        worker = Worker(
            queue,
            handler(notes, self.seconds),
            concurrency=self.concurrency,
            lease=self.lease_ms,
            max_crashes=self.max_crashes,
            remove_on_complete=False,
        )

        @worker.on("error")
        def _(error: BaseException) -> None:
            if isinstance(error, LeaseLost):
                notes.disturbed(os.getpid(), "lease lost")
            if isinstance(error, BullrushError):
                notes.error(error)

        worker.run_forever()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerRole:
    """A producer process: adds the jobs `first` to `first + count - 1`, one by one from so many tasks, or in batches."""

    place: Place
    first: int
    count: int
    tasks: int = 1
    batch: int = 1
    timeout: str = "30s"

    def run(self) -> None:
        """Add all, and end."""
        asyncio.run(self._add_all())

    async def _add_all(self) -> None:
        place = self.place
        notes = Notes(place.notes)
        keys = iter(range(self.first, self.first + self.count))
        async with (
            Queue(place.queue, place.url, prefix=place.prefix, request_timeout=self.timeout) as queue,
            asyncio.TaskGroup() as group,
        ):
            if self.batch > 1:
                group.create_task(self._add_batches(queue, notes))
                return
            for _ in range(self.tasks):
                group.create_task(add_each(queue, keys, notes))

    async def _add_batches(self, queue: Queue, notes: Notes) -> None:
        for first in range(self.first, self.first + self.count, self.batch):
            notes.tried_range(first, self.batch)
            await queue.add_bulk([("work", key) for key in range(first, first + self.batch)])
            notes.acknowledged_range(first, self.batch)


async def add_each(queue: Queue, keys: Iterator[int], notes: Notes) -> None:
    """Add one job after the other; an error is noted and the next one is tried."""
    for key in keys:
        notes.tried(key)
        try:
            job = await queue.add("work", key)
        except BullrushError as error:
            notes.error(error)
        else:
            notes.acknowledged(key, job.id)


def handler(notes: Notes, seconds: float) -> Callable[[Job], Awaitable[int]]:
    """Return what runs a job whose data is its key."""

    async def handle(job: Job) -> int:
        key = cast("int", job.data)
        notes.started(key, job.id, job.attempts_started)
        if job.name in SUICIDES:
            die(job.name)
        if seconds:
            await asyncio.sleep(seconds)  # time is the subject
        notes.done(key, job.id, job.attempts_started)
        return key

    return handle


def die(how: str) -> None:
    """End this process without a word, from Python or as broken native code would."""
    if how == "segfault":
        ctypes.string_at(0)
    os._exit(13)
