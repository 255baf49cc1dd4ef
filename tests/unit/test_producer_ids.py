"""Ids: from blocks that a session reserves, given when a call is written, never twice."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

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
    refused,
    two_in_flight,
)


def test_ids_come_from_the_block_and_callers_learn_them() -> None:
    producer = open_producer()
    waiters = [push(producer, number) for number in range(3)]
    [sent] = poll(producer)
    assert add_ids(sent) == [b"1", b"2", b"3"]
    producer.receive(add_reply(), 0.0)
    assert [waiter.result(0).id for waiter in waiters] == ["1", "2", "3"]


def test_runs_of_ids_are_told_to_events_as_ranges() -> None:
    producer = open_producer()
    for special in (False, False, True, False):
        push(producer, **({"priority": 5} if special else {}))
    [sent] = poll(producer)
    assert (add_counts(sent), sent.arguments[4]) == ((3, 1), b"1-2 4-4")


def test_blocks_double_and_the_next_one_is_fetched_before_the_last_one_ends() -> None:
    producer = open_producer()
    push_many(producer, 60)
    poll(producer)
    producer.receive(add_reply(), 0.0)
    push(producer)
    reserve, add = poll(producer)
    assert (reserve.script, reserve.arguments[2], add.script, add_ids(add)) == (
        "reserve",
        b"128",
        "add",
        [b"61"],
    )


def test_ids_of_blocks_that_are_far_apart_are_used_in_their_order() -> None:
    producer = open_producer()
    push_many(producer, 63)
    poll(producer)
    producer.receive(add_reply(), 0.0)
    push(producer)
    [_, add] = poll(producer)
    assert add_ids(add) == [b"64"]
    producer.receive(10_128, 0.0)
    producer.receive(add_reply(), 0.0)
    push(producer)
    push(producer)
    assert add_ids(next(sent for sent in poll(producer) if sent.script == "add")) == [b"10001", b"10002"]


def test_an_add_waits_for_ids_when_none_are_left() -> None:
    producer = open_producer()
    waiter = push_many(producer, 1000)
    [reserve] = poll(producer)
    assert (reserve.script, reserve.arguments[2]) == ("reserve", b"1024")
    assert poll(producer) == []
    producer.receive(1088, 0.0)
    [add] = poll(producer)
    assert add_ids(add)[63:65] == [b"64", b"65"]
    producer.receive(add_reply(), 0.0)
    assert len(waiter.result(0)) == 1000


def test_the_first_block_covers_what_waits_already() -> None:
    producer = make_producer()
    push_many(producer, 700)
    [opening] = poll(producer)
    assert opening.arguments[2] == b"1024"


def test_resent_jobs_get_new_ids_and_no_id_twice() -> None:
    producer, _, _ = two_in_flight()
    producer.lost()
    [opening] = poll(producer)
    assert int(opening.arguments[2]) >= 2000
    producer.receive(open_reply(known=0, last_id=10_000), 0.0)
    resent = [id for sent in poll(producer) if sent.script == "add" for id in add_ids(sent)]
    assert len(set(resent)) == len(resent) == 2000
    assert b"0" not in resent


def test_a_refused_job_keeps_its_id_in_its_session() -> None:
    producer = open_producer()
    push(producer)
    [first] = poll(producer)
    producer.receive(refused("NOSCRIPT x"), 0.0)
    [second] = poll(producer)
    assert add_ids(first) == add_ids(second) == [b"1"]


def test_an_id_can_be_given_before_the_call() -> None:
    producer = open_producer()
    job = make_job()
    assert producer.give_id(job)
    assert job.id == "1"
    waiter: Future[Any] = Future()
    producer.push(job, waiter, FAR)
    [sent] = poll(producer)
    assert add_ids(sent) == [b"1"]


def test_no_id_is_given_where_none_is_left_or_none_was_reserved() -> None:
    assert make_producer().give_id(make_job()) is False
    producer = open_producer()
    given = [producer.give_id(make_job()) for _ in range(65)]
    assert given == [True] * 64 + [False]
