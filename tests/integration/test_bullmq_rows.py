"""Rows of docs/bullmq.md that no other test backs: what a user of BullMQ does, done with bullrush."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from bullrush import (
    Active,
    Added,
    Backoff,
    Batch,
    Consumer,
    Deduplicated,
    Deduplication,
    Delayed,
    Drained,
    Duplicated,
    Failed,
    Gap,
    InvalidOption,
    Job,
    JobCancelled,
    JobFailed,
    JobIsActive,
    Queue,
    QueueEvents,
    RetryLater,
    Stalled,
    WaitForChildren,
    Waiting,
)
from tests.hearing import heard
from tests.lua.script_calls import NUMBER, ScriptQueue
from tests.waiting import wait_until_async


async def ok(job: Job) -> str:
    return "ok"


async def fail(job: Job) -> None:
    raise LookupError("nobody of that name")


async def forever(job: Job) -> None:
    await asyncio.Event().wait()


async def run(queue: Queue, handler: Any, **options: Any) -> None:
    async with queue.process(handler, **options) as worker:
        await worker.wait_idle("10s")


# Queues.


async def test_prefixes_keep_queues_of_one_name_apart(url: str, redis_client: redis.Redis) -> None:
    async with Queue("q", url, prefix="one") as one, Queue("q", url, prefix="{two}") as two:
        await one.add("work", 1)
        await two.add("work", 2)
        assert [job.data for job in await one.get_jobs()] == [1]
        assert [job.data for job in await two.get_jobs()] == [2]
    assert redis_client.exists("{one:q}:jobs", "{two}:q:jobs") == 2


async def test_defaults_hold_for_every_way_to_add_and_options_win(url: str, prefix: str) -> None:
    async with Queue("q", url, prefix=prefix, defaults={"attempts": 3, "priority": 5}) as queue:
        single = await queue.add("work")
        bulk = await queue.add_bulk([("work", 1), ("work", 2, {"attempts": 7})], priority=6)
        assert await queue.add_stream([("work", 3)]) == 1
        last = (await queue.get_jobs("prioritized", 0, 0, ascending=True))[0]
    assert [(job.attempts, job.priority) for job in (single, *bulk)] == [(3, 5), (3, 6), (7, 6)]
    assert (last.attempts, last.priority) == (3, 5)


async def test_ping_says_whether_the_server_answers(queue: Queue) -> None:
    assert 0 < await queue.ping() < 10_000


async def test_the_state_of_everything_can_be_counted(queue: Queue, redis_client: redis.Redis) -> None:
    await run_one_of_each_end(queue)
    async with queue.process(forever) as worker:
        active = await queue.add("work")
        await wait_until_async(lambda: worker.jobs)
        await queue.pause()
        jobs = {
            "waiting": await queue.add("work"),
            "prioritized": await queue.add("work", priority=3),
            "delayed": await queue.add("work", delay="1h"),
            "active": active,
        }
        expected = dict.fromkeys(("waiting", "prioritized", "delayed", "active", "completed", "failed"), 1)
        assert await queue.get_job_counts() == {**expected, "waiting-children": 0}
        assert await queue.get_job_counts("delayed", "failed") == {"delayed": 1, "failed": 1}
        assert await queue.count() == 3
        for state, job in jobs.items():
            assert await queue.get_state(job.id) == await job.get_state() == state
            assert [found.id for found in await queue.get_jobs(state)] == [job.id]  # type: ignore[arg-type]
        await worker.close(force=True)
    assert await queue.get_state("nobody") == "unknown"


async def run_one_of_each_end(queue: Queue) -> None:
    await queue.add_bulk([("good", 1), ("bad", 2)])
    await run(queue, {"good": ok, "bad": fail})


async def test_finished_jobs_are_listed_newest_first_page_by_page(queue: Queue) -> None:
    ids = []
    for number in range(5):
        ids.append((await queue.add("work", number)).id)
        await run(queue, ok)
    assert [job.id for job in await queue.get_jobs("completed", 0, 1)] == [ids[4], ids[3]]
    assert [job.id for job in await queue.get_jobs("completed", 2, 3)] == [ids[2], ids[1]]
    assert [job.id for job in await queue.get_jobs("completed", 0, -1, ascending=True)] == ids


# Options of jobs.


async def test_a_delay_of_nothing_waits_and_a_negative_one_is_refused(queue: Queue) -> None:
    job = await queue.add("work", delay=0)
    assert await job.get_state() == "waiting"
    with pytest.raises(InvalidOption, match="delay"):
        await queue.add("work", delay=-5)


async def test_lifo_is_for_jobs_without_a_priority(queue: Queue) -> None:
    for name, options in (("a", {}), ("ranked", {"priority": 1}), ("ranked too", {"priority": 1})):
        await queue.add(name, lifo=True, **options)  # type: ignore[arg-type]
    await queue.add("b", lifo=True)
    seen: list[str] = []

    async def note(job: Job) -> None:
        seen.append(job.name)

    await run(queue, note)
    assert seen == ["b", "a", "ranked", "ranked too"]


async def test_logs_and_stacks_are_kept_up_to_their_limits(queue: Queue) -> None:
    async def talk(job: Job) -> None:
        for number in range(10):
            job.log(f"line {number}")
        raise LookupError("no")

    job = await queue.add("work", keep_logs=3, stack_trace_limit=2)
    none = await queue.add("work", stack_trace_limit=0)
    await run(queue, talk)
    assert await job.get_logs() == (["line 7", "line 8", "line 9"], 3)
    assert len((await job.refresh()).stacktrace) == 2
    assert (await none.refresh()).stacktrace == []
    assert none.failed_reason == "no"


async def test_a_strategy_of_ones_own_decides_about_the_next_attempt(queue: Queue) -> None:
    """0 is at once, None gives up; in BullMQ that is -1."""
    asked: list[tuple[int, str]] = []

    def strategy(attempt: int, error: BaseException) -> int | None:
        asked.append((attempt, str(error)))
        return 0 if attempt < 3 else None

    job = await queue.add("work", attempts=10, backoff=Backoff.custom("mine"))
    await run(queue, fail, backoffs={"mine": strategy})
    assert asked == [(n, "nobody of that name") for n in (1, 2, 3)]
    assert ((await job.refresh()).state, job.attempts_made) == ("failed", 3)


# Handlers that go back.


async def test_a_job_goes_back_to_the_line_without_charge(queue: Queue) -> None:
    """moveToWait and WaitingError of BullMQ."""
    starts: list[str] = []

    async def second_time(job: Job) -> str:
        starts.append(job.name)
        if len(starts) == 1:
            raise RetryLater()
        return "done"

    job = await queue.add("first")
    await queue.add("second")
    await run(queue, second_time)
    assert sorted(starts) == ["first", "first", "second"]
    await job.refresh()
    assert (job.state, job.attempts_made, job.returnvalue) == ("completed", 0, "done")


async def test_jobs_are_fetched_and_settled_by_hand(queue: Queue) -> None:
    """getNextJob, moveToCompleted, moveToFailed, moveToDelayed of BullMQ: no tokens, no locks to extend."""
    jobs = await queue.add_bulk([("work", i) for i in range(4)])
    async with Consumer(queue, prefetch=4) as consumer:
        good, bad, later, back = await consumer.fetch(4, timeout="10s")
        good.complete("value")
        bad.fail("reason", retry=False)
        later.retry_later("1h")
        back.release()
        await consumer.flush()
    states = [await job.get_state() for job in jobs]
    assert states == ["completed", "failed", "delayed", "waiting"]


async def test_all_jobs_of_a_worker_are_cancelled(queue: Queue) -> None:
    """cancelAllJobs of BullMQ; and it makes no difference which process asks."""
    jobs = await queue.add_bulk([("work", i) for i in range(3)], attempts=5)
    async with queue.process(forever, concurrency=3) as worker:
        await wait_until_async(lambda: len(worker.jobs) == 3)
        assert [await job.cancel("enough") for job in worker.jobs] == ["signalled"] * 3
        for job in jobs:
            with pytest.raises(JobCancelled, match="enough"):
                await job.result("10s")
    assert [(await job.refresh()).attempts_made for job in jobs] == [1, 1, 1]


async def test_a_job_that_runs_is_not_removed(queue: Queue) -> None:
    async with queue.process(forever) as worker:
        job = await queue.add("work")
        await wait_until_async(lambda: worker.jobs)
        with pytest.raises(JobIsActive):
            await job.remove()
        await job.cancel()
        with pytest.raises(JobFailed):
            await job.result("10s")
    assert await job.remove()
    assert not await queue.remove(job.id)


async def test_waiting_for_children_fails_with_that_reason(queue: Queue) -> None:
    """Before there are flows nobody would wake the job, so it must not wait."""

    async def wait(job: Job) -> None:
        raise WaitForChildren

    job = await queue.add("work", attempts=5)
    await run(queue, wait)
    await job.refresh()
    assert (job.state, job.attempts_made) == ("failed", 1)
    assert "WaitForChildren is not available in this version" in str(job.failed_reason)


# Workers.


async def test_a_worker_tells_of_its_own_life(queue: Queue) -> None:
    heard: list[str] = []
    worker = queue.process(ok)
    worker.on("paused", lambda: heard.append("paused"))
    worker.on("resumed", lambda: heard.append("resumed"))
    worker.on("closed", lambda: heard.append("closed"))
    async with worker:
        assert worker.is_running
        await worker.pause()
        await worker.resume()
    assert heard == ["paused", "resumed", "closed"]
    assert not worker.is_running


def test_batches_are_refused_by_name(url: str) -> None:
    async def several(jobs: list[Job]) -> None:
        """Never run."""

    with pytest.raises(InvalidOption, match=r"batch=Batch.* not available in this version"):
        Queue("q", url).process(several, batch=Batch(10))


# Deduplication.


async def test_a_duplicate_can_be_put_off_instead(queue: Queue) -> None:
    """`reschedule` of BullMQ: the job that is delayed keeps its data and gets the new delay."""
    key = Deduplication("report")
    first = await queue.add("work", "first", delay="1h", deduplication=key)
    again = await queue.add("work", "second", delay="5h", deduplication=key)
    assert again.duplicate == "deduplication"
    await again.change_delay("5h")
    await first.refresh()
    assert first.data == "first"
    assert first.due_at.timestamp() - first.created_at.timestamp() > 17_000


# Events.


async def test_refused_jobs_are_told(queue: Queue) -> None:
    async def twice() -> None:
        for _ in range(2):
            await queue.add("work", job_id="a")
            await queue.add("work", deduplication=Deduplication("key"))

    events = await heard(queue, (Duplicated, Deduplicated), twice)
    assert {type(event) for event in events} == {Duplicated, Deduplicated}
    duplicated = next(event for event in events if isinstance(event, Duplicated))
    assert duplicated.job_id == "a"


async def test_delays_and_starts_are_told_with_what_was_before(queue: Queue) -> None:
    async def later_and_now() -> None:
        delayed = await queue.add("work", delay="1h")
        await delayed.promote()
        await run(queue, ok)

    events = await heard(queue, (Added, Delayed, Waiting, Active, Drained), later_and_now)
    assert [type(event) for event in events] == [Added, Delayed, Waiting, Active, Drained]
    added, delayed, waiting, *_ = events
    assert (delayed.job_id, waiting.prev) == (added.job_id, "delayed")
    assert delayed.delay > added.at + 3_000_000, "the time it is due, in ms since the epoch"


async def test_jobs_of_a_dead_worker_are_told(queue: Queue, redis_client: redis.Redis, prefix: str) -> None:
    job = await queue.add("work")
    dead = ScriptQueue(redis_client, prefix)
    dead.register("dead", lease=1_000)
    assert dead.claim(1) == [job.id]
    deadline = redis_client.zscore(queue.keys["workers"], NUMBER)

    async def reap() -> None:
        dead.run("reap", NUMBER, f"{deadline:.0f}", 500, 2, 100, -1, held=dead.held)

    events = await heard(queue, (Stalled, Failed), reap)
    assert [(type(event), event.job_id) for event in events] == [(Stalled, job.id)]
    assert await job.get_state() == "waiting"


async def test_events_go_on_where_a_reader_left_off(queue: Queue, url: str, prefix: str) -> None:
    """lastEventId of BullMQ; what is gone by then is told."""
    async with QueueEvents("q", url, prefix=prefix, kinds=[Added]) as events:
        first = await queue.add("work", 1)
        seen = await anext(aiter(events))
        assert isinstance(seen, Added)
        assert seen.job_id == first.id
    second = await queue.add("work", 2)
    async with QueueEvents("q", url, prefix=prefix, kinds=[Added, Gap], after=seen.id) as events:
        following = await anext(aiter(events))
    assert isinstance(following, Added)
    assert following.job_id == second.id
