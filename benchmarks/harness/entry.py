"""A contender's file as a program: ``describe``, or a case in JSON; it answers with one JSON line."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import platform
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version

from benchmarks.harness import adding, processing, resources, timing
from benchmarks.harness.case import Case, Result
from benchmarks.harness.contender import Contender, fill, settled
from benchmarks.harness.work import Work

SCENARIOS: dict[str, Callable[[Contender, Case], Awaitable[Result]]] = {
    "add_sequential": adding.add_sequential,
    "add_concurrent": adding.add_concurrent,
    "add_bulk": adding.add_bulk,
    "process": processing.process,
    "process_threads": processing.process_threads,
    "process_two": processing.process_two,
    "produce_and_process": processing.produce_and_process,
    "wait": processing.wait,
    "compute": processing.compute,
    "payload": processing.payloads,
    "priorities": processing.priorities,
    "delayed": timing.delayed,
    "rate_limit": timing.rate_limit,
    "latency": timing.latency,
    "recovery": timing.recovery,
    "memory": resources.memory,
    "worker_idle": resources.worker_idle,
    "redis_cpu": resources.redis_cpu,
    "redis_cpu_paced": resources.redis_cpu_paced,
    "growth": resources.growth,
}
COMPANIONS: dict[tuple[str, str], Callable[[Contender, Case], Awaitable[None]]] = {
    ("produce_and_process", "producer"): processing.produce,
    ("latency", "producer"): timing.produce,
    ("process_two", "worker"): processing.work_beside,
    ("recovery", "victim"): timing.be_killed,
}


def package_versions(*names: str) -> str:
    """``celery 5.6.0, redis 8.1.0``, with those that run from a checkout named as such."""
    return ", ".join(f"{name} {_version(name)}" for name in names)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "from a checkout"


def main(contender: type[Contender], *, warm_up_jobs: int) -> None:
    """Run as a program. The warm-up does every path once on another queue, unmeasured."""
    order = sys.argv[1]
    if order == "describe":
        about = {
            "label": contender.label,
            "version": f"{contender.version}, Python {platform.python_version()}",
            "notes": contender.notes,
            "scenarios": [name for name in SCENARIOS if name not in contender.absent],
        }
        print(json.dumps(about))
        return
    case = Case(**json.loads(order))
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        result = runner.run(_run(contender, case, warm_up_jobs))
        if result is not None:
            print(json.dumps(result), flush=True)


async def _run(kind: type[Contender], case: Case, warm_up_jobs: int) -> Result | None:
    await _warm_up(kind(case, "warm-up"), case, warm_up_jobs)
    # A full collection of what start-up has left takes 10 ms and comes several times a second under load. A service
    # freezes it once it is warm, see docs/operations.md; all Python contenders gain.
    gc.collect()
    gc.freeze()
    contender = kind(case)
    await contender.open()
    try:
        if case.role == "main":
            return await SCENARIOS[case.scenario](contender, case)
        await COMPANIONS[case.scenario, case.role](contender, case)
        return None
    finally:
        await contender.close()


async def _warm_up(contender: Contender, case: Case, jobs: int) -> None:
    """What is measured is a process that has been at work: imports, scripts, connections, first ids."""
    if case.role == "victim":
        return
    await contender.open()
    if case.role == "producer":
        await contender.add(contender.payload(0))
        await contender.clear()
    else:
        await fill(contender, jobs)
        await contender.add(contender.payload(0))
        work = Work(jobs + 1)
        async with contender.worker(work, concurrency=min(case.concurrency, 100)):
            await work.done.wait()
            await settled(contender)
    await contender.close()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if os.environ.get("BENCH_LOOP") != "uvloop":
        return None
    import uvloop

    loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return loop
