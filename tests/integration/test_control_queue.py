"""Changing many jobs at once: drain, clean, retry, promote; counting and walking; events of one's own."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import redis

from bullrush import (
    Cleaned,
    Delayed,
    InvalidOption,
    InvalidOptionType,
    Job,
    JobRemoved,
    Queue,
    Removed,
    State,
    Waiting,
)
from tests.conftest import PrivateServer
from tests.hearing import heard
from tests.servers import KINDS, Kind
from tests.waiting import wait_until_async


async def ok(job: Job) -> str:
    return "ok"


async def fail(job: Job) -> None:
    raise LookupError("nobody of that name")


async def run(queue: Queue, handler: Any, **options: Any) -> None:
    async with queue.process(handler, **options) as worker:
        await worker.wait_idle("30s")


async def passed(seconds: float) -> None:
    start = time.monotonic()
    await wait_until_async(lambda: time.monotonic() > start + seconds)


# Drain.


async def test_drain_removes_what_waits_and_nothing_else(queue: Queue, redis_client: redis.Redis) -> None:
    done = await queue.add("work", 0)
    await run(queue, ok)
    gate = asyncio.Event()
    await queue.add("work", 1)
    async with queue.process(lambda job: gate.wait()):
        await wait_until_async(lambda: queue.get_job_counts("active"))
        active = (await queue.get_jobs("active"))[0]
        await queue.pause()
        await queue.add_bulk([("work", i) for i in range(1_200)])
        await queue.add_bulk([("work", i, {"priority": 3}) for i in range(30)])
        delayed = await queue.add("work", 1, delay="1h")
        assert await queue.drain() == 1_230
        assert await queue.get_state(delayed.id) == "delayed"
        assert await queue.drain(delayed=True) == 1
        assert await queue.drain(delayed=True) == 0
        assert await active.get_state() == "active"
        gate.set()
        await wait_until_async(lambda: redis_client.zcard(queue.keys["completed"]) == 2)
    assert await done.get_state() == "completed"
    assert redis_client.hlen(queue.keys["jobs"]) == 2
    assert not redis_client.exists(queue.keys["plans"])


async def test_drained_jobs_are_told(queue: Queue) -> None:
    a = await queue.add("work", 1)
    b = await queue.add("work", 2, priority=2)
    c = await queue.add("work", 3, delay="1h")
    waiting = asyncio.create_task(b.result("10s"))
    await wait_until_async(lambda: queue._results)
    events = await heard(queue, (Removed,), lambda: queue.drain(delayed=True))
    assert [(event.job_id, event.prev) for event in events] == [
        (a.id, "waiting"),
        (b.id, "prioritized"),
        (c.id, "delayed"),
    ]
    with pytest.raises(JobRemoved):
        await waiting


async def test_drain_passes_over_ghosts(queue: Queue, redis_client: redis.Redis) -> None:
    jobs = await queue.add_bulk([("work", i) for i in range(10_100)])
    await jobs[3].remove()
    await jobs[5].change_priority(4)
    assert await queue.drain() == 10_099
    assert not redis_client.exists(queue.keys["jobs"], queue.keys["removed"], queue.keys["waiting"])


# Clean.


@pytest.mark.parametrize(("state", "handler"), [("completed", ok), ("failed", fail)])
async def test_finished_jobs_are_cleaned_by_their_end(queue: Queue, state: State, handler: Any) -> None:
    old = await queue.add_bulk([("work", i) for i in range(3)])
    await run(queue, handler)
    await passed(0.2)
    young = await queue.add("work", 1)
    await run(queue, handler)
    assert sorted(await queue.clean("150ms", state)) == [job.id for job in old]
    assert [job.id for job in await queue.get_jobs(state)] == [young.id]
    assert await queue.clean("1h", state) == []
    assert await queue.clean(0, state) == [young.id]


@pytest.mark.parametrize("options", [{}, {"priority": 3}, {"delay": "1h"}])
async def test_others_are_cleaned_by_when_they_were_added(queue: Queue, options: dict[str, Any]) -> None:
    old = await queue.add_bulk([("work", i) for i in range(700)], **options)
    large = await queue.add("work", "x" * 5_000, **options)
    await passed(0.2)
    young = await queue.add_bulk([("work", i) for i in range(700)], **options)
    state = await young[0].get_state()
    assert state != "unknown"
    assert set(await queue.clean("150ms", state)) == {large.id, *(job.id for job in old)}
    left = {job.id for job in await queue.get_jobs(state, 0, -1)}
    assert left == {job.id for job in young}
    counts = await queue.get_job_counts()
    assert counts[state] == 700


@pytest.mark.parametrize("size", [300, 10_300])
async def test_old_jobs_among_young_ones_are_found(
    queue: Queue, redis_client: redis.Redis, size: int
) -> None:
    """In a long list they leave as ghosts, which nobody counts, lists or claims."""
    some = await queue.add_bulk([("work", i) for i in range(200)], priority=3)
    await passed(0.2)
    young = await queue.add_bulk([("work", i) for i in range(size)])
    for job in some[::2]:
        await job.change_priority(0)
    for job in some[1::4]:
        await job.change_priority(0, lifo=True)
    old = {job.id for job in (*some[::2], *some[1::4])}
    assert set(await queue.clean("150ms", "waiting")) == old
    assert (await queue.get_job_counts("waiting"))["waiting"] == size
    assert {job.id for job in await queue.get_jobs("waiting", 0, -1)} == {job.id for job in young}
    await run(queue, ok, concurrency=50, remove_on_complete=False)
    assert redis_client.zcard(queue.keys["completed"]) == size + 50  # and those left with a priority
    assert not redis_client.exists(queue.keys["removed"])


@pytest.mark.parametrize("state", ["completed", "waiting", "prioritized"])
async def test_a_limit_bounds_what_is_cleaned(queue: Queue, state: State) -> None:
    options: dict[str, Any] = {"priority": 3} if state == "prioritized" else {}
    jobs = await queue.add_bulk([("work", i) for i in range(600)], **options)
    if state == "completed":
        await run(queue, ok)
    first = await queue.clean(0, state, limit=7)
    assert len(first) == 7
    assert len(await queue.clean(0, state, limit=550)) == 550
    assert len(await queue.clean(0, state)) == 43
    if state == "waiting":
        assert first == [job.id for job in jobs[:7]]


async def test_cleaned_jobs_are_told(queue: Queue) -> None:
    await queue.add_bulk([("work", i) for i in range(3)])
    await run(queue, ok)
    events = await heard(queue, (Cleaned, Removed), lambda: queue.clean(0))
    assert [event.count for event in events] == [3]
    job = await queue.add("work", 1)
    events = await heard(queue, (Cleaned, Removed), lambda: queue.clean(0, "waiting"))
    assert [type(event) for event in events] == [Removed, Cleaned]
    assert (events[0].job_id, events[0].prev) == (job.id, "waiting")


@pytest.mark.parametrize("state", ["active", "waiting-children", "done"])
async def test_nobody_cleans_what_belongs_to_others(queue: Queue, state: Any) -> None:
    with pytest.raises(InvalidOption, match=state):
        await queue.clean(0, state)
    with pytest.raises(InvalidOptionType):
        await queue.clean(1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_hundred_thousand_are_cleaned_without_a_long_call(
    private_server: PrivateServer, kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    server = private_server(kind, extra=("--slowlog-log-slower-than", "20000"))
    async with Queue("q", server.url) as queue:
        for _ in range(10):
            await queue.add_bulk([("work", i) for i in range(10_000)])
        await run(queue, ok, concurrency=1_000, remove_on_complete=False)
        with server.client() as client:
            client.config_resetstat()
            client.slowlog_reset()
            assert len(await queue.clean(0)) == 100_000
            slow = [entry["duration"] / 1000 for entry in client.slowlog_get(10)]
            mean = client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"] / 1000
            with capsys.disabled():
                print(f"\nclean of 100,000: {mean:.2f} ms a call; calls above 20 ms: {slow}")
            assert client.hlen(queue.keys["jobs"]) == 0


# Retry and promote many.


async def test_failed_jobs_run_again_oldest_first(queue: Queue) -> None:
    first = await queue.add_bulk([("work", i) for i in range(3)])
    await run(queue, fail)
    second = await queue.add_bulk([("work", i, {"priority": 4}) for i in range(1_100)])
    await run(queue, fail, concurrency=100)
    assert await queue.retry_jobs(limit=3) == 3
    assert {job.id for job in await queue.get_jobs("waiting")} == {job.id for job in first}
    assert await queue.retry_jobs() == 1_100
    counts = await queue.get_job_counts()
    assert (counts["prioritized"], counts["failed"]) == (len(second), 0)
    await run(queue, ok, concurrency=100, remove_on_complete=False)
    assert (await queue.get_job_counts("completed"))["completed"] == 1_103


async def test_jobs_that_fail_again_are_not_taken_twice(queue: Queue) -> None:
    await queue.add_bulk([("work", i) for i in range(1_500)])
    await run(queue, fail, concurrency=100)
    async with queue.process(fail, concurrency=100) as worker:
        assert await queue.retry_jobs() == 1_500
        await worker.wait_idle("20s")
    jobs = await queue.get_jobs("failed", 0, -1)
    assert {job.attempts_made for job in jobs} == {2}


async def test_only_those_that_finished_before_a_time(queue: Queue) -> None:
    old = await queue.add("work", 1)
    await run(queue, ok)
    finished = (await old.refresh()).finished_on
    assert finished is not None
    await passed(0.05)
    await queue.add("work", 2)
    await run(queue, ok)
    assert await queue.retry_jobs(state="completed", before=finished) == 0
    assert await queue.retry_jobs(state="completed", before=finished + 10) == 1
    assert await old.get_state() == "waiting"
    assert await queue.retry_jobs() == 0


async def test_delayed_jobs_are_promoted_in_the_order_of_their_times(queue: Queue) -> None:
    jobs = [await queue.add("work", i, delay=f"{9 - i}h") for i in range(5)]
    assert await queue.promote_jobs(limit=2) == 2
    assert {job.id for job in await queue.get_jobs("waiting")} == {jobs[3].id, jobs[4].id}
    await queue.add_bulk([("work", i, {"delay": "1h", "priority": 2}) for i in range(1_200)])
    assert await queue.promote_jobs() == 1_203
    counts = await queue.get_job_counts()
    assert (counts["waiting"], counts["prioritized"], counts["delayed"]) == (5, 1_200, 0)


async def test_moves_are_told(queue: Queue) -> None:
    job = await queue.add("work", 1)
    await run(queue, fail)
    events = await heard(queue, (Waiting,), job.retry)
    assert [(event.job_id, event.prev) for event in events] == [(job.id, "failed")]
    late = await queue.add("work", 1, delay="1h")
    events = await heard(queue, (Delayed,), lambda: late.change_delay(run_at=2_000_000_000_000))
    assert [(event.job_id, event.delay) for event in events] == [(late.id, 2_000_000_000_000)]
    events = await heard(queue, (Waiting,), queue.promote_jobs)
    assert [(event.job_id, event.prev) for event in events] == [(late.id, "delayed")]


# Counting and walking.


async def test_jobs_are_counted_by_priority(queue: Queue) -> None:
    for priority in (0, 0, 1, 5, 5, 5, 2_097_151):
        await queue.add("work", 1, priority=priority)
    counts = await queue.get_counts_per_priority([0, 1, 4, 5, 2_097_151])
    assert counts == {0: 2, 1: 1, 4: 0, 5: 3, 2_097_151: 1}
    with pytest.raises(InvalidOption):
        await queue.get_counts_per_priority([-1])


async def test_a_walk_comes_past_every_job_once(queue: Queue) -> None:
    jobs = await queue.add_bulk([("work", i) for i in range(1_030)])
    ranked = await queue.add_bulk([("work", i) for i in range(20)], priority=3)
    found = [job.id async for job in queue.iter_jobs(("waiting", "prioritized"), page=100)]
    assert sorted(found) == sorted(job.id for job in (*jobs, *ranked))
    assert found[0] == jobs[-1].id
    assert [job async for job in queue.iter_jobs("failed")] == []


async def test_pages_of_waiting_jobs_have_suspects_in_their_place(
    queue: Queue, redis_client: redis.Redis
) -> None:
    jobs = [job.id for job in await queue.add_bulk([("work", i) for i in range(10)])]
    for id in (b"\x012", b"\x011"):  # as a reaper puts them, the lowest at the head
        redis_client.rpop(queue.keys["waiting"])
        redis_client.rpush(queue.keys["suspects"], id)
    for ascending in (True, False):
        ordered = jobs if ascending else jobs[::-1]
        for start, end in (
            (0, -1),
            (0, 0),
            (1, 1),
            (1, 2),
            (0, 4),
            (5, 9),
            (7, 8),
            (9, 50),
            (10, 50),
            (-3, -1),
        ):
            found = await queue.get_jobs("waiting", start, end, ascending=ascending)
            assert [job.id for job in found] == ordered[start : None if end == -1 else end + 1]
    assert [job.id async for job in queue.iter_jobs("waiting", page=3)] == jobs[::-1]


async def test_a_walk_goes_on_behind_a_page_of_ghosts(queue: Queue) -> None:
    jobs = await queue.add_bulk([("work", i) for i in range(10_100)])
    for job in jobs[-40:-20]:
        await job.remove()
    found = [job.id async for job in queue.iter_jobs("waiting", page=10)]
    assert len(found) == 10_080
