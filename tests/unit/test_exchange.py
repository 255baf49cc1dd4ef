"""The exchange: what a worker asks for, when a call leaves, and what becomes of the jobs it brings."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bullrush._core.job import JobBase
from bullrush._core.outcomes import ExchangeCall
from bullrush.errors import InvalidOption, UnsupportedServer
from tests.unit.machines import (
    MORE,
    NOW,
    OWNER,
    claim,
    exchange_reply,
    exchanges,
    finish,
    make_exchange,
    open_exchange,
    open_reply,
    poll,
    record,
    refused,
    start,
)

RECORD = record()


class AsyncKind(JobBase[Any, Any]):
    """The class of jobs of `async def` handlers."""


class SyncKind(JobBase[Any, Any]):
    """The class of jobs of `def` handlers."""


def batch(first: int, count: int) -> dict[str, bytes | None]:
    return {str(id): RECORD for id in range(first, first + count)}


# Registering.


def test_the_first_open_registers_and_the_next_ones_take_the_number_up_again() -> None:
    exchange = make_exchange(host=b'{"pid": 1}')
    [first] = poll(exchange)
    assert first.arguments[6:] == [b"77", b"1", b"30000", b'{"pid": 1}']
    exchange.receive(open_reply(), 0.0)
    exchange.lost()
    [second] = poll(exchange)
    assert second.arguments[1:2] + second.arguments[6:8] == [first.session, b"77", b"0"]


@pytest.mark.parametrize("text", ["LEASE lost", "TAKEN 77"])
def test_a_number_that_others_took_is_given_up(text: str) -> None:
    exchange = make_exchange()
    poll(exchange)
    exchange.receive(refused(text), 0.0)
    assert exchange.lease_lost
    assert exchange.fatal is None


@pytest.mark.parametrize(("text", "kind"), [("LAYOUT 2", UnsupportedServer), ("CODEC other", InvalidOption)])
def test_a_queue_that_is_not_ours_ends_the_worker(text: str, kind: type[Exception]) -> None:
    exchange = make_exchange()
    poll(exchange)
    exchange.receive(refused(text), 0.0)
    assert isinstance(exchange.fatal, kind)


# Claiming.


def test_a_worker_asks_for_its_free_slots() -> None:
    exchange = make_exchange(concurrency=10)
    poll(exchange)
    exchange.receive(open_reply(), 0.0)
    [call] = exchanges(exchange)
    assert (call.want, call.want_suspects, call.alone) == (10, 1, True)


@given(st.integers(1, 1500), st.integers(0, 100), st.integers(0, 1500))
def test_held_and_wanted_never_exceed_slots_and_prefetch(concurrency: int, prefetch: int, held: int) -> None:
    exchange = make_exchange(concurrency=concurrency, prefetch=prefetch)
    poll(exchange)
    exchange.receive(open_reply(), 0.0)
    for _ in range(6):
        exchange.asked = True
        assert all(call.want <= 1000 for call in exchanges(exchange))
        if not exchange.inflight:
            break
        got = min(cast("ExchangeCall", exchange.inflight[0]).want, held)
        held -= got
        exchange.receive(exchange_reply(batch(exchange.claimed_total, got), flags=MORE if held else 0), 0.0)
        assert len(exchange.ready) <= concurrency + prefetch


def test_claimed_jobs_are_ready_in_order() -> None:
    exchange = open_exchange()
    claim(exchange, {"1": record("a", 1), "2": record("b", 2)})
    assert [(job.id, job.name, job.data) for job in exchange.ready] == [("1", "a", 1), ("2", "b", 2)]
    assert (exchange.claimed_total, exchange.server_held, exchange.dry) == (2, 2, True)


def test_an_idle_worker_asks_again_only_when_told_to() -> None:
    exchange = open_exchange()
    assert exchange.dry
    assert exchanges(exchange) == []
    exchange.asked = True
    assert len(exchanges(exchange)) == 1


def test_while_there_is_more_a_worker_goes_on_asking() -> None:
    exchange = open_exchange(concurrency=4)
    claim(exchange, batch(1, 4), flags=MORE)
    assert exchanges(exchange) == []  # nothing is free
    job = start(exchange)
    exchange.complete_with(job, None)
    finish(exchange, job)
    [call] = exchanges(exchange)
    assert (call.want, len(call.completed)) == (1, 1)


def test_a_paused_worker_settles_and_claims_nothing() -> None:
    exchange = open_exchange()
    claim(exchange, batch(1, 1))
    exchange.claiming = False
    exchange.complete_with(start(exchange), None)
    [call] = exchanges(exchange)
    assert (call.want, call.want_suspects, len(call.completed)) == (0, 0, 1)


def test_the_second_call_leaves_once_enough_has_gathered() -> None:
    exchange = open_exchange(concurrency=1000)
    claim(exchange, batch(1, 1000))
    jobs = exchange.take_ready(1000)
    for job in jobs[:1]:
        exchange.complete_with(job, None)
    assert len(exchanges(exchange)) == 1
    for job in jobs[1 : exchange.gather]:
        exchange.complete_with(job, None)
    assert exchanges(exchange) == []
    exchange.complete_with(jobs[exchange.gather], None)
    assert [len(call.completed) for call in exchanges(exchange)] == [exchange.gather]
    for job in jobs[exchange.gather + 1 : 900]:
        exchange.complete_with(job, None)
    assert exchanges(exchange) == []  # never three


# What a claim brings.


def test_options_attempts_and_plans_come_with_the_jobs_that_have_them() -> None:
    exchange = open_exchange()
    extras = [1, b"2 0 0 0", b"p30064771072", b""]
    claim(exchange, {"1": RECORD, "2": record(attempts=5)}, extras=extras)
    plain, special = exchange.ready
    assert (plain.attempts_made, special.attempts_made, special.attempts) == (0, 2, 5)
    assert (plain.attempts_started, special.attempts_started) == (1, 3)
    assert exchange.element_of(plain) == b"1"
    assert exchange.element_of(special) == b"\x012"


def test_a_job_without_a_record_was_removed_and_is_settled_as_such() -> None:
    exchange = open_exchange()
    claim(exchange, {"1": None, "2": RECORD})
    assert [job.id for job in exchange.ready] == ["2"]
    [call] = exchanges(exchange)
    assert call.others == [(b"x", b"1", b"", b"", b"")]


def test_a_record_that_cannot_be_decoded_is_handed_over_with_the_reason() -> None:
    exchange = open_exchange()
    claim(exchange, {"1": b"\xc1", "2": RECORD})
    [(job, error)] = exchange.take_broken()
    assert (job.id, [job.id for job in exchange.ready]) == ("1", ["2"])
    assert "record of job 1" in str(error)
    assert exchange.take_broken() == []


def test_each_handler_gets_its_class_of_job() -> None:
    exchange = open_exchange(kind=AsyncKind, kinds={"blocking": (SyncKind, OWNER)})
    claim(exchange, {"1": record("blocking", 1), "2": record("other", 2)})
    assert [(type(job), job.name, job.data) for job in exchange.ready] == [
        (SyncKind, "blocking", 1),
        (AsyncKind, "other", 2),
    ]


def test_a_recast_job_keeps_its_attempts() -> None:
    exchange = open_exchange(kinds={"n": (SyncKind, None)})
    claim(exchange, {"1": RECORD}, extras=[0, b"1 0 0 0", b"", b""])
    [job] = exchange.ready
    assert (type(job), job.attempts_made, job.attempts_started) == (SyncKind, 1, 2)


def test_due_times_dead_leases_and_late_outcomes_are_handed_over_once() -> None:
    exchange = open_exchange()
    claim(exchange, {}, due=NOW + 5, refused=[b"9"], expired=[b"55", b"123"])
    assert exchange.due_at == NOW + 5
    assert exchange.take_refused() == ["9"]
    assert exchange.take_expired() == [(b"55", b"123")]
    assert (exchange.take_refused(), exchange.take_expired()) == ([], [])


def test_what_was_not_started_goes_back_from_the_back() -> None:
    exchange = open_exchange()
    claim(exchange, batch(1, 3))
    exchange.give_back_stale()
    assert len(exchange.ready) == 3  # nothing is old yet
    for job in [exchange.ready.pop() for _ in range(3)]:
        exchange.release(job)
    [call] = exchanges(exchange)
    assert [other[:3] for other in call.others] == [
        (b"b", b"3", b"3"),
        (b"b", b"2", b"2"),
        (b"b", b"1", b"1"),
    ]


# Slots taken by hand.


def test_jobs_taken_by_hand_hold_slots_until_they_are_put_down() -> None:
    exchange = open_exchange(concurrency=2)
    claim(exchange, batch(1, 2))
    taken = exchange.take_ready(5)
    assert ([job.id for job in taken], exchange.running) == (["1", "2"], 2)
    assert exchange.put_down(taken[0])
    assert not exchange.put_down(taken[0])
    assert (exchange.running, exchange.running_jobs) == (1, {taken[1]})
