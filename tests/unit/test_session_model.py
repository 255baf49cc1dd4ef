"""Exactly-once add: whatever the network does, each job is stored once, and its caller learns the truth.

A server made of dicts obeys the rules of ``open`` and of every changing script; between it and the producer
the test cuts sockets before and after calls, lets bytes of a dead socket arrive late, and puts in refusals.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from bullrush._core.codec import decode, decode_record
from bullrush._core.session import LATER
from bullrush.errors import QueueFull, ServerError
from tests.unit.machines import FAR, NOW, Sent, make_job, make_producer, poll, read_call, refused

TEXTS = ["LOADING x", "NOSCRIPT x", "READONLY x", "TRYAGAIN x", "OOM x", "ERR x"]
ACTIONS = st.one_of(
    st.tuples(st.just("push"), st.sampled_from([1, 1, 2, 40, 300])),
    st.tuples(st.just("deliver"), st.integers(1, 3)),
    st.tuples(st.just("reply"), st.integers(1, 3)),
    st.tuples(st.just("cut"), st.booleans()),
    st.tuples(st.just("late"), st.just(0)),
    st.tuples(st.just("refuse"), st.sampled_from(TEXTS)),
)


class Server:
    """What ``open``, ``add`` and ``reserve`` do, with a list of everything that was ever stored."""

    def __init__(self) -> None:
        self.sessions: dict[bytes, tuple[int, bool]] = {}
        self.last_id = 0
        self.stored: list[tuple[bytes, object]] = []

    def run(self, call: Sent) -> object:
        return self.open(call.arguments) if call.script == "open" else self.change(call)

    def open(self, arguments: list[bytes]) -> object:
        session, previous, block = arguments[0], arguments[1], int(arguments[2])
        known = None
        if previous in self.sessions:
            known = self.sessions[previous][0]
            self.sessions[previous] = (known, True)
        self.sessions.setdefault(session, (0, False))
        self.last_id += block
        applied = None if known is None else str(known).encode()
        return [NOW, b"e", applied, None, self.last_id, b"all", b"msgpack", []]

    def change(self, call: Sent) -> object:
        applied, closed = self.sessions.get(call.session, (0, True))
        if closed:
            return refused("SESSION closed" if call.session in self.sessions else "SESSION unknown")
        if applied != call.number - 1:
            return refused(f"ORDER {applied}")
        self.sessions[call.session] = (call.number, False)
        if call.script == "reserve":
            self.last_id += int(call.arguments[2])
            return self.last_id
        self.store(call.arguments)
        return [NOW, b"1-0", b""]

    def store(self, arguments: list[bytes]) -> None:
        pairs = arguments[4:]
        for id, record in zip(pairs[::2], pairs[1::2], strict=True):
            self.stored.append((id, decode(decode_record(record)[3])))


class World:
    """A producer, a server, and the wire between them."""

    def __init__(self) -> None:
        self.producer = make_producer()
        self.server = Server()
        self.now = 0.0
        self.there: deque[bytes] = deque()
        self.back: deque[object] = deque()
        self.late: deque[bytes] = deque()
        self.refusals: deque[str] = deque()
        self.waiters: list[tuple[range, Future[Any]]] = []
        self.count = 0

    def push(self, size: int) -> None:
        numbers = range(self.count, self.count + size)
        self.count += size
        waiter: Future[Any] = Future()
        if size == 1:
            self.producer.push(make_job(numbers[0]), waiter, FAR)
        else:
            self.producer.push_all([make_job(number) for number in numbers], waiter, FAR)
        self.waiters.append((numbers, waiter))

    def pump(self) -> None:
        self.now += 2.0  # beyond every pause
        while (frame := self.producer.poll(self.now)) is not None:
            self.there.append(frame)

    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.there))):
            call = read_call(self.there.popleft())
            if self.refusals and (call.script != "open" or self.refusals[0].split()[0] in LATER):
                self.back.append(refused(self.refusals.popleft()))
            else:
                self.back.append(self.server.run(call))

    def reply(self, count: int) -> None:
        for _ in range(min(count, len(self.back))):
            self.producer.receive(self.back.popleft(), self.now)
            if self.producer.want_reconnect:
                self.cut(False)
                return

    def cut(self, late: bool) -> None:
        """The socket is gone; what was on the way may still arrive."""
        if late:
            self.late.extend(self.there)
        self.there.clear()
        self.back.clear()
        self.producer.lost()

    def arrive_late(self) -> None:
        while self.late:
            self.server.run(read_call(self.late.popleft()))

    def act(self, kind: str, value: Any) -> None:
        match kind:
            case "push":
                self.push(value)
            case "deliver":
                self.deliver(value)
            case "reply":
                self.reply(value)
            case "cut":
                self.cut(value)
            case "late":
                self.arrive_late()
            case "refuse":
                self.refusals.append(value)
        self.pump()

    def settle(self) -> None:
        """Let everything come to its end."""
        for _ in range(1000):
            if all(waiter.done() for _, waiter in self.waiters):
                return
            self.pump()
            self.deliver(10)
            self.reply(10)
        raise AssertionError("something is never stored and never refused")


@settings(deadline=None)
@given(st.lists(ACTIONS, max_size=40))
@example([("push", 300), ("deliver", 1), ("reply", 1), ("cut", False)])
def test_each_job_is_stored_once_or_refused(actions: list[tuple[str, Any]]) -> None:
    world = World()
    for kind, value in actions:
        world.act(kind, value)
    world.settle()
    world.arrive_late()
    stored = sorted(number for _, number in world.server.stored)
    expected: list[int] = []
    for numbers, waiter in world.waiters:
        error = waiter.exception(0)
        assert error is None or isinstance(error, QueueFull | ServerError)
        expected += numbers if error is None else []
    assert stored == expected
    ids = [id for id, _ in world.server.stored]
    assert len(set(ids)) == len(ids), "an id was handed out twice"


@settings(deadline=None)
@given(st.lists(ACTIONS, max_size=40))
def test_callers_learn_the_ids_that_were_stored(actions: list[tuple[str, Any]]) -> None:
    world = World()
    for kind, value in actions:
        world.act(kind, value)
    world.settle()
    by_number = {number: id.decode() for id, number in world.server.stored}
    for numbers, waiter in world.waiters:
        if waiter.exception(0) is None:
            result = waiter.result(0)
            jobs = result if isinstance(result, list) else [result]
            assert [job.id for job in jobs] == [by_number[number] for number in numbers]


def test_the_model_refuses_what_the_scripts_refuse() -> None:
    """The server made of dicts is no rubber stamp: a call out of turn changes nothing there."""
    server, producer = Server(), make_producer()
    [opening] = poll(producer)
    producer.receive(server.run(opening), 0.0)
    assert str(server.run(Sent("add", False, [], [producer.id, b"2", b"0", b"0", b""]))) == "ORDER 0"
    assert str(server.run(Sent("add", False, [], [b"other", b"1", b"0", b"0", b""]))) == "SESSION unknown"
    server.open([b"new", producer.id, b"64"])
    assert str(server.run(Sent("add", False, [], [producer.id, b"1", b"0", b"0", b""]))) == "SESSION closed"
    assert server.stored == []
