"""bullrush, on asyncio or, with BENCH_LOOP=uvloop, on uvloop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgpack

import bullrush
from benchmarks.harness.case import Case, payload
from benchmarks.harness.contender import Contender
from benchmarks.harness.entry import main, package_versions
from benchmarks.harness.work import Data, Work
from bullrush.options import JobSpec

_ON_UVLOOP = os.environ.get("BENCH_LOOP") == "uvloop"


class Bullrush(Contender):
    """A queue and workers with every default."""

    label = os.environ.get("BENCH_LABEL", "bullrush")
    version = package_versions("bullrush", "redis", *(["uvloop"] if _ON_UVLOOP else []))
    notes = (
        "Exactly-once add, at-least-once run with leases and ownership checks, events on, "
        "last 1,000 completed kept. Batches form by themselves."
    )

    def __init__(self, case: Case, name: str = "bench") -> None:
        super().__init__(case, name)
        self.queue: bullrush.Queue[Any, Any] = bullrush.Queue(name, case.url)

    async def open(self) -> None:
        await self.queue.ping()

    async def close(self) -> None:
        await self.queue.close()

    async def add(self, data: Data, *, delay: float = 0.0, priority: int = 0) -> None:
        if delay > 0 or priority:
            await self.queue.add("noop", data, delay=max(0, round(delay * 1_000)), priority=priority)
        else:
            await self.queue.add("noop", data)

    async def add_from_tasks(self, tasks: int, each: int) -> None:
        # As a program has it: a coroutine of the suite around each add would be a tenth of what is measured.
        add = self.queue.add

        async def adder(first: int) -> None:
            for i in range(first, first + each):
                await add("noop", payload(i))

        await asyncio.gather(*[adder(n * each) for n in range(tasks)])

    async def add_bulk(self, batch: Sequence[Data], *, priorities: Sequence[int] = ()) -> None:
        if priorities:
            await self.queue.add_bulk(
                [JobSpec("noop", data, priority=n) for data, n in zip(batch, priorities, strict=True)]
            )
        else:
            await self.queue.add_bulk([("noop", data) for data in batch])

    @asynccontextmanager
    async def worker(
        self, work: Work, *, concurrency: int, threads: bool = False, rate: int = 0
    ) -> AsyncIterator[None]:
        if rate:
            await self.queue.set_global_rate_limit(bullrush.RateLimit(rate, "1s"))
        handler = work.function(_data) if threads else work.coroutine(_data)
        async with bullrush.Worker(self.queue, handler, concurrency=concurrency):
            yield

    async def pending(self) -> int:
        counts = await self.queue.get_job_counts("waiting", "prioritized", "delayed", "active", "failed")
        if counts["failed"]:
            raise RuntimeError(f"{counts['failed']} jobs failed")
        return sum(counts.values())

    async def clear(self) -> None:
        await self.queue.obliterate(force=True)

    def stored(self, data: Data) -> int:
        return len(msgpack.packb(data))


def _data(job: bullrush.Job[Any, Any]) -> Data:
    data: Data = job.data
    return data


if __name__ == "__main__":
    main(Bullrush, warm_up_jobs=2_000)
