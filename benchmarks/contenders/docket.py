"""docket (the package pydocket)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import cloudpickle
from docket import Docket as Library
from docket import RateLimit, Worker
from docket.execution import Disposition

from benchmarks.harness.case import Case
from benchmarks.harness.contender import Contender
from benchmarks.harness.entry import main, package_versions
from benchmarks.harness.failures import LoggedErrors
from benchmarks.harness.work import Data, Work

# A worker whose slots are all taken looks again only after this time; the default allows 40 jobs a second at 10.
# Less is not possible: its blocking reads count in whole milliseconds, and 0 is for ever.
CHECK_INTERVAL = timedelta(milliseconds=1)
DUE_INTERVAL = timedelta(milliseconds=10)


class Docket(Contender):
    label = "docket"
    version = package_versions("pydocket", "redis", "hiredis")
    notes = (
        "At-least-once, unique keys, in its fire-and-forget mode: no state or results kept (execution_ttl=0). It looks "
        "for work every 1 ms and for due jobs every 10 ms instead of 250, which an idle worker pays for. No priorities "
        "and no def handlers; a job of a killed worker runs again after 5 minutes by default: too long to time here."
    )
    absent = frozenset({"priorities", "process_threads", "recovery"})

    def __init__(self, case: Case, name: str = "bench") -> None:
        super().__init__(case, name)
        # Its documentation wants at least as many connections as jobs at once; there may be 1,000 callers.
        url = f"{case.url}?max_connections={max(1_000, case.concurrency) + 100}"
        self.library = Library(name=name, url=url, execution_ttl=timedelta(0))
        self.library.register(_no_handler, names=["noop"])
        self.errors = LoggedErrors("docket")
        self._opened = AsyncExitStack()

    async def open(self) -> None:
        await self._opened.enter_async_context(self.library)
        await self.pending()

    async def close(self) -> None:
        await self._opened.aclose()
        self.errors.close()

    async def add(self, data: Data, *, delay: float = 0.0, priority: int = 0) -> None:
        when = datetime.now(UTC) + timedelta(seconds=delay) if delay > 0 else None
        await self.library.add("noop", when=when)(data)

    async def add_bulk(self, batch: Sequence[Data], *, priorities: Sequence[int] = ()) -> None:
        added = await self.library.add_many([self.library.call("noop")(data) for data in batch])
        if any(job.disposition is not Disposition.SCHEDULED for job in added):
            raise RuntimeError("add_many left out some of the jobs")

    @asynccontextmanager
    async def worker(
        self, work: Work, *, concurrency: int, threads: bool = False, rate: int = 0
    ) -> AsyncIterator[None]:
        handler = work.coroutine(_data)
        self.library.register(_limited(handler, rate) if rate else handler, names=["noop"])
        async with Worker(
            self.library,
            concurrency=concurrency,
            minimum_check_interval=CHECK_INTERVAL,
            scheduling_resolution=DUE_INTERVAL,
        ) as worker:
            running = asyncio.ensure_future(worker.run_forever())
            yield
        await running

    async def pending(self) -> int:
        self.errors.check()
        # A job leaves the stream when it has ended, not when a worker takes it.
        async with self.library.redis() as redis, redis.pipeline() as pipeline:
            pipeline.xlen(self.library.stream_key)
            pipeline.zcard(self.library.queue_key)
            return sum(await pipeline.execute())

    async def clear(self) -> None:
        await self.library.clear()

    def stored(self, data: Data) -> int:
        return len(cloudpickle.dumps(data))


def _limited(handler: Callable[..., Awaitable[None]], rate: int) -> Callable[..., Awaitable[None]]:
    limit: Any = RateLimit(rate, per=timedelta(seconds=1))

    async def limited(data: Data, limit: RateLimit = limit) -> None:
        await handler(data)

    return limited


def _data(data: Data) -> Data:
    return data


async def _no_handler(data: Data) -> None:
    raise RuntimeError("a job arrived before the worker had a handler")


if __name__ == "__main__":
    main(Docket, warm_up_jobs=200)
