"""streaQ."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from streaq import Worker

from benchmarks.harness.case import Case
from benchmarks.harness.contender import Contender
from benchmarks.harness.entry import main, package_versions
from benchmarks.harness.work import Data, Work

PRIORITIES = 10


class Streaq(Contender):
    label = "streaQ"
    version = package_versions("streaq", "coredis")
    notes = (
        "At-least-once, results not kept (ttl=0), no log lines for jobs (silent), jobs prefetched as by default. A job "
        "of a killed worker is taken over after a minute by default. Due jobs are looked for every half second; ten "
        "priorities are ten streams, used only in that scenario. No rate limit."
    )
    absent = frozenset({"rate_limit"})

    def __init__(self, case: Case, name: str = "bench") -> None:
        super().__init__(case, name)
        self.client = self._worker(_no_handler, case.concurrency)
        self.noop: Any = self.client.registry["noop"]
        self.running: Worker[Any] | None = None
        self._opened = AsyncExitStack()

    def _worker(self, handler: Callable[..., Any], concurrency: int) -> Worker[Any]:
        worker: Worker[Any] = Worker(
            self.case.url, concurrency=concurrency, queue_name=self.name, priorities=self._priorities()
        )
        worker.task(handler, name="noop", ttl=0, silent=True)
        return worker

    def _priorities(self) -> list[str]:
        """From the last to the first; each is one more stream to read."""
        if self.case.scenario != "priorities":
            return ["normal"]
        return [str(level) for level in range(PRIORITIES, 0, -1)]

    async def open(self) -> None:
        await self._opened.enter_async_context(self.client)
        await self.pending()

    async def close(self) -> None:
        await self._opened.aclose()

    async def add(self, data: Data, *, delay: float = 0.0, priority: int = 0) -> None:
        await self._task(data, delay, priority)

    async def add_bulk(self, batch: Sequence[Data], *, priorities: Sequence[int] = ()) -> None:
        levels = priorities or [0] * len(batch)
        await self.client.enqueue_many(
            [self._task(data, 0.0, level) for data, level in zip(batch, levels, strict=True)]
        )

    def _task(self, data: Data, delay: float, priority: int) -> Any:
        task = self.noop.enqueue(data)
        if delay > 0:
            task.start(delay=delay)
        elif priority:
            task.start(priority=str(priority))
        return task

    @asynccontextmanager
    async def worker(
        self, work: Work, *, concurrency: int, threads: bool = False, rate: int = 0
    ) -> AsyncIterator[None]:
        handler = work.function(_data) if threads else work.coroutine(_data)
        self.running = self._worker(handler, concurrency)
        task = asyncio.ensure_future(self.running.run_async())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def pending(self) -> int:
        # A job leaves its stream when it has ended, not when a worker takes it.
        if self.running is not None and self.running.counters["failed"]:
            raise RuntimeError(f"{self.running.counters['failed']} jobs failed")
        return int(await self.client.queue_size())

    def stored(self, data: Data) -> int:
        return len(pickle.dumps(data))


def _data(data: Data) -> Data:
    return data


async def _no_handler(data: Data) -> None:
    raise RuntimeError("a job arrived before the worker had a handler")


if __name__ == "__main__":
    main(Streaq, warm_up_jobs=200)
