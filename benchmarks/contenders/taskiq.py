"""taskiq on the stream broker of taskiq-redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import redis.asyncio as redis
from taskiq import TaskiqScheduler
from taskiq.api import run_scheduler_task
from taskiq.kicker import AsyncKicker
from taskiq.receiver import Receiver
from taskiq_redis import ListRedisScheduleSource, RedisStreamBroker

from benchmarks.harness.case import Case
from benchmarks.harness.contender import Contender
from benchmarks.harness.entry import main, package_versions
from benchmarks.harness.failures import LoggedErrors
from benchmarks.harness.work import Data, Work

CONNECTIONS = 100
# No more often than its loop looks at what it has: once a second.
SCHEDULES_READ = timedelta(seconds=1)


class Taskiq(Contender):
    label = "taskiq"
    version = package_versions("taskiq", "taskiq-redis", "redis", "hiredis", "uvloop")
    notes = (
        "RedisStreamBroker: at-least-once with acks, no result backend, arguments not parsed; on uvloop, which its worker "
        "takes if it is there. Finished jobs stay in the stream, and a resent add stores twice. Delayed jobs go through "
        "its scheduler, which looks once a second and runs beside the worker here. No bulk call, priorities or rate "
        "limit; a job of a killed worker returns after 10 minutes by default: too long to time here."
    )
    absent = frozenset({"priorities", "rate_limit", "recovery"})

    def __init__(self, case: Case, name: str = "bench") -> None:
        super().__init__(case, name)
        self.broker = RedisStreamBroker(
            case.url, queue_name=name, consumer_group_name=name, max_connection_pool_size=CONNECTIONS
        )
        self.errors = LoggedErrors("taskiq")
        self.source = ListRedisScheduleSource(case.url, prefix=f"{name}-schedule")
        self.noop: AsyncKicker[..., None] = AsyncKicker("noop", self.broker, {})
        self.client: Any = redis.Redis(host=case.host, port=case.port, decode_responses=True)

    async def open(self) -> None:
        await self.broker.startup()
        await self.pending()

    async def close(self) -> None:
        await self.broker.shutdown()
        await self.client.aclose()
        self.errors.close()

    async def add(self, data: Data, *, delay: float = 0.0, priority: int = 0) -> None:
        if delay > 0:
            due = datetime.now(UTC) + timedelta(seconds=delay)
            await self.noop.schedule_by_time(self.source, due, data)
        else:
            await self.noop.kiq(data)

    async def add_bulk(self, batch: Sequence[Data], *, priorities: Sequence[int] = ()) -> None:
        for first in range(0, len(batch), CONNECTIONS):
            await asyncio.gather(*[self.add(data) for data in batch[first : first + CONNECTIONS]])

    @asynccontextmanager
    async def worker(
        self, work: Work, *, concurrency: int, threads: bool = False, rate: int = 0
    ) -> AsyncIterator[None]:
        handler = work.function(_data) if threads else work.coroutine(_data)
        self.broker.register_task(handler, task_name="noop")
        with ThreadPoolExecutor(concurrency) as pool:
            receiver = Receiver(
                self.broker,
                executor=pool,
                validate_params=False,
                max_async_tasks=concurrency,
                max_prefetch=concurrency,
                run_startup=False,
            )
            ending = asyncio.Event()
            listening = asyncio.ensure_future(receiver.listen(ending))
            async with self._scheduler():
                yield
            # A stop that meets it between two reads is lost, and it would listen on until the connection closes.
            await asyncio.sleep(0.1)
            ending.set()
            await asyncio.wait({listening}, timeout=1)

    @asynccontextmanager
    async def _scheduler(self) -> AsyncIterator[None]:
        """Its scheduler is a program of its own; only delayed jobs need it."""
        if self.case.scenario != "delayed":
            yield
            return
        scheduler = TaskiqScheduler(self.broker, [self.source])
        running = asyncio.ensure_future(run_scheduler_task(scheduler, interval=SCHEDULES_READ))
        try:
            yield
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    async def pending(self) -> int:
        self.errors.check()
        # What is scheduled is not counted: those jobs have been sent once their handlers have run.
        (group,) = await self.client.xinfo_groups(self.name)
        if group["lag"] is None:
            raise RuntimeError("the server does not know how many entries of the stream are unread")
        return int(group["lag"]) + int(group["pending"])


def _data(data: Data) -> Data:
    return data


if __name__ == "__main__":
    main(Taskiq, warm_up_jobs=200)
