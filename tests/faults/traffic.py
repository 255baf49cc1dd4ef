"""A producer and a worker that go on while something goes wrong, and what holds of their jobs at the end.

async with Traffic(producer, consumer) as traffic:
    await traffic.flows()       # 50 more jobs have run
    ...                         # the fault
    await traffic.flows()
    await traffic.finish()      # no more is added, all that was added is done
await traffic.check(straight)   # nothing lost, nothing twice, the books are even
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from bullrush import BullrushError, ConnectionLost, Job, Queue, Worker
from tests.waiting import wait_until_async

AFTER_ERROR = 0.02


class Traffic:
    """Adds from several tasks, each job after the one before it, and counts how often each job runs.

    What an add raised is in `refused`, what the worker reported in `errors`.
    """

    def __init__(
        self,
        producer: Queue,
        consumer: Queue,
        *,
        lease: str = "2s",
        concurrency: int = 5,
        seconds: float = 0.002,
        tasks: int = 3,
        ids_are_new: bool = True,
    ) -> None:
        self.acknowledged: dict[str, int] = {}
        self.refused: list[BullrushError] = []
        self.errors: list[Exception] = []
        self.runs: Counter[str] = Counter()
        self.running: set[str] = set()
        self.ran: Counter[int] = Counter()  # by data
        self.last_added = self.last_run = 0.0
        self._producer = producer
        self._seconds = seconds
        self._tasks = tasks
        self._ids_are_new = ids_are_new
        self._stopping = False
        self._adding: list[asyncio.Task[None]] = []
        self.worker: Worker = consumer.process(
            self.handle, lease=lease, concurrency=concurrency, remove_on_complete=False
        )
        self.worker.on("error", self.errors.append)

    async def __aenter__(self) -> Self:
        await self.worker.__aenter__()
        self._adding = [asyncio.create_task(self._add(n * 1_000_000)) for n in range(self._tasks)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        for task in self._adding:
            task.cancel()
        await asyncio.gather(*self._adding, return_exceptions=True)
        await self.worker.__aexit__(kind, error, trace)

    async def _add(self, number: int) -> None:
        while not self._stopping:
            try:
                job = await self._producer.add("work", number)
            except BullrushError as error:
                self.refused.append(error)
                await asyncio.sleep(AFTER_ERROR)  # time is the subject
                continue
            assert job.id not in self.acknowledged or not self._ids_are_new
            self.acknowledged[job.id] = number
            self.last_added = time.monotonic()
            number += 1
            await asyncio.sleep(0.002)  # time is the subject

    async def handle(self, job: Job) -> int:
        """Count the run; a second worker may be given it, too."""
        self.runs[job.id] += 1
        self.ran[job.data] += 1
        self.running.add(job.id)
        try:
            await asyncio.sleep(self._seconds)  # time is the subject
        finally:
            self.running.discard(job.id)
        self.last_run = time.monotonic()
        return job.data

    async def flows(self, jobs: int = 50, timeout: float = 30) -> None:
        """Wait until that many more jobs were added and have run."""
        added, run = len(self.acknowledged) + jobs, self.runs.total() + jobs
        await wait_until_async(
            lambda: len(self.acknowledged) >= added and self.runs.total() >= run,
            timeout,
            what=f"{jobs} more jobs to be added and run",
        )

    async def stop_adding(self) -> None:
        """Let the adds under way end."""
        self._stopping = True
        await asyncio.gather(*self._adding)

    async def finish(self, timeout: float = 30) -> None:
        """Add no more, and wait until nothing is left."""
        await self.stop_adding()
        await self.worker.wait_idle(f"{timeout:.0f}s")

    async def check(self, queue: Queue, *, repeats: int = 0) -> None:
        """Everything acknowledged was done, nothing that was never added, and at most so many starts twice."""
        unknown = sum(isinstance(e, ConnectionLost) and e.took_effect is None for e in self.refused)
        assert set(self.acknowledged) <= set(self.runs), "acknowledged and never done"
        assert len(set(self.runs) - set(self.acknowledged)) <= unknown, "done and never added"
        assert sum(n - 1 for n in self.runs.values()) <= repeats, "started twice"
        await check_books(queue, completed=len(self.runs))


@asynccontextmanager
async def holding(queue: Queue, stalled: list[str]) -> AsyncGenerator[Job]:
    """A worker that has one job in hand for as long as the block lasts, and does nothing but renew its lease.

    Whoever takes it for dead is found out: ids of jobs that were taken away come to `stalled`.
    """
    over = asyncio.Event()

    async def hold(job: Job) -> str:
        await over.wait()
        return "held to the end"

    held = await queue.add("hold")
    # Another lease than those who look have, so that it does not always renew just before they do.
    worker = queue.process(hold, lease="1300ms", concurrency=1, prefetch=0, remove_on_complete=False)
    worker.on("stalled", stalled.append)
    async with worker:
        await wait_until_async(lambda: worker.jobs)
        try:
            yield held
        finally:
            over.set()
        assert await held.result("20s") == "held to the end"
    assert held.attempts_started <= 1


async def check_books(queue: Queue, **counts: int) -> None:
    """Each state has as many jobs as stated, 0 where nothing is; no worker holds anything; fsck finds nothing."""
    found = await queue.get_job_counts()
    assert found == {**dict.fromkeys(found, 0), **counts}
    report = await queue.fsck()
    assert report.ok, str(report)
