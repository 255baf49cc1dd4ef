"""Handlers of every kind: what they get, where they run, and what becomes of their jobs."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections import Counter
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta

import pytest

from bullrush import (
    Backoff,
    Job,
    JobSpec,
    Queue,
    RetryLater,
    UnrecoverableError,
    sync,
)
from tests.waiting import wait_until_async


async def double(job: Job) -> int:
    await asyncio.sleep(0)
    return job.data * 2


def triple(job: sync.Job) -> int:
    assert threading.current_thread() is not threading.main_thread()
    return job.data * 3


class Callable:
    async def __call__(self, job: Job) -> int:
        return job.data * 5


async def add(n: int, job: Job) -> int:
    return job.data + n


def returns_an_awaitable(job: sync.Job) -> Awaitable[int]:
    async def later() -> int:
        assert threading.current_thread() is threading.main_thread()
        return job.data * 7

    return later()


async def outcome_of(queue: Queue, handler: object, **options: object) -> Job:
    """Add one job, work it off, and return it as it ended."""
    job = await queue.add("work", 10, **options)  # type: ignore[arg-type]
    async with queue.process(handler) as worker:  # type: ignore[arg-type]
        await worker.wait_idle("10s")
    return await job.refresh()


@pytest.mark.parametrize(
    ("handler", "value"),
    [
        (double, 20),
        (triple, 30),
        (Callable(), 50),
        (functools.partial(add, 7), 17),
        (functools.partial(functools.partial(add, 1)), 11),
        (returns_an_awaitable, 70),
    ],
)
async def test_every_kind_of_handler(queue: Queue, handler: object, value: int) -> None:
    job = await outcome_of(queue, handler)
    assert (job.state, job.returnvalue, job.failed_reason) == ("completed", value, None)
    assert (job.attempts_made, job.attempts_started) == (0, 1)
    assert job.created_at and job.started_at and job.finished_at
    assert job.created_at <= job.started_at <= job.finished_at
    assert abs(job.finished_at - datetime.now(UTC)) < timedelta(seconds=30)


async def test_handlers_get_the_job_of_their_world(queue: Queue) -> None:
    seen: dict[str, tuple[type, int]] = {}

    async def on_loop(job: Job) -> None:
        seen[job.name] = type(job), job.data

    def in_thread(job: sync.Job) -> None:
        seen[job.name] = type(job), job.data

    await queue.add_bulk([("a", 1), ("b", 2), ("a", 3)])
    async with queue.process({"a": on_loop, "b": in_thread}, concurrency=3) as worker:
        await worker.wait_idle("10s")
    assert seen == {"a": (Job, 3), "b": (sync.Job, 2)}


async def test_unknown_names_wait_for_a_worker_that_knows_them(queue: Queue) -> None:
    unhandled = list[str]()
    done = Counter[str]()

    async def handle(job: Job) -> None:
        done[job.name] += 1

    known, unknown = await queue.add_bulk([("known", 1), ("unknown", 2)])
    worker = queue.process({"known": handle})
    worker.on("unhandled", unhandled.append)
    async with worker:
        await wait_until_async(lambda: unhandled and done)
        await wait_until_async(functools.partial(is_state, queue, unknown.id, "delayed"))
        assert (done, unhandled) == ({"known": 1}, ["unknown"])
        async with queue.process({"unknown": handle}) as other:
            await wait_until_async(lambda: done["unknown"] == 1, 10)
            await other.wait_idle("5s")
    job = await unknown.refresh()
    assert (job.state, job.attempts_made, job.crashes) == ("completed", 0, 0)
    assert (await known.refresh()).state == "completed"


async def is_state(queue: Queue, job_id: str, state: str) -> bool:
    return await queue.get_state(job_id) == state


async def test_unknown_names_fail_where_that_is_asked_for(queue: Queue) -> None:
    job = await queue.add("unknown", 1, attempts=3)
    async with queue.process({"known": double}, unknown="fail") as worker:
        await worker.wait_idle("10s")
    await job.refresh()
    assert job.state == "failed"
    assert "'unknown'" in str(job.failed_reason)


@pytest.mark.parametrize("threaded", [False, True])
async def test_concurrency_is_reached_and_never_exceeded(queue: Queue, threaded: bool) -> None:
    lock = threading.Lock()
    running, most = 0, 0

    def change(by: int) -> None:
        nonlocal running, most
        with lock:
            running += by
            most = max(most, running)

    async def on_loop(job: Job) -> None:
        change(1)
        await asyncio.sleep(0.004)  # time is the subject
        change(-1)

    def in_thread(job: sync.Job) -> None:
        change(1)
        time.sleep(0.004)  # time is the subject
        change(-1)

    await queue.add_bulk([("work", i) for i in range(300)])
    async with queue.process(in_thread if threaded else on_loop, concurrency=6) as worker:
        await worker.wait_idle("20s")
    assert most == 6


async def test_a_failed_attempt_is_repeated_after_its_backoff(queue: Queue) -> None:
    starts = list[float]()

    async def fail_twice(job: Job) -> str:
        starts.append(time.monotonic())
        assert job.attempts_made == len(starts) - 1
        assert job.attempts_started == len(starts)
        assert job.is_last_attempt is (len(starts) == 3)
        if len(starts) < 3:
            raise OSError(f"attempt {len(starts)}")
        return "done"

    job = await queue.add("work", 1, attempts=3, backoff=Backoff.steps("100ms", "300ms"))
    retrying = list[str]()
    failed = list[str]()
    worker = queue.process(fail_twice)
    worker.on("retrying", lambda job, error: retrying.append(str(error)))
    worker.on("failed", lambda job, error: failed.append(str(error)))
    async with worker:
        await wait_until_async(lambda: len(starts) == 3)
        await worker.wait_idle("5s")
    await job.refresh()
    assert (job.state, job.returnvalue, job.attempts_made) == ("completed", "done", 2)
    assert 0.1 <= starts[1] - starts[0] < 2
    assert 0.3 <= starts[2] - starts[1] < 2
    assert (retrying, failed) == (["attempt 1", "attempt 2"], [])


async def raise_deep(job: Job) -> None:
    def inner() -> None:
        raise LookupError("nobody of that name")

    inner()


async def test_the_last_failure_leaves_reason_and_stack(queue: Queue) -> None:
    job = await outcome_of(queue, raise_deep, attempts=2, backoff=0)
    assert (job.state, job.attempts_made) == ("failed", 2)
    assert (job.failed_reason, job.error_type) == ("nobody of that name", "LookupError")
    assert any("raise_deep" in line for line in job.stacktrace)
    assert "LookupError: nobody of that name" in job.stacktrace[-1]


async def test_an_unrecoverable_error_ends_it(queue: Queue) -> None:
    async def give_up(job: Job) -> None:
        raise UnrecoverableError("no such mailbox")

    job = await outcome_of(queue, give_up, attempts=5)
    assert (job.state, job.attempts_made, job.failed_reason) == ("failed", 1, "no such mailbox")


async def test_never_retry_ends_it(queue: Queue) -> None:
    job = await queue.add("work", 1, attempts=5)
    async with queue.process(raise_deep, never_retry=(LookupError,)) as worker:
        await worker.wait_idle("10s")
    await job.refresh()
    assert (job.state, job.attempts_made) == ("failed", 1)


async def test_a_value_that_cannot_be_stored_fails_the_job_once(queue: Queue) -> None:
    async def strange(job: Job) -> object:
        return {"answer": object()}

    job = await outcome_of(queue, strange, attempts=3)
    assert (job.state, job.error_type, job.attempts_made) == ("failed", "CodecError", 1)
    assert "answer" in str(job.failed_reason)


async def test_retry_later_costs_no_attempt(queue: Queue) -> None:
    starts = list[float]()

    async def not_yet(job: Job) -> str:
        starts.append(time.monotonic())
        if len(starts) < 3:
            raise RetryLater("100ms")
        return "done"

    job = await queue.add("work", 1)
    async with queue.process(not_yet) as worker:
        await wait_until_async(lambda: len(starts) == 3)
        await worker.wait_idle("5s")
    await job.refresh()
    assert (job.state, job.attempts_made) == ("completed", 0)
    assert starts[1] - starts[0] >= 0.1


async def test_delayed_jobs_start_when_they_are_due(queue: Queue) -> None:
    began = time.monotonic()
    starts = dict[str, float]()

    async def note(job: Job) -> None:
        starts[job.name] = time.monotonic() - began

    async with queue.process(note, concurrency=10) as worker:
        await queue.add("second", delay="600ms")
        await queue.add("first", run_at=datetime.now(UTC) + timedelta(milliseconds=300))
        await queue.add("now")
        await wait_until_async(lambda: len(starts) == 3)
        await worker.wait_idle("5s")
    assert list(starts) == ["now", "first", "second"]
    assert 0.28 <= starts["first"] < 0.58
    assert 0.6 <= starts["second"] < 1.2


async def test_order_of_priorities_and_lifo(queue: Queue) -> None:
    order = list[str]()

    async def note(job: Job) -> None:
        order.append(job.name)

    await queue.add_bulk(
        [
            JobSpec("p5", None, priority=5),
            JobSpec("a"),
            JobSpec("p1", None, priority=1),
            JobSpec("b"),
            JobSpec("p5 too", None, priority=5),
            JobSpec("head", None, lifo=True),
        ]
    )
    async with queue.process(note) as worker:
        await worker.wait_idle("10s")
    assert order == ["head", "a", "b", "p1", "p5", "p5 too"]
