"""Scenarios that count bytes, CPU and commands."""

from __future__ import annotations

import asyncio
import time

from benchmarks.harness.case import Case, Result
from benchmarks.harness.contender import Contender, fill
from benchmarks.harness.meter import Meter, both, resident_mb
from benchmarks.harness.processing import process_all
from benchmarks.harness.work import Work

SETTLING, OBSERVED = 3.0, 5.0


async def redis_cpu(contender: Contender, case: Case) -> Result:
    """Server CPU of the two halves of a job's life; jobs are added, and handlers run, `batch` at a time."""
    adding, processing = Meter(case), Meter(case)
    adding.start()
    await fill(contender, case.count, case.batch)
    adding.stop()
    await process_all(contender, Work(case.count), processing, case)
    reads = adding.reads + processing.reads
    extra = {
        "add_redis_us": adding.redis_s / case.count * 1e6,
        "process_redis_us": processing.redis_s / case.count * 1e6,
        "jobs_per_read": 2 * case.count / reads if reads else 0.0,
    }
    return both(adding, processing, case.count, extra)


async def redis_cpu_paced(contender: Contender, case: Case) -> Result:
    """Server CPU of a job when `rate` come a second, one by one: no batch forms."""
    meter, work = Meter(case), Work(case.count)
    async with contender.worker(work, concurrency=case.concurrency):
        meter.start()
        began = time.monotonic()
        for i in range(case.count):
            await asyncio.sleep(max(0.0, began + i / case.rate - time.monotonic()))
            await contender.add(contender.payload(i))
        await work.done.wait()
        meter.stop()
    return meter.result(case.count)


async def memory(contender: Contender, case: Case) -> Result:
    """Bytes per waiting job, and how many of them are not the data as it is stored."""
    meter = Meter(case)
    await fill(contender, 1, 1)
    before = meter.memory()
    await fill(contender, case.count)
    each = (meter.memory() - before) / case.count
    stored = contender.stored(contender.payload(0))
    extra = {"bytes_per_job": each, "payload_bytes": float(stored), "overhead_bytes": each - stored}
    return meter.result(case.count, extra)


async def worker_idle(contender: Contender, case: Case) -> Result:
    """A worker without work: resident memory of its process, commands and server CPU a second."""
    meter = Meter(case)
    async with contender.worker(Work(1), concurrency=case.concurrency):
        await asyncio.sleep(SETTLING)
        meter.start()
        await asyncio.sleep(OBSERVED)
        meter.stop()
        rss = resident_mb()
    # The second reading of the meter is two commands of its own. A read is a request; commands are also those of scripts.
    extra = {
        "rss_mb": rss,
        "requests_per_s": max(0, meter.reads - 2) / OBSERVED,
        "commands_per_s": max(0, meter.commands - 2) / OBSERVED,
    }
    return meter.result(1, extra)


async def growth(contender: Contender, case: Case) -> Result:
    """With `count` jobs waiting: what `batch` more cost to add, and as many to process; the longest call."""
    adding, processing = Meter(case), Meter(case)
    adding.note_slow_calls()
    before = adding.memory()
    await fill(contender, case.count)
    each = (adding.memory() - before) / case.count
    jobs = case.rate
    adding.start()
    await fill(contender, jobs)
    adding.stop()
    work = Work(jobs)
    processing.start()
    async with contender.worker(work, concurrency=case.concurrency):
        await work.done.wait()
        processing.stop()
        done = max(jobs, work.ran)
    extra = {
        "add_redis_us": adding.redis_s / jobs * 1e6,
        "process_redis_us": processing.redis_s / done * 1e6,
        "slowest_call_ms": adding.slowest_call_ms(),
        "bytes_per_job": each,
    }
    extra["job_redis_us"] = extra["add_redis_us"] + extra["process_redis_us"]
    return both(adding, processing, jobs, extra)
