"""Deduplication by the public API: every mode, when its key is free again, and what the others are told."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import redis

from bullrush import Deduplicated, Deduplication, Job, Queue
from tests.waiting import wait_until_async

KEY = "user 7/ü"


async def ok(job: Job) -> object:
    return job.data


async def fail(job: Job) -> None:
    raise LookupError("nobody of that name")


async def run(queue: Queue, handler: Any, **options: Any) -> None:
    async with queue.process(handler, **options) as worker:
        await worker.wait_idle("10s")


async def passed(seconds: float) -> None:
    start = time.monotonic()
    await wait_until_async(lambda: time.monotonic() > start + seconds)


SIMPLE = Deduplication(KEY)
THROTTLE = Deduplication(KEY, "1h", "throttle")
DEBOUNCE = Deduplication(KEY, "1h", "debounce")
REPLACE = Deduplication(KEY, mode="replace")
LAST = Deduplication(KEY, mode="keep-last")


# The modes.


async def test_simple_refuses_the_others_until_the_first_has_finished(queue: Queue) -> None:
    first = await queue.add("work", 1, deduplication=SIMPLE)
    second = await queue.add("work", 2, deduplication=SIMPLE)
    other = await queue.add("work", 3, deduplication=Deduplication("other"))
    assert (first.duplicate, second.duplicate, other.duplicate) == (False, "deduplication", False)
    assert (second.id, second.data) == (first.id, 1)
    assert (await queue.get_job_counts("waiting"))["waiting"] == 2
    assert await queue.get_deduplication_job_id(KEY) == first.id
    await run(queue, ok)
    assert await queue.get_deduplication_job_id(KEY) is None
    third = await queue.add("work", 3, deduplication=SIMPLE)
    assert not third.duplicate


async def test_simple_with_a_ttl_ends_with_it(queue: Queue) -> None:
    brief = Deduplication(KEY, "100ms")
    first = await queue.add("work", 1, deduplication=brief)
    assert (await queue.add("work", 2, deduplication=brief)).duplicate
    await passed(0.15)
    assert await queue.get_deduplication_job_id(KEY) is None
    second = await queue.add("work", 3, deduplication=brief)
    assert not second.duplicate
    # The end of the first frees nothing that is the second's.
    await first.remove()
    assert await queue.get_deduplication_job_id(KEY) == second.id


async def test_throttle_lasts_as_long_as_its_ttl_whatever_becomes_of_the_job(queue: Queue) -> None:
    first = await queue.add("work", 1, deduplication=THROTTLE)
    await run(queue, ok, remove_on_complete=True)
    assert await queue.get_job(first.id) is None
    again = await queue.add("work", 2, deduplication=THROTTLE)
    assert (again.duplicate, again.id) == ("deduplication", first.id)


async def test_debounce_lets_the_last_one_count(queue: Queue) -> None:
    jobs = [await queue.add("work", i, delay="1h", deduplication=DEBOUNCE) for i in range(3)]
    assert [job.duplicate for job in jobs] == [False, False, False]
    assert [job.id for job in await queue.get_jobs()] == [jobs[2].id]
    assert await queue.get_deduplication_job_id(KEY) == jobs[2].id
    await jobs[2].promote()
    assert (await queue.add("work", 3, delay="1h", deduplication=DEBOUNCE)).id == jobs[2].id


async def test_replace_lets_the_last_one_count_while_the_first_is_delayed(queue: Queue) -> None:
    first = await queue.add("work", 1, delay="1h", deduplication=REPLACE)
    second = await queue.add("work", 2, delay="1h", priority=3, deduplication=REPLACE)
    assert await first.get_state() == "unknown"
    await second.promote()
    third = await queue.add("work", 3, delay="1h", deduplication=REPLACE)
    assert (third.duplicate, third.id) == ("deduplication", second.id)
    await run(queue, ok)
    assert not (await queue.add("work", 4, deduplication=REPLACE)).duplicate


async def test_keep_last_runs_the_last_one_behind_the_first(queue: Queue) -> None:
    gate, seen = asyncio.Event(), list[object]()

    async def hold(job: Job) -> None:
        seen.append(job.data)
        await gate.wait()

    async with queue.process(hold) as worker:
        first = await queue.add("work", 1, deduplication=LAST)
        await wait_until_async(lambda: seen)
        assert (await queue.add("work", 2, deduplication=LAST)).id == first.id
        assert (await queue.add("work", 3, deduplication=LAST)).duplicate
        gate.set()
        await wait_until_async(lambda: len(seen) == 2)
        await worker.wait_idle("10s")
    assert seen == [1, 3]
    assert await queue.get_deduplication_job_id(KEY) is None


async def test_the_next_one_follows_a_failure_too(queue: Queue) -> None:
    await queue.add("work", 1, deduplication=LAST)
    await queue.add("work", 2, deduplication=LAST)
    seen: list[object] = []

    async def note(job: Job) -> None:
        seen.append(job.data)
        raise LookupError("no")

    await run(queue, note)
    assert seen == [1, 2]


# When a key is free again.


@pytest.mark.parametrize("handler", [ok, fail])
async def test_the_end_of_a_job_frees_its_key(queue: Queue, redis_client: redis.Redis, handler: Any) -> None:
    await queue.add("work", 1, deduplication=SIMPLE, attempts=2, backoff=0)
    await run(queue, handler)
    assert not redis_client.exists(queue.keys["dedup"])


@pytest.mark.parametrize("deduplication", [SIMPLE, THROTTLE, LAST], ids=["simple", "throttle", "keep-last"])
@pytest.mark.parametrize("how", ["remove", "cancel", "drain", "clean", "obliterate", "remove_deduplication"])
async def test_a_call_frees_the_key(queue: Queue, deduplication: Deduplication, how: str) -> None:
    job = await queue.add("work", 1, deduplication=deduplication)
    await queue.add("work", 2, deduplication=deduplication)
    calls = {
        "remove": job.remove,
        "cancel": job.cancel,
        "drain": queue.drain,
        "clean": lambda: queue.clean(0, "waiting"),
        "obliterate": lambda: queue.obliterate(force=True),
        "remove_deduplication": lambda: queue.remove_deduplication(KEY),
    }
    await calls[how]()
    assert await queue.get_deduplication_job_id(KEY) is None
    assert not await queue.remove_deduplication(KEY)
    assert not (await queue.add("work", 3, deduplication=deduplication)).duplicate


async def test_a_throttled_key_goes_with_a_cleaned_job_not_with_retention(queue: Queue) -> None:
    job = await queue.add("work", 1, deduplication=THROTTLE)
    await run(queue, ok)
    assert await queue.get_deduplication_job_id(KEY) == job.id
    assert await queue.clean(0) == [job.id]
    assert await queue.get_deduplication_job_id(KEY) is None


async def test_what_waits_behind_a_key_is_forgotten_with_it(queue: Queue) -> None:
    await queue.add("work", 1, deduplication=LAST)
    await queue.add("work", 2, deduplication=LAST)
    assert await queue.remove_deduplication(KEY)
    seen: list[object] = []

    async def note(job: Job) -> None:
        seen.append(job.data)

    await run(queue, note)
    assert seen == [1]


async def test_a_job_retried_by_hand_takes_its_key_again_if_that_is_free(queue: Queue) -> None:
    first = await queue.add("work", 1, deduplication=SIMPLE)
    await run(queue, fail)
    await first.retry()
    assert await queue.get_deduplication_job_id(KEY) == first.id
    assert (await queue.add("work", 2, deduplication=SIMPLE)).id == first.id
    await run(queue, fail)
    second = await queue.add("work", 2, deduplication=SIMPLE)
    await first.retry()
    assert await queue.get_deduplication_job_id(KEY) == second.id
    await run(queue, ok)
    assert await queue.get_deduplication_job_id(KEY) is None


async def test_a_throttled_job_retried_by_hand_holds_nobody_up_for_ever(queue: Queue) -> None:
    brief = Deduplication(KEY, "100ms", "throttle")
    job = await queue.add("work", 1, deduplication=brief)
    await run(queue, fail)
    await passed(0.15)
    await job.retry()
    await run(queue, ok)
    assert not (await queue.add("work", 2, deduplication=brief)).duplicate


# What others are told.


async def test_a_second_caller_waits_for_the_first_ones_result(queue: Queue) -> None:
    await queue.add("work", "first", deduplication=SIMPLE)
    second = await queue.add("work", "second", deduplication=SIMPLE)
    assert second.duplicate == "deduplication"
    waiting = asyncio.create_task(second.result("10s"))
    await run(queue, ok)
    assert await waiting == "first"


async def test_many_at_once_store_one(queue: Queue) -> None:
    jobs = await asyncio.gather(*(queue.add("work", i, deduplication=SIMPLE) for i in range(50)))
    assert len({job.id for job in jobs}) == 1
    assert sum(not job.duplicate for job in jobs) == 1
    bulk = await queue.add_bulk([("work", i) for i in range(50)], deduplication=Deduplication("bulk"))
    assert len({job.id for job in bulk}) == 1


@pytest.mark.parametrize("replacing", [False, True])
async def test_the_event_names_the_winner(queue: Queue, replacing: bool) -> None:
    options: dict[str, Any] = {"delay": "1h", "deduplication": REPLACE if replacing else SIMPLE}
    async with queue.events(kinds=(Deduplicated,)) as events:
        first = await queue.add("work", 1, **options)
        second = await queue.add("work", 2, **options)
        event = await anext(aiter(events))
    assert isinstance(event, Deduplicated)
    assert event.deduplication_id == KEY
    if replacing:
        assert (event.job_id, event.deduplicated_job_id) == (second.id, first.id)
    else:
        assert event.job_id == first.id
        assert event.deduplicated_job_id != first.id


async def test_keys_whose_time_is_over_leave(queue: Queue, redis_client: redis.Redis) -> None:
    for i in range(5):
        await queue.add("work", i, deduplication=Deduplication(f"key {i}", "50ms"))
    await passed(0.1)
    await queue.add("work", 9, deduplication=Deduplication("another"))
    assert redis_client.hkeys(queue.keys["dedup"]) == [b"kanother"]
    assert not redis_client.exists(queue.keys["expiries"])


async def test_a_worker_finds_the_next_one_at_once(queue: Queue) -> None:
    """It is stored by the end of the one before, not by an add."""
    async with queue.process(ok) as worker:
        for i in range(20):
            await queue.add("work", i, deduplication=LAST)
        await worker.wait_idle("10s")
    assert (await queue.get_job_counts("waiting"))["waiting"] == 0
