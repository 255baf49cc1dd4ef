"""What a careful user writes by hand: redis-py pipelines in batches of 1,000 and no scripts.

Keys: `jobs` (hash id -> msgpack), `waiting` (list), `active` (sorted set id -> deadline).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgpack
import redis as redis_py
import redis.asyncio as aioredis

from benchmarks.contenders import harness, pings, second_process
from benchmarks.contenders.harness import Case, Meter, Result, payload

LABEL = "floor (redis-py)"
VERSION = f"redis-py {redis_py.__version__}"
NOTES = (
    "No queue at all, the price of moving the bytes: no retries, events, retention, results, leases "
    "or recovery; a crash between RPOP and ZADD loses up to 1,000 jobs, and a resent add stores jobs twice."
)
POOL = 50
TASKS = 1_000
LEASE_S = 30

Handler = Callable[[Any], Coroutine[Any, Any, None]]
Batch = Callable[[list[bytes]], Awaitable[None]]


class Floor:
    """A queue in three keys on one client."""

    def __init__(self, case: Case) -> None:
        pool = aioredis.BlockingConnectionPool(
            host=case.host, port=case.port, max_connections=POOL, timeout=None
        )
        self.redis: Any = aioredis.Redis(connection_pool=pool)
        self.batch = case.batch
        self._next = 0

    async def reserve(self, count: int) -> None:
        """Take `count` ids, so that they are known before the adds."""
        self._next = int(await self.redis.incrby("last-id", count)) - count

    async def add(self, records: list[dict[str, Any]]) -> None:
        ids = range(self._next, self._next + len(records))
        self._next += len(records)
        packed = {i: msgpack.packb(record) for i, record in zip(ids, records, strict=True)}
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.hset("jobs", mapping=packed)
            pipe.lpush("waiting", *packed)
            await pipe.execute()

    async def fill(self, count: int) -> None:
        await self.reserve(count)
        whole, rest = divmod(count, self.batch)
        chunk = [payload(i) for i in range(self.batch)]
        for _ in range(whole):
            await self.add(chunk)
        if rest:
            await self.add(chunk[:rest])

    async def consume(self, count: int, run: Batch) -> None:
        """Claim, run and settle `count` jobs, in two round trips a batch; sleep in BRPOP when idle."""
        finished: list[bytes] = []
        while count:
            ids = await self._settle_and_pop(finished)
            if not ids:
                finished = []
                _, one = await self.redis.brpop("waiting") or (b"", b"")
                ids = [one]
            await run(await self._claim(ids))
            count -= len(ids)
            finished = ids
        await self._settle_and_pop(finished, want=0)

    async def _settle_and_pop(self, finished: list[bytes], want: int | None = None) -> list[bytes]:
        want = self.batch if want is None else want
        async with self.redis.pipeline(transaction=False) as pipe:
            if finished:
                pipe.zrem("active", *finished)
                pipe.hdel("jobs", *finished)
            if want:
                pipe.rpop("waiting", want)
            return (await pipe.execute())[-1] or []

    async def _claim(self, ids: list[bytes]) -> list[bytes]:
        deadline = int(time.time()) + LEASE_S
        async with self.redis.pipeline(transaction=False) as pipe:
            pipe.zadd("active", dict.fromkeys(ids, deadline))
            pipe.hmget("jobs", ids)
            records: list[bytes] = (await pipe.execute())[1]
            return records


def on_loop(handler: Handler, concurrency: int) -> Batch:
    """Run a batch on the loop, at most `concurrency` handlers at once."""

    async def run(records: list[bytes]) -> None:
        for start in range(0, len(records), concurrency):
            group = [msgpack.unpackb(record) for record in records[start : start + concurrency]]
            if concurrency == 1:
                await handler(group[0])
            else:
                await asyncio.gather(*[asyncio.create_task(handler(data)) for data in group])

    return run


async def noop(_data: Any) -> None:
    return


async def warm_up(case: Case) -> None:
    """Every path once, unmeasured."""
    floor = Floor(case)
    await floor.fill(1_000)
    if case.role == "producer":
        await floor.redis.delete("jobs", "waiting")
    else:
        await floor.consume(1_000, on_loop(noop, 100))


async def add_bulk(case: Case) -> Result:
    callers, meter = [Floor(case) for _ in range(case.concurrency)], Meter(case)
    for floor in callers:
        await floor.redis.ping()
    meter.start()
    await asyncio.gather(*[floor.fill(case.share) for floor in callers])
    meter.stop()
    return meter.result(case.share * case.concurrency)


async def add_concurrent(case: Case) -> Result:
    floor, meter = Floor(case), Meter(case)
    await floor.reserve(case.count)
    each = case.count // TASKS

    async def adder(first: int) -> None:
        for i in range(first, first + each):
            await floor.add([payload(i)])

    meter.start()
    await asyncio.gather(*[adder(n * each) for n in range(TASKS)])
    meter.stop()
    return meter.result(each * TASKS)


async def add_sequential(case: Case) -> Result:
    floor, meter = Floor(case), Meter(case)
    await floor.reserve(case.count)
    return await pings.add_next_to_ping(
        meter, case.count, lambda i: floor.add([payload(i)]), floor.redis.ping
    )


async def process(case: Case) -> Result:
    floor, meter = Floor(case), Meter(case)
    await floor.fill(case.count)
    meter.start()
    await floor.consume(case.count, on_loop(noop, case.concurrency))
    meter.stop()
    return meter.result(case.count)


async def process_threads(case: Case) -> Result:
    floor, meter = Floor(case), Meter(case)
    await floor.fill(case.count)
    loop = asyncio.get_running_loop()

    def work(records: list[bytes]) -> None:
        for record in records:
            msgpack.unpackb(record)

    with ThreadPoolExecutor(case.concurrency) as pool:

        async def run(records: list[bytes]) -> None:
            each = max(1, len(records) // case.concurrency)
            parts = [records[i : i + each] for i in range(0, len(records), each)]
            await asyncio.gather(*[loop.run_in_executor(pool, work, part) for part in parts])

        meter.start()
        await floor.consume(case.count, run)
        meter.stop()
    return meter.result(case.count)


async def produce_and_process(case: Case) -> Result:
    floor, meter, producer = Floor(case), Meter(case), second_process.Producer(case)
    await floor.redis.ping()
    meter.start()
    producer.go()
    await floor.consume(case.count, on_loop(noop, case.concurrency))
    meter.stop()
    return meter.result(case.count, others=[producer.finish()])


async def produce(case: Case) -> None:
    floor = Floor(case)
    await floor.redis.ping()
    await second_process.produce_when_told(lambda: floor.fill(case.count))


async def redis_cpu(case: Case) -> Result:
    floor, adding, processing = Floor(case), Meter(case), Meter(case)
    await floor.redis.ping()
    adding.start()
    await floor.fill(case.count)
    adding.stop()
    processing.start()
    await floor.consume(case.count, on_loop(noop, case.batch))
    processing.stop()
    return harness.redis_cpu_result(case.count, adding, processing)


async def memory(case: Case) -> Result:
    floor, meter = Floor(case), Meter(case)
    await floor.fill(1)
    before = meter.memory()
    await floor.fill(case.count)
    return harness.memory_result(meter, case.count, before, len(msgpack.packb(payload(0))))


async def latency_idle(case: Case) -> Result:
    floor, meter, producer = Floor(case), Meter(case), second_process.Producer(case)
    watch = second_process.Stopwatch(case.count)

    async def handler(data: Any) -> None:
        watch.arrived(data["sent"])

    meter.start()
    producer.go()
    await floor.consume(case.count + second_process.WARM_UP_ADDS, on_loop(handler, 1))
    meter.stop()
    return meter.result(case.count, watch.percentiles(), others=[producer.finish()])


async def produce_spaced(case: Case) -> None:
    floor = Floor(case)
    await floor.reserve(case.count)
    await second_process.produce_when_told(
        lambda: second_process.spaced(case.count, lambda now: floor.add([{"sent": now}]))
    )


if __name__ == "__main__":
    harness.main(
        LABEL,
        VERSION,
        NOTES,
        {
            "add_bulk": add_bulk,
            "add_concurrent": add_concurrent,
            "add_sequential": add_sequential,
            "process": process,
            "process_threads": process_threads,
            "produce_and_process": produce_and_process,
            "redis_cpu": redis_cpu,
            "memory": memory,
            "latency_idle": latency_idle,
        },
        {"produce_and_process": produce, "latency_idle": produce_spaced},
        warm_up,
    )
