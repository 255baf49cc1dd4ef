"""A session: one test a rule of ``_core/session.pyx``, seen through the producer, which is one."""

from __future__ import annotations

import pytest

from bullrush._core.session import LATER, MAX_PAUSE, Call, Session, SessionState, error_code
from bullrush.errors import ConnectionLost, InvalidOption, ServerError, UnsupportedServer
from bullrush.operations.requests import script_frame
from tests.unit.machines import (
    KEYS,
    NOW,
    add_reply,
    make_producer,
    open_producer,
    open_reply,
    poll,
    push,
    push_script,
    refused,
    two_in_flight,
)

# Opening.


def test_nothing_leaves_before_open_was_answered() -> None:
    producer = make_producer()
    push(producer)
    [sent] = poll(producer)
    assert (sent.script, sent.by_text, producer.state) == ("open", True, SessionState.OPENING)
    assert poll(producer) == []
    producer.receive(open_reply(), 0.0)
    assert [sent.script for sent in poll(producer)] == ["add"]


def test_open_names_a_fresh_session_each_time() -> None:
    sessions = {poll(make_producer())[0].session for _ in range(50)}
    assert len(sessions) == 50
    assert {len(session) for session in sessions} == {16}


def test_open_tells_epoch_events_and_the_servers_clock() -> None:
    producer = make_producer()
    poll(producer, 5.0)
    producer.receive(open_reply(epoch=b"e9", events=b"off", now=NOW), 5.0)
    assert (producer.epoch, producer.events, producer.clock_offset) == (b"e9", "off", NOW - 5_000)
    assert producer.idle


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("LAYOUT 2", UnsupportedServer),
        ("TYPE {p:q}:ids is a list, not a string", UnsupportedServer),
        ("DENIED XADD", UnsupportedServer),
        ("NOPERM no permissions", UnsupportedServer),
        ("CODEC pickle", InvalidOption),
        ("ERR strange", ServerError),
    ],
)
def test_a_refused_open_ends_the_session_with_its_reason(text: str, kind: type[Exception]) -> None:
    producer = make_producer()
    waiter = push(producer)
    poll(producer)
    producer.receive(refused(text), 0.0)
    assert isinstance(producer.fatal, kind)
    assert producer.fatal.took_effect is False
    assert waiter.exception() is producer.fatal
    assert poll(producer, 1e6) == []
    with pytest.raises(kind):
        push(producer)


@pytest.mark.parametrize("text", ["LOADING wait", "OOM no memory", "READONLY replica", "CLUSTERDOWN x"])
def test_an_open_that_was_put_off_is_tried_again_later(text: str) -> None:
    producer = make_producer()
    [first] = poll(producer, 1.0)
    producer.receive(refused(text), 1.0)
    assert poll(producer, 1.04) == []
    [second] = poll(producer, 1.051)
    assert (second.script, second.arguments[1]) == ("open", b"")
    assert second.session != first.session


# Numbers.


def test_calls_are_numbered_from_one_in_the_order_they_leave() -> None:
    producer = open_producer()
    numbers = []
    for _ in range(5):
        push_script(producer)
        [sent] = poll(producer)
        numbers.append(sent.number)
        assert sent.session == producer.id
        producer.receive(1, 0.0)
    assert numbers == [1, 2, 3, 4, 5]
    assert (producer.applied, producer.sent) == (5, 5)


def test_a_call_in_flight_shows_what_it_is() -> None:
    producer = open_producer()
    push(producer)
    poll(producer, 3.0)
    [call] = producer.inflight
    assert isinstance(call, Call)
    assert (call.kind, call.number, call.tries, call.sent_at) == ("add", 1, 1, 3.0)


# A lost socket.


def test_after_a_lost_socket_the_next_open_fences_the_session_before() -> None:
    producer = open_producer()
    before = producer.id
    producer.lost()
    assert producer.state == SessionState.CLOSED
    [sent] = poll(producer)
    assert sent.arguments[:2] == [producer.id, before]
    assert producer.id != before


@pytest.mark.parametrize(("known", "resent"), [(0, 1), (1, 0), (None, 1)])
def test_open_tells_whether_a_call_in_flight_was_applied(known: int | None, resent: int) -> None:
    producer = open_producer()
    waiter = push(producer)
    poll(producer)
    producer.lost()
    poll(producer)
    producer.receive(open_reply(known=known), 0.0)
    assert waiter.done() is (resent == 0)
    sent = poll(producer)
    assert [(call.script, call.number) for call in sent] == [("add", 1)] * resent


def test_of_two_calls_in_flight_the_first_alone_may_have_been_applied() -> None:
    producer, first, second = two_in_flight()
    producer.lost()
    poll(producer)
    producer.receive(open_reply(known=1, last_id=4096), 0.0)
    assert (first.done(), second.done()) == (True, False)
    assert [(sent.script, sent.number) for sent in poll(producer)] == [("add", 1)]


def test_a_conditional_call_gets_the_answer_that_its_session_kept() -> None:
    producer = open_producer()
    waiter = push_script(producer, "remove", "x")
    poll(producer)
    producer.lost()
    poll(producer)
    producer.receive(open_reply(known=1, answer=b"1 removed"), 0.0)
    assert waiter.result(0) == b"removed"


def test_a_socket_lost_while_opening_fences_the_last_session_that_was_open() -> None:
    producer = open_producer()
    before = producer.id
    for _ in range(3):
        producer.lost()
        [sent] = poll(producer)
        assert sent.arguments[1] == before


def test_replies_of_the_old_socket_play_no_part() -> None:
    producer = open_producer()
    push(producer)
    poll(producer)
    producer.lost()
    assert not producer.inflight
    assert [sent.script for sent in poll(producer)] == ["open"]
    assert [call.kind for call in producer.inflight] == ["open"]


# Refusals.


@pytest.mark.parametrize("code", sorted(LATER))
def test_later_is_the_same_call_with_the_same_number_after_a_pause(code: str) -> None:
    producer = open_producer()
    waiter = push(producer)
    [before] = poll(producer)
    producer.receive(refused(f"{code} not now"), 10.0)
    assert poll(producer, 10.04) == []
    [again] = poll(producer, 10.06)
    assert (again.number, again.arguments) == (1, before.arguments)
    producer.receive(add_reply(), 11.0)
    assert waiter.done()


def test_pauses_double_from_50_ms_to_a_second_and_start_anew_after_a_success() -> None:
    producer = open_producer()
    push(producer)
    now, pauses = 0.0, []
    for _ in range(7):
        assert len(poll(producer, now)) == 1
        producer.receive(refused("LOADING x"), now)
        pauses.append(round(producer.not_before - now, 3))
        now = producer.not_before
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, MAX_PAUSE, MAX_PAUSE]
    poll(producer, now)
    producer.receive(add_reply(), now)
    push(producer)
    poll(producer, now)
    producer.receive(refused("LOADING x"), now)
    assert round(producer.not_before - now, 3) == 0.05


@pytest.mark.parametrize(("code", "elsewhere"), [("READONLY", True), ("MOVED", True), ("LOADING", False)])
def test_another_server_is_looked_for_where_that_may_help(code: str, elsewhere: bool) -> None:
    producer = open_producer()
    push(producer)
    poll(producer)
    producer.receive(refused(f"{code} x"), 0.0)
    assert producer.want_reconnect is elsewhere


def test_a_call_whose_script_is_not_loaded_goes_as_text_with_the_same_number() -> None:
    producer = open_producer()
    push(producer)
    [first] = poll(producer)
    producer.receive(refused("NOSCRIPT No matching script"), 0.0)
    [second] = poll(producer)
    assert (first.by_text, second.by_text, second.number) == (False, True, 1)


def test_the_call_behind_a_refused_one_waits_and_both_are_numbered_anew() -> None:
    producer, _, _ = two_in_flight()
    producer.receive(refused("LOADING x"), 0.0)
    assert poll(producer, 5.0) == []  # one is still in flight, and it will be refused
    producer.receive(refused("ORDER 0"), 5.0)
    assert [sent.number for sent in poll(producer, 9.0)] == [1, 2]


@pytest.mark.parametrize("text", ["LOADING x", "NOSCRIPT x", "ERR x"])
@pytest.mark.parametrize("both_answered", [False, True])
def test_refused_calls_are_sent_again_in_their_order_whatever_happens_to_the_socket(
    text: str, both_answered: bool
) -> None:
    producer, first, _ = two_in_flight()
    producer.receive(refused(text), 0.0)
    if both_answered:
        producer.receive(refused("ORDER 0"), 0.0)
    producer.lost()
    poll(producer, 9.0)
    producer.receive(open_reply(known=0, last_id=4096), 9.0)
    poll(producer, 9.0)
    producer.receive(add_reply(), 9.0)
    assert first.done()


@pytest.mark.parametrize("text", ["SESSION unknown", "SESSION closed", "ORDER 7"])
def test_a_session_the_server_does_not_know_is_opened_anew_on_a_new_socket(text: str) -> None:
    producer = open_producer()
    waiter = push(producer)
    poll(producer)
    producer.receive(refused(text), 0.0)
    assert producer.want_reconnect
    assert poll(producer, 1e9) == []
    producer.lost()
    assert not producer.want_reconnect
    assert [sent.script for sent in poll(producer)] == ["open"]
    producer.receive(open_reply(known=None), 0.0)
    assert [sent.script for sent in poll(producer)] == ["add"]
    producer.receive(add_reply(), 0.0)
    assert waiter.result(0).id == "1"


def test_an_error_nobody_expects_asks_the_server_what_was_applied() -> None:
    producer = open_producer()
    waiter = push(producer)
    poll(producer)
    producer.receive(refused("ERR out of the blue"), 0.0)
    assert producer.want_reconnect
    assert not waiter.done()


# Ends.


def test_a_fork_begins_with_nothing_of_its_parent() -> None:
    producer = open_producer()
    push(producer)
    poll(producer)
    producer.forget()
    assert (producer.id, producer.previous, producer.state) == (b"", b"", SessionState.CLOSED)
    assert not producer.inflight
    [sent] = poll(producer)
    assert sent.arguments[1] == b""


def test_an_ended_session_stays_ended() -> None:
    producer = open_producer()
    error = ConnectionLost("closed")
    producer.end(error)
    producer.lost()
    assert (producer.state, producer.fatal, poll(producer, 1e9)) == (SessionState.ENDED, error, [])


def test_a_bare_session_has_no_calls() -> None:
    session = Session(script_frame("open", KEYS))
    assert not session.idle
    with pytest.raises(NotImplementedError):
        session.poll(0.0)


def test_the_first_word_of_an_error_is_its_code() -> None:
    assert error_code(refused("NOSCRIPT No matching script")) == "NOSCRIPT"
    assert error_code(refused("")) == ""
