"""Outcomes: packed the moment a job ends, whole, once, and with the events that the queue's mode allows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bullrush._core.codec import decode, encode
from bullrush._core.exchange import Exchange
from bullrush._core.frames import WriteBuffer
from bullrush._core.job import JobBase
from bullrush._core.outcomes import split_bulks
from bullrush.codec import Values
from bullrush.errors import CodecError
from bullrush.operations.outcomes import read_outcome
from bullrush.options import Keep
from tests.unit.machines import (
    EVENTS_OFF,
    LISTENING,
    OUTCOMES_ONLY,
    Exchanged,
    claim,
    exchanges,
    open_exchange,
    record,
    start,
)

REASON, KIND, STACK = encode("no address"), encode("ValueError"), encode("line 1\nline 2")
ABSENT = b"\xc7\x00\x1f"  # an extension value without content: too large for an event


def working(count: int = 1, *, flags: int = 0, **options: Any) -> tuple[Exchange, list[JobBase[Any, Any]]]:
    """A worker with jobs that have started."""
    exchange = open_exchange(concurrency=1000)
    claim(exchange, {str(id): record("n", id, **options) for id in range(1, count + 1)}, flags=flags)
    return exchange, [start(exchange) for _ in range(count)]


def only(exchange: Exchange) -> Exchanged:
    [call] = exchanges(exchange)
    return call


# Completed.


@pytest.mark.parametrize("value", [None, 0, "text", {"a": [1, 2]}, "x" * 100_000])
def test_a_value_is_stored_with_times_counts_and_worker(value: object) -> None:
    exchange, [job] = working()
    exchange.complete_with(job, value)
    outcome = read_outcome(only(exchange).completed[b"1"], Values(None, "q"), "1")
    assert (outcome.completed, outcome.value, outcome.worker) == (True, value, "77")
    assert (outcome.attempts_made, outcome.attempts_started) == (0, 1)
    assert 0 <= outcome.finished - outcome.processed < 10_000


def test_a_value_that_no_codec_takes_is_the_handlers_error() -> None:
    exchange, [job] = working()
    with pytest.raises(CodecError, match="returnvalue"):
        exchange.complete_with(job, {"when": object()})
    exchange.fail(job, REASON, KIND, STACK, None, 10, -1)
    call = only(exchange)
    assert (call.completed, [other[:2] for other in call.others]) == ({}, [(b"f", b"1")])


def test_a_codec_of_the_users_own_packs_the_value() -> None:
    codec = SimpleNamespace(encode=lambda value: repr(value).encode())
    exchange = open_exchange(owner=SimpleNamespace(name="q", codec=codec))
    claim(exchange, {"1": record()})
    exchange.complete_with(start(exchange), {"a": 1})
    assert decode(only(exchange).completed[b"1"])[6] == b"{'a': 1}"


@pytest.mark.parametrize(
    ("options", "keep", "age"),
    [
        ({"remove_on_complete": True}, b"0", b"-1"),
        ({"remove_on_complete": False}, b"-1", b"-1"),
        ({"remove_on_complete": 5}, b"5", b"-1"),
        ({"remove_on_complete": Keep(age="1s")}, b"-1", b"1000"),
        ({"attempts": 3}, b"1000", b"-1"),
    ],
)
def test_a_job_with_options_brings_its_own_retention(
    options: dict[str, Any], keep: bytes, age: bytes
) -> None:
    exchange, [job] = working(**options)
    exchange.complete_with(job, "v")
    call = only(exchange)
    [(kind, id, outcome, kept, aged)] = call.others
    assert (kind, id, kept, aged, call.completed) == (b"c", b"1", keep, age, {})
    assert read_outcome(outcome, Values(None, "q"), "1").value == "v"


# Other ends.


def test_a_failure_is_stored_with_reason_class_and_stack() -> None:
    exchange, [job] = working()
    exchange.fail(job, REASON, KIND, STACK, Keep(count=7), -1, -1)
    [(kind, id, packed, keep, age)] = only(exchange).others
    outcome = read_outcome(packed, Values(None, "q"), "1")
    assert (kind, id, keep, age) == (b"f", b"1", b"7", b"-1")
    assert (outcome.completed, outcome.reason, outcome.error_type, outcome.stack) == (
        False,
        "no address",
        "ValueError",
        "line 1\nline 2",
    )
    assert outcome.attempts_made == 1


def test_a_retry_counts_the_attempt_and_waits() -> None:
    exchange, [job] = working(attempts=3)
    exchange.retry(job, REASON, KIND, STACK, 1500)
    [(kind, _, attempts, delay, packed)] = only(exchange).others
    assert (kind, attempts, delay) == (b"r", b"1 0 0 0", b"1500")
    assert read_outcome(packed, Values(None, "q"), "1").reason == "no address"


def test_starts_that_a_dead_worker_took_along_are_not_forgotten() -> None:
    exchange = open_exchange()
    claim(exchange, {"1": record(attempts=9)}, extras=[0, b"2 3 0 0", b"", b""])
    exchange.retry(start(exchange), REASON, KIND, STACK, 0)
    assert only(exchange).others[0][2] == b"3 3 0 0"


def test_a_job_that_is_put_off_is_not_charged() -> None:
    exchange = open_exchange()
    claim(exchange, {"1": record(), "2": record()}, extras=[1, b"2 1 0 0", b"", b""])
    exchange.later(start(exchange), 500)
    exchange.later(start(exchange), 0)
    assert [other[2:4] for other in only(exchange).others] == [(b"0 0 0 0", b"500"), (b"2 1 0 0", b"0")]


def test_a_job_goes_back_as_it_stood_in_line() -> None:
    exchange = open_exchange()
    claim(exchange, {"1": record(), "2": record("n", "x" * 5000), "3": record()}, extras=[2, b"", b"h", b""])
    for job in exchange.take_ready(3)[::-1]:
        exchange.release(job)
    assert [other[:3] for other in only(exchange).others] == [
        (b"b", b"3", b"\x013"),
        (b"b", b"2", b"\x012"),
        (b"b", b"1", b"1"),
    ]


def test_progress_and_lines_leave_with_the_job_still_held() -> None:
    exchange, [job] = working()
    exchange.progress(job, encode(50))
    exchange.log(job, b"half done")
    call = only(exchange)
    assert [other[:3] for other in call.others] == [(b"p", b"1", encode(50)), (b"g", b"1", b"half done")]
    assert exchange.settled_total == 0


def test_an_outcome_of_a_lost_number_is_dropped() -> None:
    exchange, [job] = working()
    exchange.start_over(b"78", b"{}")
    exchange.complete_with(job, 1)
    exchange.fail(job, REASON, KIND, STACK, None, 1, 1)
    exchange.retry(job, REASON, KIND, STACK, 0)
    exchange.later(job, 0)
    exchange.release(job)
    exchange.progress(job, encode(1))
    exchange.log(job, b"x")
    assert exchange.gathered == 0


# Events.


@pytest.mark.parametrize(
    ("flags", "large", "published"),
    [
        (0, False, [b"1", "v"]),
        (0, True, [b"1", ABSENT]),
        (OUTCOMES_ONLY, False, [b"1", "v"]),
        (EVENTS_OFF, False, None),
        (EVENTS_OFF | LISTENING, True, [b"1", "x" * 2000]),
        (LISTENING, True, [b"1", "x" * 2000]),
    ],
)
def test_values_are_published_as_the_queue_wants(
    flags: int, large: bool, published: list[Any] | None
) -> None:
    exchange, [job] = working(flags=flags)
    exchange.complete_with(job, "x" * 2000 if large else "v")
    found = only(exchange).published
    if published is None:
        assert found == {}
    else:
        value = published[1] if isinstance(published[1], bytes) else encode(published[1])
        assert found == {b"completed": encode("1") + value}


@pytest.mark.parametrize(
    ("flags", "kinds"),
    [(0, {b"failed", b"retrying", b"progress"}), (OUTCOMES_ONLY, {b"failed"}), (EVENTS_OFF, set())],
)
def test_other_ends_are_published_as_the_queue_wants(flags: int, kinds: set[bytes]) -> None:
    exchange, [failing, trying, running] = working(3, flags=flags)
    exchange.fail(failing, REASON, KIND, STACK, None, 1, -1)
    exchange.retry(trying, REASON, KIND, STACK, 5)
    exchange.progress(running, encode(50))
    assert set(only(exchange).published) == kinds


def test_ids_of_32_bytes_and_more_are_published_whole() -> None:
    exchange = open_exchange()
    long = "i" * 128
    claim(exchange, {long: record()})
    exchange.complete_with(start(exchange), 1)
    assert only(exchange).published == {b"completed": encode(long) + encode(1)}


# Batches.


def test_a_call_carries_at_most_1000_by_weight() -> None:
    exchange, jobs = working(1000)
    for job in jobs[:500]:
        exchange.complete_with(job, None)
    for job in jobs[500:]:
        exchange.later(job, 0)
    first, second = exchanges(exchange)
    assert (len(first.completed), len(first.others)) == (500, 125)
    assert (len(second.completed), len(second.others)) == (0, 250)


def test_a_call_carries_about_4_mb() -> None:
    exchange, jobs = working(10)
    for job in jobs:
        exchange.complete_with(job, b"x" * 1_000_000)
    first, second = exchanges(exchange)
    assert (len(first.completed), len(second.completed)) == (5, 5)


def test_settled_means_that_nothing_waits_or_flies() -> None:
    exchange, [job] = working()
    assert exchange.settled
    exchange.complete_with(job, None)
    assert (exchange.settled, exchange.gathered) == (False, 1)
    only(exchange)
    assert (exchange.settled, exchange.gathered) == (False, 0)


def test_packed_arguments_can_be_taken_apart() -> None:
    buffer = WriteBuffer()
    parts: list[bytes] = [b"", b"a", b"\r\n$3\r\n", b"x" * 5000]
    for part in parts:
        buffer.bulk(part)
    assert split_bulks(buffer.getvalue()) == parts
