"""What is kept of finished jobs: by count, by age, by the job's own wish."""

from __future__ import annotations

import time

import redis

from bullrush import Job, Keep, Queue
from tests.waiting import wait_until_async


async def double(job: Job) -> int:
    return job.data * 2


async def fail(job: Job) -> None:
    raise LookupError("nobody of that name")


async def ids_in(queue: Queue, state: str) -> list[str]:
    return [job.id for job in await queue.get_jobs(state, 0, -1, ascending=True)]  # type: ignore[arg-type]


async def test_what_is_kept_by_count(queue: Queue, redis_client: redis.Redis) -> None:
    # Within one millisecond the order of leaving is that of the ids as text: give all of them two digits.
    await queue.add_bulk([("work", i) for i in range(9)], remove_on_complete=True)
    jobs = await queue.add_bulk([("work", i) for i in range(30)])
    kept = await queue.add("work", 30, remove_on_complete=False)
    gone = await queue.add("work", 31, remove_on_complete=True)
    async with queue.process(double, remove_on_complete=5) as worker:
        await worker.wait_idle("10s")
    found = await ids_in(queue, "completed")
    assert kept.id in found
    assert gone.id not in found
    assert {job.id for job in jobs if job.id in found} <= {job.id for job in jobs[-5:]}
    assert len(found) in (5, 6)
    assert redis_client.hlen(queue.keys["jobs"]) == redis_client.hlen(queue.keys["outcomes"]) == len(found)


async def test_what_is_kept_by_age(queue: Queue) -> None:
    async with queue.process(double, remove_on_complete=Keep(age="200ms")) as worker:
        old = await queue.add_bulk([("work", i) for i in range(10)])
        await worker.wait_idle("10s")
        assert len(await ids_in(queue, "completed")) == 10
        finished = time.monotonic()
        await wait_until_async(lambda: time.monotonic() - finished > 0.25)
        new = await queue.add("work", 1)
        await worker.wait_idle("10s")
    assert await ids_in(queue, "completed") == [new.id]
    assert await queue.get_job(old[0].id) is None


async def test_what_is_kept_of_failures(queue: Queue) -> None:
    await queue.add_bulk([("work", i) for i in range(10)])
    async with queue.process(fail, remove_on_fail=3) as worker:
        await worker.wait_idle("10s")
        assert len(await ids_in(queue, "failed")) == 3
        await queue.add("work", 1, remove_on_fail=True)
        await worker.wait_idle("10s")
    assert len(await ids_in(queue, "failed")) == 3
