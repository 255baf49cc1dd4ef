"""The dispatcher: slots, ends and errors of handlers, on a loop and in threads, without a server."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable
from typing import Any

import pytest

from bullrush._core.codec import decode, encode, encode_record
from bullrush._core.job import JobBase
from bullrush.errors import CodecError
from tests.unit.crews import MakeCrew, both, either
from tests.unit.machines import NOW, claim, exchanges, record

# Ends.


@both
async def test_what_a_handler_returns_is_the_outcome(crew_of: MakeCrew, threaded: bool) -> None:
    crew = crew_of(either(threaded, lambda job: job.data * 10), threaded=threaded)
    crew.jobs(3)
    await crew.until_ended(3)
    assert sorted(crew.completed) == [("1", 10), ("2", 20), ("3", 30)]
    assert sorted(crew.active) == ["1", "2", "3"]
    await crew.until(lambda: crew.exchange.gathered == 3)
    [call] = exchanges(crew.exchange)
    assert sorted(decode(outcome)[6] for outcome in call.completed.values()) == [10, 20, 30]


@both
async def test_an_error_of_a_handler_goes_to_the_policy(crew_of: MakeCrew, threaded: bool) -> None:
    error = ValueError("no")

    def fail(job: JobBase[Any, Any]) -> None:
        raise error

    crew = crew_of(either(threaded, fail), threaded=threaded)
    crew.jobs(1)
    await crew.until_ended(1)
    assert crew.policy.failures == [("1", error, None)]


@both
async def test_a_value_that_cannot_be_stored_fails_the_job(crew_of: MakeCrew, threaded: bool) -> None:
    crew = crew_of(either(threaded, lambda job: object()), threaded=threaded)
    crew.jobs(1)
    await crew.until_ended(1)
    [(id, error, _)] = crew.policy.failures
    assert (id, type(error)) == ("1", CodecError)


@both
async def test_what_is_claimed_runs_even_where_nothing_was_ready_at_first(
    crew_of: MakeCrew, threaded: bool
) -> None:
    crew = crew_of(either(threaded, lambda job: None), threaded=threaded, concurrency=1)
    for _ in range(3):
        crew.jobs(1)
        await crew.until(lambda: not crew.exchange.running_jobs)
    await crew.until_ended(3)


async def test_a_coroutine_that_waits_ends_when_it_goes_on(crew_of: MakeCrew) -> None:
    gate = asyncio.Event()

    async def wait(job: JobBase[Any, Any]) -> str:
        await gate.wait()
        return "done"

    crew = crew_of(wait)
    crew.jobs(2)
    await crew.until(lambda: len(crew.active) == 2)
    assert (crew.exchange.running, crew.completed) == (2, [])
    gate.set()
    await crew.until_ended(2)


async def test_an_awaitable_that_is_no_coroutine_is_awaited(crew_of: MakeCrew) -> None:
    futures: list[asyncio.Future[object]] = []

    def remember(job: JobBase[Any, Any]) -> Awaitable[object]:
        futures.append(asyncio.get_running_loop().create_future())
        return futures[-1]

    crew = crew_of(remember)
    crew.jobs(1)
    await crew.until(lambda: futures)
    futures[0].set_result("late")
    await crew.until_ended(1)
    assert crew.completed == [("1", "late")]


async def test_a_loop_handler_that_returns_nothing_to_await_is_an_error(crew_of: MakeCrew) -> None:
    crew = crew_of(lambda job: 5)
    crew.jobs(1)
    await crew.until_ended(1)
    assert "cannot be awaited" in str(crew.policy.failures[0][1])


async def test_an_awaitable_from_a_thread_is_for_the_policy(crew_of: MakeCrew) -> None:
    async def work() -> int:
        return 1

    crew = crew_of(lambda job: work(), threaded=True)
    crew.jobs(1)
    await crew.until(lambda: crew.policy.awaitables)
    [(id, value)] = crew.policy.awaitables
    assert (id, await value) == ("1", 1)
    assert crew.exchange.running == 0


# Slots.


async def test_no_more_run_than_there_are_slots(crew_of: MakeCrew) -> None:
    now, most = 0, 0

    async def count(job: JobBase[Any, Any]) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    crew = crew_of(count, concurrency=3)
    crew.exchange.prefetch = 20
    crew.jobs(20)
    await crew.until_ended(20)
    assert most == 3


async def test_no_more_threads_run_than_there_are_slots(crew_of: MakeCrew) -> None:
    lock, now, most = threading.Lock(), 0, 0
    together = threading.Barrier(3)

    def count(job: JobBase[Any, Any]) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait(10)
        with lock:
            now -= 1

    crew = crew_of(count, threaded=True, concurrency=3)
    crew.exchange.prefetch = 30
    crew.jobs(30)
    await crew.until_ended(30)
    assert (most, len(crew.dispatcher.threads)) == (3, 3)


async def test_nothing_starts_in_the_last_tenth_of_a_lease(crew_of: MakeCrew) -> None:
    started: list[str] = []

    async def note(job: JobBase[Any, Any]) -> None:
        started.append(job.id)

    crew = crew_of(note, opened_ago=28)  # of 30
    claim(crew.exchange, {"1": record()}, crew.loop.time() - 28)
    crew.dispatcher.after_replies()
    await asyncio.sleep(0)
    assert started == []
    crew.exchange.renewed(crew.loop.time(), crew.exchange.number)
    crew.dispatcher.start_ready()
    await crew.until_ended(1)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_the_loop_gets_its_turn_after_256_eager_starts(crew_of: MakeCrew) -> None:
    async def nothing(job: JobBase[Any, Any]) -> None:
        pass

    crew = crew_of(nothing, concurrency=1000)
    crew.claim({str(id): record() for id in range(1, 601)})
    assert len(crew.active) == 256
    await asyncio.sleep(0)
    assert len(crew.active) == 512
    await crew.until_ended(600)


# Names.


async def test_each_name_has_its_handler_and_others_go_to_the_policy(crew_of: MakeCrew) -> None:
    async def first(job: JobBase[Any, Any]) -> str:
        return "first"

    async def second(job: JobBase[Any, Any]) -> str:
        return "second"

    crew = crew_of({"a": first, "b": second})
    crew.claim({"1": record("a"), "2": record("b"), "3": record("c")})
    await crew.until_ended(2)
    assert sorted(crew.completed) == [("1", "first"), ("2", "second")]
    assert (crew.policy.unhandled_names, crew.exchange.running) == (["c"], 0)


async def test_named_handlers_may_run_in_threads(crew_of: MakeCrew) -> None:
    crew = crew_of({"a": lambda job: threading.current_thread().name}, threaded=True)
    crew.claim({"1": record("a")})
    await crew.until_ended(1)
    assert str(crew.completed[0][1]).startswith("bullrush-")


# Cancelling.


async def test_a_cancelled_run_ends_with_its_reason(crew_of: MakeCrew) -> None:
    async def hang(job: JobBase[Any, Any]) -> None:
        await asyncio.get_running_loop().create_future()

    crew = crew_of(hang)
    crew.jobs(1)
    await crew.until(lambda: crew.active)
    [job] = crew.exchange.running_jobs
    job._cancel("shutdown")
    await crew.until_ended(1)
    [(_, error, reason)] = crew.policy.failures
    assert (type(error), reason) == (asyncio.CancelledError, "shutdown")


async def test_a_handler_may_end_well_in_spite_of_being_cancelled(crew_of: MakeCrew) -> None:
    begun = asyncio.Event()

    async def stubborn(job: JobBase[Any, Any]) -> str:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "cleaned up"
        return "never"

    crew = crew_of(stubborn)
    crew.jobs(1)
    await begun.wait()
    next(iter(crew.exchange.running_jobs))._cancel("shutdown")
    await crew.until_ended(1)
    assert crew.completed == [("1", "cleaned up")]


async def test_a_thread_sees_the_flag_and_its_reason_is_told(crew_of: MakeCrew) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(job: JobBase[Any, Any]) -> None:
        begun.set()
        go_on.wait(10)
        job.raise_if_cancelled()

    crew = crew_of(work, threaded=True)
    crew.jobs(1)
    await crew.until(begun.is_set)
    next(iter(crew.exchange.running_jobs))._cancel("shutdown")
    go_on.set()
    await crew.until_ended(1)
    assert crew.policy.failures[0][2] == "shutdown"


# Around.


async def test_replies_are_told_to_the_policy_and_what_is_rare_by_itself(crew_of: MakeCrew) -> None:
    crew = crew_of(either(False, lambda job: None))
    crew.claim({"1": b"\xc1", "2": record()}, refused=[b"9"])
    assert (crew.policy.broken_ids, crew.policy.replies, crew.policy.notices) == (["1"], 1, 1)
    await crew.until_ended(1)


async def test_the_context_is_on_every_job(crew_of: MakeCrew) -> None:
    crew = crew_of(either(False, lambda job: job.context))
    crew.dispatcher.context = "pool"
    crew.jobs(1)
    await crew.until_ended(1)
    assert crew.completed == [("1", "pool")]


async def test_waits_and_runs_are_measured(crew_of: MakeCrew) -> None:
    crew = crew_of(either(False, lambda job: None))
    crew.jobs(3)
    await crew.until_ended(3)
    assert (crew.dispatcher.waits.count, crew.dispatcher.runs.count) == (3, 3)


async def test_a_job_can_be_settled_by_hand(crew_of: MakeCrew) -> None:
    crew = crew_of(either(False, lambda job: None))
    claim(crew.exchange, {"1": record()}, crew.loop.time())
    job = crew.exchange.ready.popleft()
    crew.dispatcher.settle(job, "by hand")
    assert crew.completed == [("1", "by hand")]


@both
async def test_a_job_whose_options_cannot_be_read_fails_alone(crew_of: MakeCrew, threaded: bool) -> None:
    crew = crew_of(either(threaded, lambda job: None), threaded=threaded)
    crew.claim({"1": encode_record("n", NOW, encode({"delay": "soon"}), None), "2": record()})
    await crew.until(lambda: crew.completed)
    assert crew.completed == [("2", None)]
    assert crew.policy.broken_ids or [id for id, _, _ in crew.policy.failures] == ["1"]
    assert (crew.exchange.running, crew.exchange.running_jobs) == (0, set())
