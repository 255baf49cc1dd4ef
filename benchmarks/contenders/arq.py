"""arq."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.worker import Worker, func

from benchmarks.harness.case import Case
from benchmarks.harness.contender import Contender
from benchmarks.harness.entry import main, package_versions
from benchmarks.harness.work import Data, Work

# A poll starts no more than `max_jobs` jobs, so the default of half a second would allow 20 a second at 10.
POLL_DELAY_S = 0.001


class Arq(Contender):
    label = "arq"
    version = package_versions("arq", "redis", "hiredis")
    notes = (
        "At-least-once; results not kept, polled every 1 ms instead of 500, which an idle worker pays for. "
        "A job of a killed worker runs again when its mark expires, after 310 s by default: too long to time here. "
        "No bulk call, priorities or rate limit; def handlers go to an executor, as its documentation shows."
    )
    absent = frozenset({"priorities", "rate_limit", "recovery"})

    def __init__(self, case: Case, name: str = "bench") -> None:
        super().__init__(case, name)
        self.settings = RedisSettings(host=case.host, port=case.port)
        self.pool: ArqRedis
        self.running: Worker | None = None

    async def open(self) -> None:
        self.pool = await create_pool(self.settings, default_queue_name=self.name)

    async def close(self) -> None:
        await self.pool.aclose(close_connection_pool=True)

    async def add(self, data: Data, *, delay: float = 0.0, priority: int = 0) -> None:
        if delay > 0:
            await self.pool.enqueue_job("noop", data, _defer_by=delay)
        else:
            await self.pool.enqueue_job("noop", data)

    async def add_bulk(self, batch: Sequence[Data], *, priorities: Sequence[int] = ()) -> None:
        # At most 100 at once: each takes a connection.
        for first in range(0, len(batch), 100):
            await asyncio.gather(*[self.add(data) for data in batch[first : first + 100]])

    @asynccontextmanager
    async def worker(
        self, work: Work, *, concurrency: int, threads: bool = False, rate: int = 0
    ) -> AsyncIterator[None]:
        in_thread = work.function(_data)
        loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(concurrency)

        async def handler(ctx: dict[Any, Any], data: Data) -> None:
            await loop.run_in_executor(pool, in_thread, ctx, data)

        self.running = Worker(
            [func(handler if threads else work.coroutine(_data), name="noop", keep_result=0)],
            queue_name=self.name,
            redis_settings=self.settings,
            handle_signals=False,
            max_jobs=concurrency,
            poll_delay=POLL_DELAY_S,
            keep_result=0,
        )
        task = asyncio.ensure_future(self.running.async_run())
        try:
            yield
        finally:
            await self.running.close()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            pool.shutdown()

    async def pending(self) -> int:
        if self.running is not None and self.running.jobs_failed:
            raise RuntimeError(f"{self.running.jobs_failed} jobs failed")
        return int(await self.pool.zcard(self.name))

    def stored(self, data: Data) -> int:
        return len(pickle.dumps(data))


def _data(_ctx: object, data: Data) -> Data:
    return data


if __name__ == "__main__":
    main(Arq, warm_up_jobs=200)
