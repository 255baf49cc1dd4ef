"""A queue at work is sound at every moment: examining it again and again finds nothing."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from typing import cast

import pytest
import redis

from bullrush import Deduplication, Job, JobNotFound, JobNotInState, JobOptions, Queue, RetryLater
from bullrush.sync import Queue as SyncQueue
from tests.waiting import wait_until_async

ROUNDS = 10


@pytest.fixture
async def busy_queue(queue: Queue) -> AsyncIterator[Queue]:
    """Producers, workers and management, all at once."""
    luck = random.Random(5)
    running = True

    async def work(job: Job) -> None:
        if job.name == "slow":
            await asyncio.sleep(0.002)  # time is the subject
        if luck.random() < 0.1:
            raise RetryLater(0.001)
        await job.log("seen")
        if luck.random() < 0.2:
            raise ValueError("no luck")

    async def produce() -> None:
        n = 0
        while running:
            n += 1
            await queue.add_bulk([("a", i) for i in range(300)])
            if await queue.count() > 3000:
                await asyncio.sleep(0.005)  # time is the subject
                continue
            await queue.add_bulk(
                [("a", i, JobOptions(priority=luck.randint(1, 9), attempts=3)) for i in range(50)]
            )
            await queue.add_bulk(
                [("slow", i, JobOptions(delay=luck.randint(1, 40), attempts=2)) for i in range(30)]
            )
            await queue.add("a", n, job_id=f"own-{n % 50}", lifo=True)
            await queue.add("a", deduplication=Deduplication(f"k{n % 3}", mode="keep-last"))
            await queue.add("a", delay=30, deduplication=Deduplication(f"d{n % 3}", ttl=50, mode="debounce"))

    async def manage() -> None:
        while running:
            await queue.clean(0, limit=200)
            await queue.clean("100ms", "failed", limit=500)
            await queue.retry_jobs(limit=50)
            await queue.promote_jobs(limit=5)
            for job in await queue.get_jobs("prioritized", 0, 5):
                with contextlib.suppress(JobNotFound, JobNotInState):
                    await job.change_priority(luck.randint(0, 9))
            for job in await queue.get_jobs("waiting", 0, 5):
                await queue.cancel(job.id)

    workers = [queue.process(work, concurrency=50, remove_on_complete=100) for _ in range(2)]
    tasks = [asyncio.create_task(produce()), asyncio.create_task(manage())]
    async with workers[0], workers[1]:
        yield queue
        running = False
        await asyncio.gather(*tasks)


async def test_a_busy_queue_gives_no_false_alarm(busy_queue: Queue) -> None:
    seen = 0
    for _ in range(ROUNDS):
        report = await busy_queue.fsck()
        assert not report.problems, report
        seen += report.checked.get("jobs", 0)
    assert seen > 1000


async def test_a_busy_queue_is_repaired_at_work(queue: Queue, redis_client: redis.Redis) -> None:
    """Jobs that are torn out of the line, again and again, come back while others run; each of them runs, and once."""
    ran: list[str] = []

    async def work(job: Job) -> None:
        ran.append(job.id)

    added: list[str] = []
    torn = 0

    async def all_ran() -> bool:
        return len(ran) == len(added)

    for _ in range(4):
        await queue.pause()
        added += [job.id for job in await queue.add_bulk([("a", n) for n in range(500)])]
        taken = redis_client.lpop(queue.keys["waiting"].decode(), 20)
        torn += len(cast("list[bytes]", taken))
        async with queue.process(work, concurrency=20) as worker:
            await queue.resume()
            report = await queue.fsck(repair=True)
            assert report.ok and {problem.kind for problem in report.problems} == {"lost"}, report
            torn -= report.repaired
            await wait_until_async(all_ran)
            await worker.wait_idle()
    assert torn == 0
    assert sorted(ran) == sorted(added)
    assert not (await queue.fsck()).problems


@pytest.fixture
def blocking_queue(url: str, prefix: str) -> Iterator[SyncQueue]:
    with SyncQueue("q", url, prefix=prefix) as queue:
        yield queue


def test_a_long_line_is_sound_with_what_was_removed_from_its_middle(blocking_queue: SyncQueue) -> None:
    jobs = blocking_queue.add_bulk([("a", n) for n in range(11_000)])
    for job in jobs[100:9000:300]:
        assert blocking_queue.remove(job.id)
    report = blocking_queue.fsck()
    assert not report.problems, report
    assert report.checked["waiting"] == 11_000
    assert report.checked["removed"] == 30


def test_a_queue_that_is_not_there_is_sound(blocking_queue: SyncQueue) -> None:
    assert blocking_queue.fsck(repair=True).ok
