"""A consumer: jobs that are fetched and settled by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bullrush import CodecError, Consumer, InvalidOption, InvalidOptionType, Job, JobNotInState, Queue
from tests.waiting import wait_until_async


@pytest.fixture
async def queue(url: str, prefix: str) -> AsyncIterator[Queue]:
    async with Queue("orders", url, prefix=prefix) as queue:
        yield queue


async def counts(queue: Queue) -> tuple[int, int, int, int]:
    found = await queue.get_job_counts("waiting", "active", "completed", "failed")
    return found["waiting"], found["active"], found["completed"], found["failed"]


async def test_all_ways_to_settle(queue: Queue) -> None:
    jobs = await queue.add_bulk([("order", {"n": n}) for n in range(6)])
    async with Consumer(queue, prefetch=4) as consumer:
        first, second, third, fourth = await consumer.fetch(10, timeout="5s")
        assert [first.id, second.id, third.id, fourth.id] == [job.id for job in jobs[:4]]
        first.complete({"done": True})
        second.fail("no stock", retry=False)
        third.release()
        fourth.retry_later("50ms")
        await consumer.flush()
        assert (await counts(queue))[2:] == (1, 1)
        left = {job.id async for job in _complete_all(consumer, 4)}
        assert left == {third.id, fourth.id, jobs[4].id, jobs[5].id}
    assert await counts(queue) == (0, 0, 5, 1)
    assert await first.result("5s") == {"done": True}
    failed = await second.refresh()
    assert (failed.failed_reason, failed.attempts_made) == ("no stock", 1)
    assert (await third.refresh()).attempts_made == (await fourth.refresh()).attempts_made == 0


async def _complete_all(consumer: Consumer, jobs: int) -> AsyncIterator[object]:
    for _ in range(jobs):
        (job,) = await consumer.fetch(timeout="5s")
        job.complete()
        yield job
    await consumer.flush()


async def test_a_failure_follows_attempts_and_backoff(queue: Queue) -> None:
    added = await queue.add("order", attempts=2, backoff="10ms")
    async with Consumer(queue) as consumer:
        for _ in range(2):
            (job,) = await consumer.fetch(timeout="5s")
            job.fail(ValueError("again"))
            await consumer.flush()
    found = await added.refresh()
    assert (found.state, found.attempts_made, found.error_type) == ("failed", 2, "ValueError")


async def test_prefetch_is_what_is_held_at_a_time(queue: Queue) -> None:
    await queue.add_bulk([("order", n) for n in range(5)])
    async with Consumer(queue, prefetch=2) as consumer:
        taken = await consumer.fetch(10, timeout="5s")
        assert len(taken) == 2
        assert await consumer.fetch(10, timeout="200ms") == []
        assert (await counts(queue))[:2] == (3, 2)
        taken[0].complete()
        assert len(await consumer.fetch(10, timeout="5s")) == 1


async def test_leaving_gives_back_in_order_and_uncharged(queue: Queue) -> None:
    jobs = await queue.add_bulk([("order", n) for n in range(5)])
    async with Consumer(queue, prefetch=3) as consumer:
        assert len(await consumer.fetch(2, timeout="5s")) == 2
    assert await counts(queue) == (5, 0, 0, 0)
    waiting = await queue.get_jobs("waiting", ascending=True)
    assert [job.id for job in waiting] == [job.id for job in jobs]
    assert {job.attempts_made for job in waiting} == {0}


async def test_a_job_is_settled_once(queue: Queue) -> None:
    await queue.add("order")
    async with Consumer(queue) as consumer:
        (job,) = await consumer.fetch(timeout="5s")
        job.complete(1)
        with pytest.raises(JobNotInState, match="settled already"):
            job.fail("late")


async def test_what_cannot_be_stored_settles_nothing(queue: Queue) -> None:
    await queue.add("order")
    async with Consumer(queue) as consumer:
        (job,) = await consumer.fetch(timeout="5s")
        with pytest.raises(CodecError, match="returnvalue"):
            job.complete(object())
        with pytest.raises(InvalidOptionType, match="nothing was settled"):
            job.fail(5)  # type: ignore[arg-type]
        job.complete(1)
        await consumer.flush()
    assert await counts(queue) == (0, 0, 1, 0)


async def test_a_fetch_that_is_cancelled_loses_nothing(queue: Queue) -> None:
    async with Consumer(queue) as consumer:
        for n in range(30):
            waiting = asyncio.create_task(consumer.fetch())
            await queue.add("order", n)
            waiting.cancel()
            (taken,) = await asyncio.gather(waiting, return_exceptions=True)
            jobs = taken if isinstance(taken, list) else await consumer.fetch(timeout="10s")
            assert [job.data for job in jobs] == [n]
            jobs[0].complete()
        await consumer.flush()
    assert await counts(queue) == (0, 0, 30, 0)


async def test_closing_ends_those_who_wait(queue: Queue) -> None:
    consumer = Consumer(queue)
    async with consumer:
        waiting = asyncio.create_task(consumer.fetch())
        iterating = asyncio.create_task(_all_of(consumer))
        await wait_until_async(
            lambda: consumer._hands is not None and len(consumer._hands._arrived._waiters) == 2
        )
    assert await asyncio.wait_for(waiting, 10) == []
    assert await asyncio.wait_for(iterating, 10) == []
    assert await _all_of(consumer) == []
    with pytest.raises(InvalidOption, match="async with"):
        await consumer.fetch()


async def _all_of(consumer: Consumer) -> list[Job]:
    return [job async for job in consumer]


async def test_a_handlers_job_is_not_settled_by_hand(queue: Queue) -> None:
    refusals = list[JobNotInState]()

    async def handle(job: object) -> None:
        try:
            job.complete(1)  # type: ignore[attr-defined]
        except JobNotInState as error:
            refusals.append(error)

    await queue.add("order")
    async with queue.process(handle):
        await wait_until_async(lambda: refusals)
    assert "Consumer" in str(refusals[0])


async def test_it_waits_for_a_job_that_comes_later(queue: Queue) -> None:
    async with Consumer(queue) as consumer:
        assert await consumer.fetch(timeout="150ms") == []
        await queue.add("order", "late")
        async for job in consumer:
            assert job.data == "late"
            job.complete()
            break
        await consumer.flush()
    assert await counts(queue) == (0, 0, 1, 0)


async def test_it_has_to_be_entered(queue: Queue) -> None:
    with pytest.raises(InvalidOption, match="async with"):
        await Consumer(queue).fetch()
