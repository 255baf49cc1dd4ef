"""The producer: batches that form by themselves, and units that are stored or refused as a whole."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from bullrush._core.producer import Producer, monotonic_ms_offset
from bullrush.errors import ConnectionLost, QueueFull, ServerError
from tests.unit.machines import (
    FAR,
    add_counts,
    add_ids,
    add_reply,
    make_job,
    make_producer,
    open_producer,
    open_reply,
    poll,
    push,
    push_many,
    push_script,
    refused,
    two_in_flight,
)

# Batches.


def test_the_first_add_leaves_at_once_and_the_others_together_behind_it() -> None:
    producer = open_producer()
    push(producer)
    assert [add_counts(sent) for sent in poll(producer)] == [(1, 0)]
    for _ in range(10):
        push(producer)
    assert poll(producer) == []
    producer.receive(add_reply(), 0.0)
    assert [add_counts(sent) for sent in poll(producer)] == [(10, 0)]


@pytest.mark.parametrize(("waiting", "size", "leaves"), [(255, 1, 0), (256, 1, 1), (1, 262_144, 1)])
def test_a_second_call_leaves_once_256_jobs_or_256_kb_wait(waiting: int, size: int, leaves: int) -> None:
    producer = make_producer()
    push_many(producer, 1000)
    poll(producer)
    producer.receive(open_reply(last_id=1024), 0.0)
    poll(producer)
    producer.receive(add_reply(), 0.0)
    push_script(producer, "reserve", 4096)
    poll(producer)
    producer.receive(5120, 0.0)
    push(producer)
    while not [sent for sent in poll(producer) if sent.script == "add"]:
        producer.receive(8192, 0.0)
    for _ in range(waiting):
        push(producer, "x" * size)
    adds = [sent for sent in poll(producer) if sent.script in ("add", "add_special")]
    assert len(adds) == leaves


def test_never_more_than_two_adds_are_in_flight() -> None:
    producer, _, _ = two_in_flight()
    push_many(producer, 1000)
    assert [sent.script for sent in poll(producer)] in ([], ["reserve"])
    assert [call.kind for call in producer.inflight].count("add") == 2


def test_a_chunk_is_never_split_and_a_call_has_at_most_1000_jobs() -> None:
    producer = make_producer()
    sizes = [600, 300, 200, 1000]
    for size in sizes:
        push_many(producer, size)
    poll(producer)
    producer.receive(open_reply(last_id=4096), 0.0)
    seen = [add_counts(sent)[0] for sent in poll(producer)]
    while producer.busy:
        producer.receive(add_reply(), 0.0)
        seen += [add_counts(sent)[0] for sent in poll(producer)]
    assert seen == [900, 200, 1000]


def test_a_chunk_beyond_1000_jobs_is_refused_before_anything_is_buffered() -> None:
    producer = open_producer()
    with pytest.raises(ValueError, match="at most 1000 jobs, this one has 1001"):
        push_many(producer, 1001)
    assert not producer.busy


def test_large_jobs_fill_a_call_by_their_bytes() -> None:
    producer = make_producer()
    for _ in range(6):
        push(producer, b"x" * 1_500_000)
    poll(producer)
    producer.receive(open_reply(), 0.0)
    assert [add_counts(sent) for sent in poll(producer)] == [(0, 2), (0, 2)]


# Places.


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"lifo": True}, b"h"),
        ({"priority": 7}, b"p 7"),
        ({"delay": "5s"}, b"dw 5000"),
        ({"delay": "5s", "priority": 7}, b"dp 5000 7"),
        ({"delay": "5s", "lifo": True}, b"dh 5000"),
        ({"run_at": 1_900_000_000_000}, b"tw 1900000000000"),
        ({"job_id": "mine"}, b"?w"),
        ({"job_id": "mine", "priority": 7}, b"?p 7"),
    ],
)
def test_special_jobs_say_where_they_go(options: dict[str, Any], place: bytes) -> None:
    producer = open_producer()
    push(producer, **options)
    [sent] = poll(producer)
    assert add_counts(sent) == (0, 1)
    assert sent.arguments[-1] == place


@pytest.mark.parametrize("options", [{}, {"attempts": 3}, {"backoff": 0, "attempts": 2}])
def test_a_job_without_a_place_of_its_own_is_plain(options: dict[str, Any]) -> None:
    producer = open_producer()
    push(producer, **options)
    assert add_counts(poll(producer)[0]) == (1, 0)


def test_a_large_record_goes_among_the_others_and_is_marked() -> None:
    producer = open_producer()
    push(producer, "x" * 4001)
    [sent] = poll(producer)
    assert (add_counts(sent), sent.arguments[-1]) == ((0, 1), b"w")


def test_a_full_call_keeps_below_the_arguments_that_every_server_takes() -> None:
    producer = open_producer()
    producer.push_all([make_job(priority=7, delay="5s") for _ in range(1_000)], Future[Any](), FAR)
    [reserve] = poll(producer)
    producer.receive(64 + int(reserve.arguments[2]), 0.0)
    [sent] = poll(producer)
    assert add_counts(sent) == (0, 1_000)
    assert len(sent.keys) + len(sent.arguments) + 3 < 3_900


# Conditional calls.


def test_custom_ids_travel_alone_and_learn_that_they_exist() -> None:
    producer = open_producer()
    plain = push(producer)
    poll(producer)
    first, second = push(producer, job_id="a"), push(producer, job_id="b")
    behind = push(producer)
    assert poll(producer) == []
    producer.receive(add_reply(), 0.0)
    [sent] = poll(producer)
    assert (add_counts(sent), add_ids(sent)) == ((0, 2), [b"a", b"b"])
    producer.receive(add_reply(b"1"), 0.0)
    assert (first.result(0).duplicate, second.result(0).duplicate) == (False, "id")
    assert plain.result(0).duplicate is False
    assert [add_counts(sent) for sent in poll(producer)] == [(1, 0)]
    assert not behind.done()


def test_a_duplicate_is_learned_when_the_reply_was_lost() -> None:
    producer = open_producer()
    waiter = push(producer, job_id="a")
    poll(producer)
    producer.lost()
    poll(producer)
    producer.receive(open_reply(known=1, answer=b"1 0"), 0.0)
    assert waiter.result(0).duplicate == "id"


def test_a_script_call_gets_its_reply_as_it_came() -> None:
    producer = open_producer()
    waiter = push_script(producer, "pause", 1)
    [sent] = poll(producer)
    assert (sent.script, sent.arguments[2:]) == ("pause", [b"1"])
    producer.receive([1, b"x"], 0.0)
    assert waiter.result(0) == [1, b"x"]


# Refusals.


def test_a_full_server_refuses_the_call_as_a_whole_and_nothing_else() -> None:
    producer, first, second = two_in_flight()
    producer.receive(refused("OOM command not allowed"), 0.0)
    producer.receive(refused("ORDER 0"), 0.0)
    with pytest.raises(QueueFull, match="nothing was stored") as caught:
        first.result(0)
    assert caught.value.took_effect is False
    assert [sent.number for sent in poll(producer)] == [1]
    producer.receive(add_reply(), 0.0)
    assert second.done()


def test_the_held_sets_having_changed_is_for_the_caller() -> None:
    producer = open_producer()
    waiter = push_script(producer, "remove", "x")
    poll(producer)
    producer.receive(refused("RETRY workers changed"), 0.0)
    assert str(waiter.exception(0)) == "RETRY workers changed"


def test_a_call_refused_three_times_for_an_unknown_reason_is_given_up() -> None:
    producer = open_producer()
    waiter = push(producer)
    poll(producer)
    for _ in range(2):
        producer.receive(refused("ERR strange"), 0.0)
        producer.lost()
        poll(producer)
        producer.receive(open_reply(known=0), 0.0)
        poll(producer)
    producer.receive(refused("ERR strange"), 0.0)
    assert isinstance(waiter.exception(0), ServerError)
    later = push(producer)
    poll(producer)
    producer.receive(add_reply(), 0.0)
    assert later.done()


# Space and deadlines.


def test_a_full_buffer_lets_callers_in_again_in_order_of_arrival() -> None:
    producer = make_producer(max_jobs=2)
    push(producer)
    assert not producer.full
    push(producer)
    assert producer.full
    waiting: list[Future[Any]] = [Future() for _ in range(2)]
    for waiter in waiting:
        producer.wait_for_space(waiter)
    poll(producer)
    producer.receive(open_reply(), 0.0)
    assert not waiting[0].done()
    poll(producer)
    assert waiting[0].done()
    assert not producer.full


def test_a_buffer_is_full_by_bytes_too() -> None:
    producer = make_producer(max_bytes=1000)
    push(producer, "x" * 1000)
    assert producer.full


@pytest.mark.parametrize(("in_flight", "took_effect"), [(False, False), (True, None)])
def test_what_waits_past_its_deadline_is_given_up(in_flight: bool, took_effect: bool | None) -> None:
    producer = open_producer()
    waiter = push(producer, deadline=5.0)
    if in_flight:
        poll(producer)
    assert producer.expire(4.9) is False
    assert not waiter.done()
    assert producer.expire(5.0) is in_flight  # a call without an answer: the socket is stuck
    error = waiter.exception(0)
    assert isinstance(error, ConnectionLost)
    assert error.took_effect is took_effect


def test_what_was_given_up_is_not_sent_again() -> None:
    producer = open_producer()
    push(producer, deadline=5.0)
    poll(producer)
    producer.expire(5.0)
    producer.lost()
    poll(producer)
    producer.receive(open_reply(known=0), 0.0)
    assert poll(producer) == []
    assert not producer.busy


def test_what_was_given_up_before_it_left_takes_no_id() -> None:
    producer = open_producer()
    push(producer).cancel()
    kept = push(producer)
    [sent] = poll(producer)
    producer.receive(add_reply(), 0.0)
    assert add_ids(sent) == [b"1"]
    assert kept.result(0).id == "1"


def test_closing_fails_everything_that_waits() -> None:
    producer, first, second = two_in_flight()
    pending = push(producer)
    space: Future[Any] = Future()
    producer.wait_for_space(space)
    error = ConnectionLost("closed")
    assert set(producer.waiters()) == {first, second, pending}
    producer.fail_all(error)
    assert {waiter.exception(0) for waiter in (first, second, pending, space)} == {error}
    assert (producer.pending_jobs, producer.pending_bytes) == (0, 0)


# After a failover.


def test_acknowledged_jobs_that_a_failover_lost_are_counted() -> None:
    producer = open_producer()
    lost: list[int] = []
    producer.on_missing = lost.append
    for size in (1, 2, 3):
        push_many(producer, size)
        poll(producer)
        producer.receive(add_reply(), 0.0)
    assert producer.acknowledged == 6
    producer.lost()
    poll(producer)
    producer.receive(open_reply(known=1), 0.0)
    assert (producer.missing, lost) == (5, [5])


def test_nothing_is_missing_when_the_server_knows_all() -> None:
    producer = open_producer()
    push(producer)
    poll(producer)
    producer.receive(add_reply(), 0.0)
    producer.lost()
    poll(producer)
    producer.receive(open_reply(known=1), 0.0)
    assert producer.missing == 0


def test_the_clock_is_the_wall_clocks_until_the_server_was_asked() -> None:
    producer: Producer = make_producer()
    assert abs(producer.clock_offset - monotonic_ms_offset()) < 1000
