"""The official Python port of BullMQ, in an environment of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from bullmq import Queue, Worker

from benchmarks.contenders import harness, pings, second_process
from benchmarks.contenders.harness import Case, Countdown, Meter, Result, payload

LABEL = "BullMQ for Python"
VERSION = f"bullmq {version('bullmq')}, redis-py {version('redis')}, hiredis {version('hiredis')}"
NOTES = (
    "At-least-once with locks, events on, removeOnComplete 1000; a resent add stores the job twice. "
    "Three script calls per job. Handlers must be async: threads are asyncio.to_thread in the handler."
)
NAME = "bench"
TASKS = 1_000
WARM_UP_JOBS = 500
# Given to the worker, not to every job: that keeps BullMQ's records small.
KEEP = {"removeOnComplete": {"count": 1_000}, "removeOnFail": {"count": 10_000}}

Handler = Callable[[Any, str], Awaitable[None]]


def open_queue(case: Case, name: str = NAME) -> Any:
    return Queue(name, {"connection": case.url})


async def fill(queue: Any, count: int, batch: int) -> None:
    chunk = [{"name": "noop", "data": payload(i)} for i in range(batch)]
    for left in range(count, 0, -batch):
        await queue.addBulk(chunk[:left])


async def consume(
    case: Case,
    count: int,
    concurrency: int,
    handler: Handler,
    meter: Meter,
    begin: Any = None,
    name: str = NAME,
) -> None:
    """Run a worker until `count` jobs are settled, with the meter on from before its first fetch."""
    countdown = Countdown(count)
    options = {"connection": case.url, "concurrency": concurrency, "autorun": False, **KEEP}
    worker = Worker(name, handler, options)
    worker.on("completed", lambda _job, _result: countdown.hit())
    meter.start()
    running = asyncio.ensure_future(worker.run())
    if begin is not None:
        begin()
    await countdown.done.wait()
    meter.stop()
    await worker.close(force=True)
    running.cancel()


async def noop(_job: Any, _token: str) -> None:
    return


async def warm_up(case: Case) -> None:
    """Every path once on another queue, unmeasured."""
    queue = open_queue(case, "warm-up")
    await fill(queue, WARM_UP_JOBS, 1_000)
    await queue.add("noop", payload(0))
    if case.role != "producer":
        await consume(case, WARM_UP_JOBS + 1, 10, noop, Meter(case), name="warm-up")
    await queue.obliterate(force=True)


async def add_bulk(case: Case) -> Result:
    queue, meter = open_queue(case), Meter(case)
    await queue.getJobCounts("wait")
    meter.start()
    await asyncio.gather(*[fill(queue, case.share, case.batch) for _ in range(case.concurrency)])
    meter.stop()
    return meter.result(case.share * case.concurrency)


async def add_concurrent(case: Case) -> Result:
    queue, meter = open_queue(case), Meter(case)
    await queue.getJobCounts("wait")
    each = case.count // TASKS

    async def adder(first: int) -> None:
        for i in range(first, first + each):
            await queue.add("noop", payload(i))

    meter.start()
    await asyncio.gather(*[adder(n * each) for n in range(TASKS)])
    meter.stop()
    return meter.result(each * TASKS)


async def add_sequential(case: Case) -> Result:
    queue, meter = open_queue(case), Meter(case)
    return await pings.add_next_to_ping(
        meter, case.count, lambda i: queue.add("noop", payload(i)), queue.client.ping
    )


async def process(case: Case) -> Result:
    meter = Meter(case)
    await fill(open_queue(case), case.count, 1_000)
    await consume(case, case.count, case.concurrency, noop, meter)
    return meter.result(case.count)


async def process_threads(case: Case) -> Result:
    meter = Meter(case)
    await fill(open_queue(case), case.count, 1_000)

    async def in_thread(_job: Any, _token: str) -> None:
        await asyncio.to_thread(lambda: None)

    await consume(case, case.count, case.concurrency, in_thread, meter)
    return meter.result(case.count)


async def produce_and_process(case: Case) -> Result:
    meter, producer = Meter(case), second_process.Producer(case)
    await consume(case, case.count, case.concurrency, noop, meter, producer.go)
    return meter.result(case.count, others=[producer.finish()])


async def produce(case: Case) -> None:
    queue = open_queue(case)
    await queue.getJobCounts("wait")
    await second_process.produce_when_told(lambda: fill(queue, case.count, case.batch))


async def redis_cpu(case: Case) -> Result:
    queue, adding, processing = open_queue(case), Meter(case), Meter(case)
    await queue.getJobCounts("wait")
    adding.start()
    await fill(queue, case.count, case.batch)
    adding.stop()
    await consume(case, case.count, case.batch, noop, processing)
    return harness.redis_cpu_result(case.count, adding, processing)


async def memory(case: Case) -> Result:
    queue, meter = open_queue(case), Meter(case)
    await fill(queue, 1, 1)
    before = meter.memory()
    await fill(queue, case.count, 1_000)
    stored = len(json.dumps(payload(0), separators=(",", ":")))
    return harness.memory_result(meter, case.count, before, stored)


async def latency_idle(case: Case) -> Result:
    meter, producer = Meter(case), second_process.Producer(case)
    watch = second_process.Stopwatch(case.count)

    async def handler(job: Any, _token: str) -> None:
        watch.arrived(job.data["sent"])

    await consume(case, case.count + second_process.WARM_UP_ADDS, 1, handler, meter, producer.go)
    return meter.result(case.count, watch.percentiles(), others=[producer.finish()])


async def produce_spaced(case: Case) -> None:
    queue = open_queue(case)
    await queue.getJobCounts("wait")
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
