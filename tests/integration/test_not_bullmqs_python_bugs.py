"""Bugs that BullMQ's Python port and its limits have, each with a test that shows that they are not here."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis

from bullrush import (
    InvalidOption,
    InvalidOptionType,
    Job,
    PayloadTooLarge,
    Queue,
    QueueEvents,
    RateLimit,
    sync,
)
from bullrush.events import Completed
from tests.waiting import wait_until_async


@pytest.fixture
async def queue(url: str, prefix: str) -> AsyncIterator[Queue]:
    async with Queue("q", url, prefix=prefix) as queue:
        yield queue


async def nothing(job: Job) -> None:
    """Return at once."""


async def test_a_limited_worker_goes_on_after_its_first_window(queue: Queue) -> None:
    """There: with a default client it never fetches again, or each window of 500 ms takes 5 s."""
    jobs = [await queue.add("work") for _ in range(9)]
    async with queue.process(nothing, limiter=RateLimit(2, "200ms"), concurrency=5):
        await queue.gather(jobs, timeout="4s")  # four windows; there it would be 20 s, or for ever


async def test_no_two_windows_meet_at_an_edge(queue: Queue) -> None:
    """There: a fixed window lets twice as many start around its end. Times are the server's, of the claims."""
    limit = RateLimit(5, "300ms")
    jobs = [await queue.add("work") for _ in range(20)]
    times: list[int] = []
    async with QueueEvents(queue) as events, queue.process(nothing, limiter=limit, concurrency=10):
        await queue.gather(jobs, timeout="10s")
        await queue.publish_event("end")
        async for event in events:
            if event.name == "active":
                times.append(event.at)
            elif event.name == "custom":
                break
    assert len(times) == 20
    for first, sixth in zip(times, times[limit.max :], strict=False):
        assert sixth - first >= limit.duration


async def test_a_rate_comes_from_one_place_as_a_whole(queue: Queue) -> None:
    """There: `max` is that of the queue and `duration` that of the worker."""
    await queue.set_global_rate_limit(RateLimit(1_000, "100ms"))
    jobs = [await queue.add("work") for _ in range(50)]
    async with queue.process(nothing, limiter=RateLimit(1, "1h")):
        await queue.gather(jobs, timeout="10s")


async def test_a_hold_needs_no_limiter(queue: Queue) -> None:
    """There: it does nothing unless `limiter.max` is set."""
    await queue.rate_limit("1h")
    job = await queue.add("work")
    async with queue.process(nothing):
        assert await queue.get_rate_limit_ttl() > 3_000_000
        assert await job.get_state() == "waiting"
        await queue.rate_limit(None)
        await job.result("10s")


async def test_listeners_are_there_and_one_that_raises_changes_nothing(queue: Queue) -> None:
    """There: `Queue.on` is missing, and an error in a `completed` listener fails the job with "Missing lock"."""
    async with queue.process(nothing) as worker:

        @worker.on("completed")
        def raises(job: Job, value: object) -> None:
            raise RuntimeError("in a listener")

        job = await queue.add("work")
        await job.result("10s")
        await worker.wait_idle("10s")
    assert await job.get_state() == "completed"


@pytest.mark.parametrize("id", ["12", "-1", "a b", "", "é", "a\0b"])
async def test_ids_are_checked(queue: Queue, id: str) -> None:
    with pytest.raises(InvalidOption):
        await queue.add("work", job_id=id)


async def test_everything_else_is_checked_too(queue: Queue, url: str) -> None:
    """There: queue name, priority and size limit are taken as they come."""
    with pytest.raises(InvalidOption):
        Queue("a:b", url)
    for priority in (-1, 2_097_152):
        with pytest.raises(InvalidOption):
            await queue.add("work", priority=priority)
    with pytest.raises(InvalidOptionType):
        await queue.add("work", priority=1.5)  # type: ignore[arg-type]
    with pytest.raises(PayloadTooLarge):
        await queue.add("work", "x" * 100, size_limit=50)
    assert await queue.count() == 0


async def test_plain_functions_are_handlers(queue: Queue) -> None:
    """There: a `def` processor is a TypeError."""

    def handler(job: sync.Job) -> str:
        return job.data

    async with queue.process(handler):
        assert await queue.call("work", "done", wait="10s") == "done"


async def test_a_paused_worker_is_paused(queue: Queue) -> None:
    """There: in one version `worker.pause` did nothing."""
    async with queue.process(nothing) as worker:
        await worker.pause()
        job = await queue.add("work")
        other = await queue.add("work", delay=1)
        await wait_until_async(lambda: queue.get_job_counts("waiting", "delayed"))
        assert await job.get_state() == "waiting"
        await worker.resume()
        await queue.gather([job, other], timeout="10s")


async def test_events_go_on_after_an_error(queue: Queue, redis_client: redis.Redis) -> None:
    """There: the loop of QueueEvents ends for good when a read fails."""
    async with queue.process(nothing), QueueEvents(queue, kinds=[Completed]) as events:
        for client in redis_client.client_list():
            if client["cmd"] in ("xread", "blpop"):
                redis_client.client_kill_filter(_id=client["id"])
        job = await queue.add("work")
        async for event in events:
            assert isinstance(event, Completed)
            assert event.job_id == job.id
            break
