"""Scenarios of producers."""

from __future__ import annotations

import asyncio

from benchmarks.harness import pings
from benchmarks.harness.case import Case, Result
from benchmarks.harness.contender import Contender, fill
from benchmarks.harness.meter import Meter

TASKS = 1_000


async def add_bulk(contender: Contender, case: Case) -> Result:
    """Chunks of `batch`, from `concurrency` callers that await each."""
    meter = Meter(case)
    meter.start()
    await asyncio.gather(*[fill(contender, case.share, case.batch) for _ in range(case.concurrency)])
    meter.stop()
    return meter.result(case.share * case.concurrency)


async def add_concurrent(contender: Contender, case: Case) -> Result:
    """1,000 tasks that await `add` in a loop."""
    meter, each = Meter(case), max(1, case.count // TASKS)
    meter.start()
    await contender.add_from_tasks(TASKS, each)
    meter.stop()
    return meter.result(each * TASKS)


async def add_sequential(contender: Contender, case: Case) -> Result:
    """One add after another, in turns with bare PINGs."""
    async with pings.bare_ping(case) as ping:
        return await pings.add_next_to_ping(
            Meter(case), case.count, lambda i: contender.add(contender.payload(i)), ping
        )
