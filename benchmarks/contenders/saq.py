"""SAQ on Redis."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from saq import Queue, Worker

from benchmarks.harness.case import Case
from benchmarks.harness.contender import Contender
from benchmarks.harness.entry import main, package_versions
from benchmarks.harness.work import Data, Work

# It warns about each stop of a worker that waits for jobs.
logging.getLogger("saq").setLevel(logging.ERROR)
NOT_KEPT = -1


class Saq(Contender):
    label = "SAQ"
    version = package_versions("saq", "redis", "hiredis")
    notes = (
        "Jobs are moved to an active list, and not kept once finished (ttl=-1). "
        "By default (one attempt) a job of a killed worker is found within about a minute but lost: it is aborted. "
        "Delays are whole seconds, looked at once a second; def handlers share a pool of its own, four threads more than "
        "there are CPUs. No priorities or rate limit on Redis, no bulk call."
    )
    absent = frozenset({"priorities", "rate_limit", "recovery"})

    def __init__(self, case: Case, name: str = "bench") -> None:
        super().__init__(case, name)
        self.queue: Any = Queue.from_url(case.url, name=name)

    async def open(self) -> None:
        await self.queue.connect()
        await self.queue.count("incomplete")

    async def close(self) -> None:
        await self.queue.disconnect()

    async def add(self, data: Data, *, delay: float = 0.0, priority: int = 0) -> None:
        if delay > 0:
            # Rounded up: a job must not start before it is due.
            due = math.ceil(time.time() + delay)
            await self.queue.enqueue("noop", data=data, ttl=NOT_KEPT, scheduled=due)
        else:
            await self.queue.enqueue("noop", data=data, ttl=NOT_KEPT)

    async def add_bulk(self, batch: Sequence[Data], *, priorities: Sequence[int] = ()) -> None:
        # The queue itself sends no more than 20 at once.
        await asyncio.gather(*[self.add(data) for data in batch])

    @asynccontextmanager
    async def worker(
        self, work: Work, *, concurrency: int, threads: bool = False, rate: int = 0
    ) -> AsyncIterator[None]:
        handler = work.function(_data) if threads else work.coroutine(_data)
        worker: Any = Worker(self.queue, [("noop", handler)], concurrency=concurrency)
        running = asyncio.ensure_future(worker.start())
        try:
            yield
        finally:
            worker.event.set()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    async def pending(self) -> int:
        if lost := self.queue.failed + self.queue.aborted:
            raise RuntimeError(f"{lost} jobs failed or were aborted")
        return int(await self.queue.count("incomplete"))


def _data(_ctx: object, *, data: Data) -> Data:
    return data


if __name__ == "__main__":
    main(Saq, warm_up_jobs=200)
