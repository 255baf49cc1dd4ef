"""The official Python port of BullMQ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio as redis
from bullmq import Queue, Worker

from benchmarks.harness.case import Case
from benchmarks.harness.contender import Contender
from benchmarks.harness.entry import main, package_versions
from benchmarks.harness.work import Data, Work

# Given to the worker, not to every job: that keeps BullMQ's records small.
KEEP = {"removeOnComplete": {"count": 1_000}, "removeOnFail": {"count": 10_000}}
CONNECTIONS = 20
# Where jobs come one by one, an idle worker asks for more with all connections at once, and a job waits behind that.
ONE_BY_ONE = frozenset({"latency", "delayed", "rate_limit", "redis_cpu_paced", "worker_idle", "recovery"})


class BullmqPypi(Contender):
    label = "BullMQ for Python"
    version = package_versions("bullmq", "redis", "hiredis")
    notes = (
        "At-least-once with locks, events on, removeOnComplete 1000; a resent add stores the job twice. "
        "Three script calls per job, through a client with 20 connections under full load: its own has one. "
        "Handlers must be async: threads are run_in_executor in the handler."
    )

    def __init__(self, case: Case, name: str = "bench") -> None:
        super().__init__(case, name)
        self.queue: Any = Queue(name, {"connection": self._connection()})

    def _connection(self) -> Any:
        """What it calls a ready client. Its own has one connection, for whose lock calls at once would queue."""
        alone = self.case.concurrency == 1 and self.case.scenario != "add_concurrent"
        if alone or self.case.scenario in ONE_BY_ONE:
            return self.case.url
        # No limit to a read: the worker waits in one for longer than redis-py's default.
        pool = redis.BlockingConnectionPool.from_url(
            self.case.url,
            max_connections=CONNECTIONS,
            timeout=None,
            socket_timeout=None,
            decode_responses=True,
        )
        return redis.Redis.from_pool(pool)

    async def open(self) -> None:
        await self.queue.getJobCounts("wait")

    async def close(self) -> None:
        await self.queue.close()

    async def add(self, data: Data, *, delay: float = 0.0, priority: int = 0) -> None:
        options: dict[str, int] = {}
        if delay > 0:
            options["delay"] = round(delay * 1_000)
        if priority:
            options["priority"] = priority
        await self.queue.add("noop", data, options)

    async def add_bulk(self, batch: Sequence[Data], *, priorities: Sequence[int] = ()) -> None:
        if priorities:
            jobs = [
                {"name": "noop", "data": data, "opts": {"priority": priority}}
                for data, priority in zip(batch, priorities, strict=True)
            ]
        else:
            jobs = [{"name": "noop", "data": data} for data in batch]
        await self.queue.addBulk(jobs)

    @asynccontextmanager
    async def worker(
        self, work: Work, *, concurrency: int, threads: bool = False, rate: int = 0
    ) -> AsyncIterator[None]:
        options: dict[str, Any] = {
            "connection": self._connection(),
            "concurrency": concurrency,
            "autorun": False,
        }
        if rate:
            options["limiter"] = {"max": rate, "duration": 1_000}
        in_thread, on_loop = work.function(_data), work.coroutine(_data)
        loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(concurrency)

        async def handler(job: Any, _token: str) -> None:
            await (loop.run_in_executor(pool, in_thread, job) if threads else on_loop(job))

        worker = Worker(self.name, handler, {**options, **KEEP})
        running = asyncio.ensure_future(worker.run())
        try:
            yield
        finally:
            await worker.close(force=True)
            running.cancel()
            pool.shutdown()

    async def pending(self) -> int:
        counts = await self.queue.getJobCounts("wait", "prioritized", "delayed", "active", "failed")
        if counts["failed"]:
            raise RuntimeError(f"{counts['failed']} jobs failed")
        return int(sum(counts.values()))

    async def clear(self) -> None:
        await self.queue.obliterate(force=True)


def _data(job: Any) -> Data:
    data: Data = job.data
    return data


if __name__ == "__main__":
    main(BullmqPypi, warm_up_jobs=300)
