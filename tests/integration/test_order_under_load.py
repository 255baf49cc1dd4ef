"""In what order jobs of mixed priorities start when several workers share them.

A worker claims the best jobs that are there, so what can start out of order is what others have claimed and not
started yet: at most concurrency + prefetch jobs for each worker. With `prefetch="auto"` that is at most
concurrency + 3,000, and as many as a worker starts within 5 ms in practice; `prefetch=0`, or any limit, makes it
the concurrency alone.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

from bullrush import Job, Queue

JOBS, WORKERS, CONCURRENCY = 10_000, 4, 5


def overtaken(started: list[int]) -> int:
    """The largest number of better jobs (lower numbers) that had not started when one started."""
    left = [0] * (max(started) + 1)
    for priority in started:
        left[priority] += 1
    worst = 0
    for priority in started:
        left[priority] -= 1
        worst = max(worst, sum(left[:priority]))
    return worst


def test_what_is_counted() -> None:
    assert overtaken([0, 1, 1, 2]) == 0
    assert overtaken([2, 0, 1, 1]) == 3
    assert overtaken([0, 1, 0, 1]) == 1


@pytest.mark.parametrize("prefetch", [0, 20])
async def test_priority_is_violated_only_inside_the_prefetch_window(
    url: str, prefix: str, prefetch: int
) -> None:
    started: list[int] = []

    async def handler(job: Job) -> None:
        started.append(job.data)
        await asyncio.sleep(0)

    async with Queue("q", url, prefix=prefix) as queue, AsyncExitStack() as workers:
        await queue.pause()
        priorities = [n % 10 for n in range(JOBS)]
        random.Random(7).shuffle(priorities)
        await queue.add_bulk([("work", n, {"priority": n}) if n else ("work", 0) for n in priorities])
        for _ in range(WORKERS):
            worker = queue.process(handler, concurrency=CONCURRENCY, prefetch=prefetch)
            await workers.enter_async_context(worker)
        await queue.resume()
        await worker.wait_idle("60s")
    assert sorted(started) == sorted(priorities)
    assert overtaken(started) <= WORKERS * (CONCURRENCY + prefetch)


async def test_one_worker_starts_them_in_order(url: str, prefix: str) -> None:
    started: list[tuple[int, int]] = []

    async def handler(job: Job) -> None:
        started.append((job.data, int(job.id)))

    async with Queue("q", url, prefix=prefix) as queue:
        await queue.pause()
        priorities = [random.Random(n).randrange(4) for n in range(2_000)]
        await queue.add_bulk([("work", n, {"priority": n}) if n else ("work", 0) for n in priorities])
        async with queue.process(handler, prefetch=0) as worker:
            await queue.resume()
            await worker.wait_idle("60s")
    assert len(started) == 2_000
    assert started == sorted(started)
