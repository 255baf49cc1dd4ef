"""Mistakes of BullMQ for Node that must not be here: drain, obliterate, retries, duplicates, lost events, waits.

Each docstring says what goes wrong there. What its job schedulers and flows get wrong is tested as far as it
has a counterpart without these.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis

from bullrush import (
    Added,
    Deduplication,
    InvalidOption,
    Job,
    JobRemoved,
    Keep,
    Queue,
    RateLimit,
    Waiting,
    sync,
)
from tests.lua.script_calls import ScriptQueue
from tests.waiting import wait_until_async


async def echo(job: Job) -> object:
    return job.data


async def fail(job: Job) -> None:
    raise LookupError("nobody of that name")


async def forever(job: Job) -> None:
    await asyncio.Event().wait()


async def run(queue: Queue, handler: Any, **options: Any) -> None:
    async with queue.process(handler, **options) as worker:
        await worker.wait_idle("30s")


async def order(queue: Queue) -> list[object]:
    """Run everything that waits, one after the other; the data in the order of the starts."""
    seen: list[object] = []

    async def note(job: Job) -> None:
        seen.append(job.data)

    await run(queue, note)
    return seen


LAST = Deduplication("report", mode="keep-last")
LATER: dict[str, Any] = {"delay": "1h"}


async def fill(queue: Queue) -> None:
    """One of everything that can wait."""
    retried = await queue.add("work", "retried", attempts=2, backoff=0)
    await run(queue, fail)
    await retried.retry()
    await queue.add("work", "plain")
    await queue.add("work", "head", lifo=True)
    await queue.add("work", "large" * 2_000)
    await queue.add("work", "named", job_id="named")
    await queue.add("work", "ranked", priority=3)
    await queue.add("work", "ranked and named", priority=3, job_id="ranked")
    await queue.add("work", "first", deduplication=LAST)
    await queue.add("work", "behind the first", deduplication=LAST)
    await queue.add("work", "throttled", deduplication=Deduplication("mail", "1h", "throttle"))
    await queue.add("work", "later", **LATER)
    debounced = Deduplication("typing", "1h", "debounce")
    for text in ("a", "ab"):
        await queue.add("work", text, delay="1h", deduplication=debounced)
    moved = await queue.add("work", "moved")
    await moved.change_priority(7)
    talked = await queue.add("work", "talked")
    await queue.add_job_log(talked.id, "a line")
    await queue.update_job_progress(talked.id, 5)


def dangling(client: redis.Redis, queue: Queue) -> set[bytes]:
    """Ids that stand in a line although there is no such job."""
    lists = [queue.keys["waiting"], queue.keys["suspects"]]
    standing = {element.lstrip(b"\x01\x02") for key in lists for element in client.lrange(key, 0, -1)}
    for name in ("prioritized", "delayed", "completed", "failed"):
        standing |= set(client.zrange(queue.keys[name], 0, -1))
    known = set(client.hkeys(queue.keys["jobs"])) | client.smembers(queue.keys["removed"])
    return standing - known


# Drain.


@pytest.mark.parametrize("paused", [False, True])
async def test_drain_leaves_no_id_behind_and_the_queue_works_on(
    queue: Queue, redis_client: redis.Redis, paused: bool
) -> None:
    """Node (a): drain with a scheduler's job in line left an id without a job, and the scheduler dead."""
    await fill(queue)
    if paused:
        await queue.pause()
    ghosts = await queue.add_bulk([("work", i) for i in range(10_100)])
    await ghosts[20].remove()
    assert await queue.drain() > 10_100
    assert dangling(redis_client, queue) == set()
    assert await queue.get_job_counts("waiting", "prioritized", "delayed") == {
        "waiting": 0,
        "prioritized": 0,
        "delayed": 2,
    }
    assert await queue.drain(delayed=True) == 2
    kept = ["jobs", "plans", "attempts", "outcomes", "progress", "logs", "logged", "dedup"]
    left = {name for name in kept if redis_client.exists(queue.keys[name])}
    assert left == set()
    await queue.resume()
    # Every id and every key is free again.
    await fill(queue)
    assert len(await order(queue)) == 12
    assert dangling(redis_client, queue) == set()


# Twice on a paused queue.


async def test_adding_twice_to_a_paused_queue_adds_once(queue: Queue) -> None:
    """Node (b): the same scheduler, put twice into a paused queue, made two jobs."""
    await queue.pause()
    for _ in range(2):
        await queue.add("work", "named", job_id="named")
        await queue.add("work", "one key", deduplication=Deduplication("key"))
        await queue.add("work", "delayed", delay=1, deduplication=Deduplication("later", mode="replace"))
    assert await queue.count() == 3
    await queue.resume()
    assert sorted(map(str, await order(queue))) == ["delayed", "named", "one key"]


# Obliterate.


async def live(queue: Queue, url: str, prefix: str) -> None:
    """Use every feature that leaves something on the server."""
    await queue.set_global_concurrency(50)
    await queue.set_global_rate_limit(RateLimit(1_000, "1h"))
    async with queue.events() as events:
        await queue.publish_event("deployed", 7)
        await anext(aiter(events))
    async with queue.process({"work": echo, "fail": fail, "forever": forever}, concurrency=20) as worker:
        job = await queue.add("work", 1, keep_logs=3)
        assert await job.result("10s") == 1
        await queue.add("fail", 2, attempts=2, backoff="1h", deduplication=Deduplication("failing", "1h"))
        running = await queue.add("forever", 3, expires_in="1h", timeout="1h")
        await wait_until_async(lambda: [job for job in worker.jobs if job.id == running.id])
        assert await queue.cancel(running.id) == "signalled"
        await wait_until_async(lambda: is_failed(running))
    async with Queue("q", url, prefix=prefix) as other:
        await other.pause()
        await fill_paused(other)
        await other.rate_limit("1h")


async def is_failed(job: Job) -> bool:
    return await job.get_state() == "failed"


async def fill_paused(queue: Queue) -> None:
    await queue.add("work", "named", job_id="named")
    await queue.add("work", "first", deduplication=LAST)
    await queue.add("work", "behind the first", deduplication=LAST)
    await queue.add("work", "ranked", priority=3)
    ghosts = await queue.add_bulk([("work", i) for i in range(10_100)])
    await ghosts[5_000].remove()
    await queue.add_job_log("named", "a line")
    await queue.update_job_progress("named", 5)


@pytest.mark.parametrize("held", [False, True], ids=["idle", "a worker holds jobs"])
async def test_obliterate_leaves_no_key_whatever_was_used(
    url: str, prefix: str, redis_client: redis.Redis, held: bool
) -> None:
    """Node (c): obliterate left waiting parents, their dependencies and the key of the limiter behind."""
    async with Queue("q", url, prefix=prefix) as queue:
        await live(queue, url, prefix)
    used = {key.rpartition(b":")[2] for key in redis_client.scan_iter()}
    assert {b"limiter", b"dedup", b"expiries", b"logs", b"progress", b"removed", b"metrics"} <= used
    with sync.Queue("q", url, prefix=prefix) as blocking:
        if held:
            blocking.resume()
            blocking.rate_limit(None)
            dead = ScriptQueue(redis_client, prefix)
            dead.register("dead")
            assert dead.claim(5)
            assert dead.run("signal", "77", "named\0why", held=[dead.keys.signals("77")]) == 1
            assert redis_client.exists(dead.keys.held("77"), dead.keys.signals("77")) == 2
        blocking.obliterate(force=held)
        assert redis_client.keys() == []
    assert redis_client.keys() == [], "closing made keys"


# Priorities.


async def test_jobs_that_are_retried_or_promoted_together_keep_their_priorities(queue: Queue) -> None:
    """Node (d): retryJobs and promoteJobs forgot them and put every job into the plain line."""
    priorities = (5, 0, 9, 1)
    await queue.add_bulk([("work", p, {"priority": p}) for p in priorities])
    await run(queue, fail)
    assert await queue.retry_jobs() == 4
    assert await queue.get_counts_per_priority(priorities) == dict.fromkeys(priorities, 1)
    assert await order(queue) == [0, 1, 5, 9]
    await queue.add_bulk([("work", p, {"priority": p, "delay": "1h"}) for p in priorities])
    assert await queue.promote_jobs() == 4
    assert await queue.get_counts_per_priority(priorities) == dict.fromkeys(priorities, 1)
    assert await order(queue) == [0, 1, 5, 9]


# Children.


@pytest.mark.parametrize("options", [{"on_child_failure": "continue"}, {"continueParentOnFailure": True}])
async def test_what_becomes_of_parents_is_refused_and_never_half_done(
    queue: Queue, redis_client: redis.Redis, options: dict[str, Any]
) -> None:
    """Node (e): a parent that continues failed unless its handler removed the children first."""
    with pytest.raises(InvalidOption) as caught:
        await queue.add("work", 1, **options)
    assert caught.value.took_effect is False
    assert redis_client.keys() == []


# Events.


async def test_nothing_is_lost_between_entering_and_the_first_read(queue: Queue) -> None:
    """Node (f), issues 2874, 2517, 1270: what came between "ready" and the first read was lost."""
    for number in range(30):
        async with queue.events(kinds=(Added,)) as events:
            job = await queue.add("work", number)
            first = await anext(aiter(events))
            assert isinstance(first, Added)
            assert first.job_id == job.id


async def test_nothing_is_lost_between_reads_of_an_idle_queue(url: str, prefix: str) -> None:
    """Node (f) too: as long as no event had come, each read began anew at the end of the stream."""
    async with Queue("q", url, prefix=prefix) as queue, Queue("q", url, prefix=prefix) as writer:  # noqa: SIM117
        async with queue.events(kinds=(Added, Waiting)) as events:
            assert await events.get("100ms") is None
            jobs = [await writer.add("work", number) for number in range(50)]
            heard = [await anext(aiter(events)) for _ in range(100)]
    assert [event.job_id for event in heard if isinstance(event, Added)] == [job.id for job in jobs]


# Duplicates.


@pytest.mark.parametrize("state", ["waiting", "prioritized", "delayed", "active", "completed", "failed"])
async def test_a_duplicate_shows_what_is_stored(queue: Queue, state: str) -> None:
    """Node (g): the job that came back for an id in use carried the data that had just been refused."""
    options: dict[str, dict[str, Any]] = {"prioritized": {"priority": 3}, "delayed": {"delay": "1h"}}
    await queue.add("first", "stored", job_id="a", attempts=1, **options.get(state, {}))
    if state in ("completed", "failed"):
        await run(queue, echo if state == "completed" else fail)
    async with AsyncExitStack() as stack:
        if state == "active":
            worker = await stack.enter_async_context(queue.process(forever))
            stack.callback(lambda: [job._cancel("the end") for job in worker.jobs])
            await wait_until_async(lambda: worker.jobs)
        again = await queue.add("second", "refused", job_id="a", attempts=7)
        assert (again.duplicate, again.id) == ("id", "a")
        assert (again.name, again.data, again.attempts) == ("first", "stored", 1)
        assert await again.get_state() == state
    assert len(await queue.get_jobs()) == 1


async def test_a_duplicate_in_a_bulk_shows_what_is_stored(queue: Queue) -> None:
    """Node (g), with many at once."""
    first = await queue.add("work", "stored", job_id="a", deduplication=Deduplication("key"))
    named, keyed, fresh = await queue.add_bulk(
        [
            ("work", "refused", {"job_id": "a"}),
            ("work", "refused", {"deduplication": Deduplication("key")}),
            ("work", "fresh"),
        ]
    )
    assert [(job.id, job.data) for job in (named, keyed)] == [(first.id, "stored")] * 2
    assert (named.duplicate, keyed.duplicate, fresh.duplicate) == ("id", "deduplication", False)


# Waits.


@pytest.mark.parametrize("how", ["remove", "cancel", "drain", "clean", "obliterate", "replaced"])
async def test_a_wait_ends_when_its_job_is_removed(queue: Queue, how: str) -> None:
    """Issue 2341: waitUntilFinished never ended when the job was removed meanwhile."""
    replaceable = Deduplication("key", mode="replace")
    job = await queue.add("work", 1, delay="1h", deduplication=replaceable)
    waiting = asyncio.create_task(job.result("60s"))
    await wait_until_async(lambda: queue._results)
    calls = {
        "remove": job.remove,
        "cancel": job.cancel,
        "drain": lambda: queue.drain(delayed=True),
        "clean": lambda: queue.clean(0, "delayed"),
        "obliterate": lambda: queue.obliterate(force=True),
        "replaced": lambda: queue.add("work", 2, delay="1h", deduplication=replaceable),
    }
    await calls[how]()
    with pytest.raises(JobRemoved):
        await asyncio.wait_for(waiting, 20)


async def test_a_wait_for_a_job_that_is_not_kept_gets_its_value(queue: Queue) -> None:
    """Issue 2341: nor when retention took the job before the wait had looked."""
    async with queue.process(echo, concurrency=5):
        jobs = [await queue.add("work", i, remove_on_complete=Keep(count=0), delay=50) for i in range(5)]
        assert await queue.gather(jobs, timeout="20s") == list(range(5))
        assert (await queue.get_job_counts("completed"))["completed"] == 0


# Delays.


async def test_a_delayed_job_wakes_a_worker_that_sleeps(url: str, prefix: str) -> None:
    """Issues 2466, 3103: delayed jobs stayed where they were while all workers slept."""
    async with Queue("q", url, prefix=prefix) as queue, Queue("q", url, prefix=prefix) as other:  # noqa: SIM117
        async with queue.process(echo) as worker:
            await worker.wait_idle("10s")
            jobs = [await other.add("work", i, delay=20 * i) for i in range(10)]
            assert await other.gather(jobs, timeout="20s") == list(range(10))
