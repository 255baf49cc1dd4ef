"""Replies that no script of this version gives: the connection is closed, and nothing is read beyond what came."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit import machines as m


@pytest.mark.parametrize("reply", [None, 7, b"x", [], [1, 2, 3], m.open_reply()[:7]])
def test_an_answer_to_open_that_is_too_short(reply: object) -> None:
    for machine in (m.make_producer(), m.make_exchange()):
        m.poll(machine)
        with pytest.raises(ConnectionError, match="reply to open"):
            machine.receive(reply, 0.0)


@pytest.mark.parametrize("last_id", [-5, 0, 63, 1 << 60])
def test_ids_that_cannot_be(last_id: int) -> None:
    machine = m.make_producer()
    m.poll(machine)
    with pytest.raises(ConnectionError, match="64 ids"):
        machine.receive(m.open_reply(last_id=last_id), 0.0)


def _bent(**parts: Any) -> list[object]:
    reply = m.exchange_reply({"1": m.record(), "2": m.record()})
    for at, part in parts.items():
        reply[int(at[1:])] = part
    return reply


BENT = {
    "nothing": None,
    "too short": _bent()[:7],
    "fewer records than ids": _bent(_4=[m.record()]),
    "records that are no list": _bent(_4=b"x"),
    "extras that are no list": _bent(_5=b"x"),
    "leases that are no list": _bent(_7=5),
    "ids that are no text": _bent(_3=5),
}


@pytest.mark.parametrize("name", BENT)
def test_an_answer_to_an_exchange(name: str) -> None:
    machine = m.open_exchange()
    machine.asked = True
    assert len(m.exchanges(machine)) == 1
    with pytest.raises((ConnectionError, TypeError)):
        machine.receive(BENT[name], 0.0)
    machine.lost()
    m.poll(machine)
    machine.receive(m.open_reply(known=1), 0.0)
    assert machine.settled or m.exchanges(machine)


@pytest.mark.parametrize("answer", [b"1:x", b"-1", b"99999999999"])
def test_a_duplicate_that_was_never_sent(answer: bytes) -> None:
    machine = m.open_producer()
    waiter = m.push(machine, job_id="own")
    m.poll(machine)
    with pytest.raises(ConnectionError, match="names job"):
        machine.receive(m.add_reply(answer), 0.0)
    assert not waiter.done()


def test_a_duplicate_in_a_call_with_an_empty_chunk() -> None:
    machine = m.open_producer()
    m.push(machine)
    m.poll(machine)
    machine.push_all([], m.Future[Any](), m.FAR)
    special = m.push(machine, priority=1)
    machine.receive(m.add_reply(), 0.0)
    assert [sent.script for sent in m.poll(machine)] == ["add_special"]
    with pytest.raises(ConnectionError, match="names job 1 of the 1"):
        machine.receive(m.add_reply(b"1"), 0.0)
    assert not special.done()
