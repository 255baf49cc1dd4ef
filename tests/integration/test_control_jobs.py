"""Changing single jobs: run again, promote, another delay, priority, data, log lines."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import redis

from bullrush import (
    CodecError,
    InvalidOption,
    Job,
    JobNotFound,
    JobNotInState,
    PayloadTooLarge,
    Queue,
    UnrecoverableError,
    sync,
)
from tests.waiting import wait_until_async


async def fail(job: Job) -> None:
    raise LookupError("nobody of that name")


async def ok(job: Job) -> str:
    return "ok"


async def order(queue: Queue, **options: Any) -> list[str]:
    """Run everything that waits, one after the other; the ids in the order of their starts."""
    seen: list[str] = []

    async def note(job: Job) -> None:
        seen.append(job.id)

    async with queue.process(note, **options) as worker:
        await worker.wait_idle("10s")
    return seen


async def run(queue: Queue, handler: Any) -> None:
    async with queue.process(handler) as worker:
        await worker.wait_idle("10s")


# Run again.


async def test_a_failed_job_runs_again_with_its_attempts(queue: Queue) -> None:
    job = await queue.add("work", 1, attempts=2, backoff=0)
    await run(queue, fail)
    await job.refresh()
    assert (job.state, job.attempts_made, job.attempts_started) == ("failed", 2, 2)
    await job.retry()
    await job.refresh()
    assert (job.state, job.attempts_made, job.attempts_started) == ("waiting", 2, 2)
    assert job.failed_reason is None
    seen: list[tuple[int, bool]] = []

    async def look(job: Job) -> None:
        seen.append((job.attempts_made, job.is_last_attempt))
        raise LookupError("again")

    await run(queue, look)
    assert seen == [(2, True)]
    await job.refresh()
    assert (job.state, job.attempts_made, job.attempts_started) == ("failed", 3, 3)


async def test_reset_gives_all_attempts_anew(queue: Queue) -> None:
    job = await queue.add("work", 1, attempts=2, backoff=0)
    await run(queue, fail)
    await job.retry(reset_attempts=True)
    assert (await job.refresh()).attempts_made == 0
    await run(queue, fail)
    assert (await job.refresh()).attempts_made == 2


async def test_a_completed_job_runs_again_and_keeps_its_priority(queue: Queue) -> None:
    job = await queue.add("work", 1, priority=7)
    await run(queue, ok)
    assert await job.result() == "ok"
    await job.retry()
    await job.refresh()
    assert (job.state, job.priority, job.returnvalue, job.attempts_started) == ("prioritized", 7, None, 1)
    before = await queue.add("work", 2, priority=6)
    behind = await queue.add("work", 3, priority=8)
    assert await order(queue) == [before.id, job.id, behind.id]
    assert (await job.refresh()).attempts_started == 2


async def test_a_wait_for_a_retried_job_gets_its_new_end(queue: Queue) -> None:
    job = await queue.add("work", 1)
    await run(queue, fail)
    await job.retry()
    waiting = asyncio.create_task(job.result("10s"))
    await run(queue, ok)
    assert await waiting == "ok"


async def test_a_job_that_expired_gets_its_time_anew(queue: Queue) -> None:
    job = await queue.add("work", 1, expires_in="100ms")
    added = time.monotonic()
    await wait_until_async(lambda: time.monotonic() > added + 0.15)
    await run(queue, ok)
    assert (await job.refresh()).error_type == "JobExpired"
    await job.retry()
    await run(queue, ok)
    assert (await job.refresh()).state == "completed"


@pytest.mark.parametrize("verb", ["retry", "promote", "change_delay"])
async def test_a_job_that_waits_cannot_be(queue: Queue, redis_client: redis.Redis, verb: str) -> None:
    job = await queue.add("work", 1)
    calls = {"retry": job.retry, "promote": job.promote, "change_delay": lambda: job.change_delay("1s")}
    with pytest.raises(JobNotInState, match="is waiting") as caught:
        await calls[verb]()
    assert caught.value.state == "waiting"
    assert redis_client.lrange(queue.keys["waiting"], 0, -1) == [job.id.encode()]
    await job.remove()
    with pytest.raises(JobNotFound, match="nothing was changed"):
        await calls[verb]()


# Delayed jobs.


async def test_promoted_jobs_go_where_their_priority_puts_them(queue: Queue) -> None:
    job = await queue.add("work", 1, delay="1h", priority=5)
    first = await queue.add("work", 2, priority=4)
    last = await queue.add("work", 3, priority=6)
    await job.promote()
    assert await job.get_state() == "prioritized"
    assert await order(queue) == [first.id, job.id, last.id]


async def test_another_delay_counts_from_now(queue: Queue, redis_client: redis.Redis) -> None:
    job = await queue.add("work", 1, delay="1h")
    await job.change_delay("2h")
    seconds, _ = redis_client.time()
    await job.refresh()
    assert job.state == "delayed"
    assert abs(job.due_at.timestamp() - (seconds + 7200)) < 5
    assert job.delay == 3_600_000  # what it was added with


async def test_another_time_wakes_a_worker_that_waits_for_nothing(queue: Queue) -> None:
    job = await queue.add("work", 1, delay="1h")
    other = await queue.add("work", 2, delay="1h")
    async with queue.process(ok) as worker:
        await wait_until_async(lambda: worker.is_running)
        await job.change_delay("50ms")
        assert await job.result("10s") == "ok"
        await other.change_delay(run_at=int(time.time() * 1000) + 50)
        assert await other.result("10s") == "ok"


async def test_pages_show_the_real_due_time(queue: Queue) -> None:
    job = await queue.add("work", 1, delay="1h")
    await job.change_delay(run_at=2_000_000_000_000)
    (found,) = await queue.get_jobs("delayed")
    assert found.due_at.timestamp() == 2_000_000_000


async def test_a_retry_is_due_when_its_backoff_ends(queue: Queue, redis_client: redis.Redis) -> None:
    job = await queue.add("work", 1, attempts=2, backoff="1h")
    async with queue.process(fail):
        await wait_until_async(lambda: redis_client.exists(queue.keys["delayed"]))
    await job.refresh()
    assert job.due_at.timestamp() - job.created_at.timestamp() > 3_500


@pytest.mark.parametrize("arguments", [(), ("1s", 2_000_000_000_000), (-1,), ("soon",)])
async def test_wrong_delays_are_refused(queue: Queue, arguments: tuple[Any, ...]) -> None:
    job = await queue.add("work", 1, delay="1h")
    delay, run_at = (*arguments, None, None)[:2]
    with pytest.raises(InvalidOption):
        await job.change_delay(delay, run_at=run_at)


# Priority.


async def test_a_job_moves_behind_those_of_its_new_priority(queue: Queue) -> None:
    a, b, c = [await queue.add("work", i, priority=p) for i, p in enumerate((5, 5, 9))]
    d = await queue.add("work", 3)
    await c.change_priority(5)
    await d.change_priority(6)
    await b.change_priority(0)
    assert (await d.refresh()).priority == 6
    assert (await b.refresh()).priority == 0
    assert await b.get_state() == "waiting"
    assert await order(queue) == [b.id, a.id, c.id, d.id]


async def test_lifo_is_the_first_of_its_priority(queue: Queue) -> None:
    a, b, c = [await queue.add("work", i, priority=5) for i in range(3)]
    x, y = [await queue.add("work", i) for i in range(2)]
    low = await queue.add("work", 9, priority=4)
    for job in (c, b, a):
        await job.change_priority(5, lifo=True)
    await y.change_priority(0, lifo=True)
    assert await order(queue) == [y.id, x.id, low.id, a.id, b.id, c.id]


async def test_lifo_never_leaves_its_priority(queue: Queue, redis_client: redis.Redis) -> None:
    jobs = await queue.add_bulk([("work", i, {"priority": 5}) for i in range(5)])
    for _ in range(3):
        for job in jobs:
            await job.change_priority(5, lifo=True)
    scores = [score for _, score in redis_client.zrange(queue.keys["prioritized"], 0, -1, withscores=True)]
    assert {int(score) >> 32 for score in scores} == {5}


async def test_a_delayed_job_keeps_its_time(queue: Queue) -> None:
    job = await queue.add("work", 1, delay="1h")
    due = (await job.refresh()).due_at
    await job.change_priority(3)
    await job.refresh()
    assert (job.state, job.priority, job.due_at) == ("delayed", 3, due)
    await job.promote()
    assert await job.get_state() == "prioritized"


async def test_a_running_job_comes_back_with_its_new_priority(queue: Queue) -> None:
    """Also where its worker does not know of it and gives it back as a plain job."""
    gate = asyncio.Event()

    async def hold(job: Job) -> None:
        gate.set()
        await asyncio.Event().wait()

    job = await queue.add("work", 1)
    async with queue.process(hold) as worker:
        await gate.wait()
        await job.change_priority(4)
        await worker.close(timeout="100ms")
    await job.refresh()
    assert (job.state, job.priority) == ("prioritized", 4)
    first = await queue.add("work", 2, priority=3)
    assert await order(queue) == [first.id, job.id]


async def test_a_finished_job_gets_no_priority(queue: Queue) -> None:
    job = await queue.add("work", 1)
    await run(queue, ok)
    with pytest.raises(JobNotInState) as caught:
        await job.change_priority(3)
    assert caught.value.state == "completed"
    await job.remove()
    with pytest.raises(JobNotFound):
        await job.change_priority(3)
    with pytest.raises(InvalidOption):
        await job.change_priority(2_097_152)


async def test_a_job_leaves_a_long_line_and_comes_back(queue: Queue, redis_client: redis.Redis) -> None:
    """Deep in a long list its old element stays as a ghost, which must never be taken for the job."""
    jobs = await queue.add_bulk([("work", i) for i in range(10_500)])
    job, other, third = jobs[5_000], jobs[6_000], jobs[7_000]
    await job.change_priority(5)
    await other.change_priority(5)
    await other.change_priority(0, lifo=True)
    await third.change_priority(0)
    counts = await queue.get_job_counts()
    assert (counts["waiting"], counts["prioritized"]) == (10_499, 1)
    assert job.id not in {each.id for each in await queue.get_jobs("waiting", 0, -1)}
    seen = await order(queue, concurrency=1)
    assert sorted(seen) == sorted(each.id for each in jobs)
    assert seen[0] == other.id
    assert seen[-2:] == [third.id, job.id]
    assert not redis_client.exists(queue.keys["removed"])


# Data.


async def test_other_data_reaches_the_handler_with_everything_else_as_it_was(queue: Queue) -> None:
    job = await queue.add("work", {"a": 1}, attempts=3, priority=2)
    timestamp = job.timestamp
    await job.update_data({"b": [1, 2]})
    assert job.data == {"b": [1, 2]}
    found = await queue.get_job(job.id)
    assert found is not None
    assert (found.name, found.data, found.attempts, found.timestamp) == ("work", {"b": [1, 2]}, 3, timestamp)
    await found.update_data(None)
    assert (await job.refresh()).data is None


async def test_a_handler_may_keep_its_state_in_its_data(queue: Queue) -> None:
    seen: list[object] = []

    async def step(job: Job) -> None:
        seen.append(job.data)
        await job.update_data({"step": job.data["step"] + 1})
        if job.data["step"] < 3:
            raise LookupError("again")

    job = await queue.add("work", {"step": 0}, attempts=3, backoff=0)
    await run(queue, step)
    assert seen == [{"step": 0}, {"step": 1}, {"step": 2}]
    assert (await job.refresh()).data == {"step": 3}


async def test_a_job_that_became_large_is_marked_in_its_line(queue: Queue, redis_client: redis.Redis) -> None:
    jobs = await queue.add_bulk([("work", i) for i in range(3)])
    await jobs[1].update_data("x" * 5_000)
    line = redis_client.lrange(queue.keys["waiting"], 0, -1)[::-1]
    assert line == [b"1", b"\x012", b"3"]
    assert await order(queue) == ["1", "2", "3"]


async def test_data_that_cannot_be_is_refused(queue: Queue) -> None:
    job = await queue.add("work", 1, size_limit=200)
    with pytest.raises(PayloadTooLarge, match="was not changed"):
        await job.update_data("x" * 300)
    with pytest.raises(CodecError):
        await job.update_data(object())
    assert (await job.refresh()).data == 1
    await job.remove()
    with pytest.raises(JobNotFound):
        await job.update_data(2)


# Blocking code has the same.


def test_blocking_jobs_change_alike(url: str, prefix: str) -> None:
    with sync.Queue("q", url, prefix=prefix) as queue:
        job = queue.add("work", 1, delay="1h")
        job.change_delay("2h")
        job.change_priority(3)
        job.update_data(2)
        job.promote()
        assert (job.refresh().state, job.priority, job.data) == ("prioritized", 3, 2)
        with pytest.raises(JobNotInState):
            job.retry()
        job.clear_logs()
        assert queue.drain() == 1


async def test_an_unrecoverable_error_can_be_retried_by_hand(queue: Queue) -> None:
    async def give_up(job: Job) -> None:
        raise UnrecoverableError("no use")

    job = await queue.add("work", 1, attempts=5)
    await run(queue, give_up)
    await job.retry()
    await run(queue, ok)
    assert (await job.refresh()).returnvalue == "ok"
