"""bullrush, on asyncio or, with BENCH_LOOP=uvloop, on uvloop."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from typing import Any

import msgpack

import bullrush
from benchmarks.contenders import harness, pings, second_process
from benchmarks.contenders.harness import Case, Countdown, Meter, Result, payload

_ON_UVLOOP = os.environ.get("BENCH_LOOP") == "uvloop"
LABEL = "bullrush on uvloop" if _ON_UVLOOP else "bullrush"
VERSION = f"bullrush {harness.package_version('bullrush')}"
NOTES = (
    "Exactly-once add, at-least-once run with leases and ownership checks, events on, "
    "last 1,000 completed kept. Batches form by themselves."
)
TASKS = 1_000
WARM_UP_JOBS = 2_000

Queue = bullrush.Queue[Any, Any]
Job = bullrush.Job[Any, Any]


def noop(countdown: Countdown) -> Callable[[Job], Awaitable[None]]:
    """A handler that does nothing but count itself."""

    async def handler(_job: Job) -> None:
        countdown.hit()

    return handler


async def open_queue(case: Case, name: str = "bench") -> Queue:
    """A queue that is connected: what follows is not start-up."""
    queue: Queue = bullrush.Queue(name, case.url)
    await queue.ping()
    return queue


async def warm_up(case: Case) -> None:
    """Every path once on another queue, unmeasured: imports, scripts, first ids."""
    async with await open_queue(case, "warm-up") as queue:
        await fill(queue, WARM_UP_JOBS, 1_000)
        await queue.add("noop", payload(0))
        if case.role != "producer":
            await process_all(queue, WARM_UP_JOBS + 1, Meter(case), concurrency=100)
        await queue.obliterate(force=True)


async def fill(queue: Queue, count: int, batch: int) -> None:
    chunk = [("noop", payload(i)) for i in range(batch)]
    for left in range(count, 0, -batch):
        await queue.add_bulk(chunk[:left])


async def settled(queue: Queue) -> bool:
    counts = await queue.get_job_counts("waiting", "active", "failed")
    if counts["failed"]:
        raise RuntimeError(f"{counts['failed']} jobs failed")
    return not counts["waiting"] and not counts["active"]


async def process_all(
    queue: Queue, count: int, meter: Meter, *, concurrency: int, begin: Callable[[], None] = lambda: None
) -> None:
    """Run a worker until `count` jobs are settled, with the meter on from before it connects."""
    countdown = Countdown(count)
    worker = bullrush.Worker(queue, noop(countdown), concurrency=concurrency)
    meter.start()
    async with worker:
        begin()
        await countdown.finished(lambda: settled(queue))
        meter.stop()


async def add_bulk(case: Case) -> Result:
    async with await open_queue(case) as queue:
        meter = Meter(case)
        meter.start()
        await asyncio.gather(*[fill(queue, case.share, case.batch) for _ in range(case.concurrency)])
        meter.stop()
    return meter.result(case.share * case.concurrency)


async def add_concurrent(case: Case) -> Result:
    async with await open_queue(case) as queue:
        each = case.count // TASKS

        async def adder(first: int) -> None:
            for i in range(first, first + each):
                await queue.add("noop", payload(i))

        meter = Meter(case)
        meter.start()
        await asyncio.gather(*[adder(n * each) for n in range(TASKS)])
        meter.stop()
    return meter.result(each * TASKS)


async def add_sequential(case: Case) -> Result:
    async with await open_queue(case) as queue, pings.bare_ping(case) as ping:
        return await pings.add_next_to_ping(
            Meter(case), case.count, lambda i: queue.add("noop", payload(i)), ping
        )


async def process(case: Case) -> Result:
    meter = Meter(case)
    async with await open_queue(case) as queue:
        await fill(queue, case.count, 1_000)
        await process_all(queue, case.count, meter, concurrency=case.concurrency)
    return meter.result(case.count)


async def process_threads(case: Case) -> Result:
    meter, loop, done = Meter(case), asyncio.get_running_loop(), asyncio.Event()
    # next() of a count is one step under the GIL: no lock in the handler.
    numbers = itertools.count(1)

    def handler(_job: bullrush.sync.Job[Any, Any]) -> None:
        if next(numbers) == case.count:
            loop.call_soon_threadsafe(done.set)

    async with await open_queue(case) as queue:
        await fill(queue, case.count, 1_000)
        worker = bullrush.Worker(queue, handler, concurrency=case.concurrency)
        meter.start()
        async with worker:
            await done.wait()
            await harness.until(lambda: settled(queue))
            meter.stop()
    return meter.result(case.count)


async def produce_and_process(case: Case) -> Result:
    meter, producer = Meter(case), second_process.Producer(case)
    async with await open_queue(case) as queue:
        await process_all(queue, case.count, meter, concurrency=case.concurrency, begin=producer.go)
    return meter.result(case.count, others=[producer.finish()])


async def produce(case: Case) -> None:
    async with await open_queue(case) as queue:
        await second_process.produce_when_told(lambda: fill(queue, case.count, case.batch))


async def redis_cpu(case: Case) -> Result:
    adding, processing = Meter(case), Meter(case)
    async with await open_queue(case) as queue:
        adding.start()
        await fill(queue, case.count, case.batch)
        adding.stop()
        await process_all(queue, case.count, processing, concurrency=case.batch)
    return harness.redis_cpu_result(case.count, adding, processing)


async def memory(case: Case) -> Result:
    meter = Meter(case)
    async with await open_queue(case) as queue:
        await fill(queue, 1, 1)
        before = meter.memory()
        await fill(queue, case.count, 1_000)
        return harness.memory_result(meter, case.count, before, len(msgpack.packb(payload(0))))


async def latency_idle(case: Case) -> Result:
    meter, producer = Meter(case), second_process.Producer(case)
    watch = second_process.Stopwatch(case.count)

    async def handler(job: Job) -> None:
        watch.arrived(job.data["sent"])

    async with await open_queue(case) as queue:
        meter.start()
        async with bullrush.Worker(queue, handler):
            producer.go()
            await watch.done.wait()
            meter.stop()
    return meter.result(case.count, watch.percentiles(), others=[producer.finish()])


async def produce_spaced(case: Case) -> None:
    async with await open_queue(case) as queue:
        await second_process.produce_when_told(
            lambda: second_process.spaced(case.count, lambda now: queue.add("noop", {"sent": now}))
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
