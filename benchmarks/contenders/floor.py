"""What a careful user writes by hand: redis-py pipelines in batches of 1,000 and no scripts.

Keys, each behind the name of the queue: `jobs` (hash id -> msgpack), `waiting` (list of ids), `active` (sorted set id ->
deadline).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgpack
import redis.asyncio as aioredis

from benchmarks.harness.case import Case
from benchmarks.harness.contender import Contender
from benchmarks.harness.entry import main, package_versions
from benchmarks.harness.work import Data, Work

POOL = 50
LEASE_S = 30

Group = Callable[[list[Data]], Awaitable[object]]


class Floor(Contender):
    label = "floor (redis-py)"
    version = package_versions("redis", "hiredis", "msgpack")
    notes = (
        "No queue at all, the price of moving the bytes: no retries, events, retention, results, leases or recovery; "
        "a crash between RPOP and ZADD loses up to 1,000 jobs, and a resent add stores jobs twice. "
        "Bulk adds, claims and settlements go in batches of 1,000; a single add goes alone."
    )
    absent = frozenset({"priorities", "delayed", "rate_limit", "recovery", "growth"})

    def __init__(self, case: Case, name: str = "bench") -> None:
        super().__init__(case, name)
        # No socket_timeout: redis-py's own of 5 s would end a BRPOP that waits for longer.
        pool = aioredis.BlockingConnectionPool(
            host=case.host, port=case.port, max_connections=POOL, timeout=None, socket_timeout=None
        )
        self.redis: Any = aioredis.Redis(connection_pool=pool)
        self.jobs, self.waiting, self.active = (f"{name}:{key}" for key in ("jobs", "waiting", "active"))
        # Ids of one process, without a round trip: what it counts behind what no other process has.
        self._maker, self._next = os.urandom(4).hex(), 0
        self._consumer: asyncio.Future[None] | None = None

    async def open(self) -> None:
        await self.redis.ping()

    async def close(self) -> None:
        await self.redis.aclose(close_connection_pool=True)

    async def add(self, data: Data, *, delay: float = 0.0, priority: int = 0) -> None:
        await self.add_bulk([data])

    async def add_bulk(self, batch: Sequence[Data], *, priorities: Sequence[int] = ()) -> None:
        first, self._next = self._next, self._next + len(batch)
        packed = {f"{self._maker}{n}": msgpack.packb(data) for n, data in enumerate(batch, first)}
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.hset(self.jobs, mapping=packed)
            pipe.lpush(self.waiting, *packed)
            await pipe.execute()

    @asynccontextmanager
    async def worker(
        self, work: Work, *, concurrency: int, threads: bool = False, rate: int = 0
    ) -> AsyncIterator[None]:
        with ThreadPoolExecutor(concurrency) as pool:
            run = _in_threads(work, pool, concurrency) if threads else _on_loop(work, concurrency)
            self._consumer = consumer = asyncio.ensure_future(self._consume(run))
            # It ends by itself only with an error: let who waits look at `pending`, which raises it.
            consumer.add_done_callback(lambda _: work.done.set())
            try:
                yield
            finally:
                consumer.cancel()
                with suppress(asyncio.CancelledError):
                    await consumer
                self._consumer = None

    async def pending(self) -> int:
        if self._consumer is not None and self._consumer.done():
            self._consumer.result()
        # A job is in the hash from its add until it is settled, also between RPOP and ZADD.
        return int(await self.redis.hlen(self.jobs))

    async def clear(self) -> None:
        await self.redis.delete(self.jobs, self.waiting, self.active)

    def stored(self, data: Data) -> int:
        return len(msgpack.packb(data))

    async def _consume(self, run: Group) -> None:
        """Claim, run and settle in two round trips a batch; sleep in BRPOP when idle."""
        finished: list[bytes] = []
        while True:
            ids = await self._settle_and_pop(finished)
            if not ids:
                _, one = await self.redis.brpop(self.waiting)
                ids = [one]
            await run([msgpack.unpackb(record) for record in await self._claim(ids)])
            finished = ids

    async def _settle_and_pop(self, finished: list[bytes]) -> list[bytes]:
        async with self.redis.pipeline(transaction=False) as pipe:
            if finished:
                pipe.zrem(self.active, *finished)
                pipe.hdel(self.jobs, *finished)
            pipe.rpop(self.waiting, self.case.batch)
            return (await pipe.execute())[-1] or []

    async def _claim(self, ids: list[bytes]) -> list[bytes]:
        deadline = int(time.time()) + LEASE_S
        async with self.redis.pipeline(transaction=False) as pipe:
            pipe.zadd(self.active, dict.fromkeys(ids, deadline))
            pipe.hmget(self.jobs, ids)
            records: list[bytes] = (await pipe.execute())[1]
            return records


def _on_loop(work: Work, concurrency: int) -> Group:
    """Run a batch on the loop, at most `concurrency` handlers at once."""
    handler: Any = work.coroutine(_data)

    async def run(batch: list[Data]) -> None:
        if concurrency == 1 or len(batch) == 1:
            for data in batch:
                await handler(data)
            return
        for start in range(0, len(batch), concurrency):
            await asyncio.gather(*[handler(data) for data in batch[start : start + concurrency]])

    return run


def _in_threads(work: Work, pool: ThreadPoolExecutor, concurrency: int) -> Group:
    """Give each thread its share of a batch."""
    handler, loop = work.function(_data), asyncio.get_running_loop()

    def run_share(share: list[Data]) -> None:
        for data in share:
            handler(data)

    async def run(batch: list[Data]) -> None:
        each = -(-len(batch) // concurrency)
        shares = [batch[start : start + each] for start in range(0, len(batch), each)]
        await asyncio.gather(*[loop.run_in_executor(pool, run_share, share) for share in shares])

    return run


def _data(data: Data) -> Data:
    return data


if __name__ == "__main__":
    main(Floor, warm_up_jobs=2_000)
