"""Scenarios in which it matters when a job starts."""

from __future__ import annotations

import asyncio
import time

from benchmarks.harness.case import Case, Result
from benchmarks.harness.contender import Contender, settled
from benchmarks.harness.meter import Meter
from benchmarks.harness.processes import Companion, Cue
from benchmarks.harness.work import WARM_UP_ADDS, Starts, Stuck, Timing, Work

SPACE = 0.001
LOAD_TICK = 0.001
RECOVERY_LIMIT = 150.0


async def latency(contender: Contender, case: Case) -> Result:
    """From add to handler start, between two processes. `rate` 0: idle, adds `wait_us` (1 ms) apart."""
    meter, producer = Meter(case), Companion(case, "producer")
    work = Timing(case.count + WARM_UP_ADDS)
    meter.start()
    async with contender.worker(work, concurrency=case.concurrency):
        producer.go()
        await work.done.wait()
        meter.stop()
        await settled(contender)
    return meter.result(case.count, work.percentiles(), others=[producer.finish()])


async def produce(contender: Contender, case: Case) -> None:
    """The producer of `latency`: awaits each add, or keeps to a rate with adds at once."""
    cue = Cue()
    await cue.ready()
    if case.rate:
        await _at_rate(contender, case.count + WARM_UP_ADDS, case.rate)
    else:
        for _ in range(case.count + WARM_UP_ADDS):
            await contender.add({"sent": time.monotonic_ns()})
            await asyncio.sleep(case.wait_us / 1e6 or SPACE)
    cue.report()


async def _at_rate(contender: Contender, count: int, rate: int) -> None:
    """Every millisecond the adds that are due, at once; what is late is not skipped."""
    began, added = time.monotonic(), 0
    adds: set[asyncio.Task[None]] = set()
    while added < count:
        due = min(count, int((time.monotonic() - began) * rate) + 1)
        for _ in range(due - added):
            task = asyncio.ensure_future(contender.add({"sent": time.monotonic_ns()}))
            adds.add(task)
            task.add_done_callback(adds.discard)
        added = max(due, added)
        await asyncio.sleep(LOAD_TICK)
    await asyncio.gather(*adds)


async def delayed(contender: Contender, case: Case) -> Result:
    """Jobs that fall due over one second, while nothing else happens; how late each starts."""
    meter, work = Meter(case), Timing(case.count, since="due", skipped=0)
    # The adds take their time; the first job is due when the slowest contender has added all.
    lead = 1.0 + case.count / case.rate
    base = time.monotonic() + lead
    async with contender.worker(work, concurrency=case.concurrency):
        meter.start()
        for i in range(case.count):
            due = base + i / case.count
            await contender.add({"due": int(due * 1e9)}, delay=due - time.monotonic())
        if time.monotonic() > base:
            raise RuntimeError(f"adding took longer than {lead:.1f} s; lower the count")
        await work.done.wait()
        meter.stop()
        await settled(contender)
    return meter.result(case.count, work.percentiles())


async def rate_limit(contender: Contender, case: Case) -> Result:
    """A queue-wide limit of `rate` starts a second: is it kept, is it used, what does waiting cost?"""
    meter, work = Meter(case), Starts(case.count)
    await contender.add_bulk([contender.payload(i) for i in range(case.count)])
    meter.start()
    async with contender.worker(work, concurrency=case.concurrency, rate=case.rate):
        await work.done.wait()
        await settled(contender)
        meter.stop()
    # The last window begins with the last but one full second; a limiter that uses its limit needs this long.
    needed = (case.count - 1) // case.rate
    extra = {
        "most_in_a_second": float(work.most_within(1.0)),
        "limit": float(case.rate),
        "of_the_possible": needed / meter.seconds,
    }
    return meter.result(case.count, extra)


async def recovery(contender: Contender, case: Case) -> Result:
    """A worker is killed in the middle of `concurrency` jobs: when has another one run them all?"""
    victim, meter = Companion(case, "victim"), Meter(case)
    for i in range(case.concurrency):
        await contender.add(contender.payload(i))
    victim.go()
    victim.expect("started")
    victim.kill()
    meter.start()
    work = Work(case.concurrency)
    async with contender.worker(work, concurrency=case.concurrency):
        try:
            await asyncio.wait_for(work.done.wait(), RECOVERY_LIMIT)
        except TimeoutError:
            lost = case.concurrency - work.ran
            raise RuntimeError(
                f"{lost} of {case.concurrency} jobs had not run after {RECOVERY_LIMIT:g} s"
            ) from None
        meter.stop()
    return meter.result(case.concurrency, {"seconds": meter.seconds})


async def be_killed(contender: Contender, case: Case) -> None:
    """The victim of `recovery`."""
    cue, work = Cue(), Stuck(case.concurrency)
    await cue.ready()
    async with contender.worker(work, concurrency=case.concurrency):
        await work.done.wait()
        cue.say("started")
        await asyncio.sleep(3_600)
