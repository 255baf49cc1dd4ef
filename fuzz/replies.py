"""Replies of a server that answers whatever it likes, through the real parser into both state machines.

A reply that makes no sense may cost the connection. It must not crash, and must leave a machine that settles
everything as soon as it talks to an honest server.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, cast

from bullrush._core.codec import encode_record
from bullrush._core.exchange import Exchange
from bullrush._core.producer import Producer
from bullrush._core.protocol import DataProtocol
from bullrush._core.session import ELSEWHERE, LATER, SessionState
from bullrush.errors import BullrushError
from fuzz.take import Take
from tests.native.model_server import ModelServer
from tests.unit import machines as m

CODES: Final = [
    *sorted(LATER | ELSEWHERE),
    "NOSCRIPT",
    "ORDER 3",
    "SESSION closed",
    "OOM",
    "ERR",
    "LEASE lost",
    "RETRY",
    "VERSION",
    "TAKEN",
]
STEPS: Final = 40


def one_input(data: bytes) -> None:
    """The first byte says which machine it is."""
    take = Take(data)
    take.choice([adder, worker])(take)


def adder(take: Take) -> None:
    """A producer: each waiter is told something in the end."""
    machine = m.make_producer()
    waiters: list[Future[Any]] = []
    Talk(take, machine, lambda: waiters.append(some_add(take, machine))).go()
    recover(machine)
    assert machine.state == SessionState.ENDED or all(waiter.done() for waiter in waiters), (
        "somebody waits for ever"
    )


def some_add(take: Take, machine: Producer) -> Future[Any]:
    """Buffer a job, of all kinds, or a chunk."""
    options: list[dict[str, Any]] = [{}, {"priority": 1}, {"job_id": "own"}, {"delay": "1s"}]
    with contextlib.suppress(BullrushError, RuntimeError):
        if take.byte() % 8 == 0:
            return m.push_many(machine, take.byte())
        return m.push(machine, "x" * (take.byte() * 30), **take.choice(options))
    ended: Future[Any] = Future()
    ended.cancel()
    return ended


def worker(take: Take) -> None:
    """An exchange: every outcome that it was given is settled in the end."""
    machine = m.make_exchange(prefetch=take.byte() % 20 - 1)
    Talk(take, machine, lambda: some_end(take, machine)).go()
    if machine.state == SessionState.ENDED:
        return
    if machine.lease_lost:
        machine.start_over(b"78", b"{}")
    recover(machine)
    assert machine.state == SessionState.ENDED or machine.settled or machine.lease_lost, (
        "an outcome is left behind"
    )


def some_end(take: Take, machine: Exchange) -> None:
    """Start what is ready, and end it in one of the ways."""
    machine.take_broken()
    machine.take_refused()
    machine.take_expired()
    for job in machine.take_ready(3):
        machine.put_down(job)
        end = take.choice(ENDS)
        with contextlib.suppress(BullrushError):
            end(machine, job)


ENDS: Final[list[Callable[[Exchange, Any], object]]] = [
    lambda machine, job: machine.complete_with(job, job.data),
    lambda machine, job: machine.fail(job, b"\xa1r", b"\xa1t", b"\xa1s", None, 1, 1),
    lambda machine, job: machine.retry(job, b"\xa1r", b"\xa1t", b"\xa1s", 10),
    lambda machine, job: machine.release(job),
    lambda machine, job: machine.hold(job, 100),
    lambda machine, job: machine.later(job, 100),
    lambda machine, job: (machine.progress(job, b"\x01"), machine.log(job, b"line"), machine.release(job)),
]


class Transport:
    """Takes what is written, and notes whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def write(self, frame: bytes) -> None:
        """Check that what leaves is whole commands."""
        m.commands(frame)

    def abort(self) -> None:
        """Close it."""
        self.closed = True


class Talk:
    """One machine on a connection to the hostile server; a lost one is replaced."""

    def __init__(self, take: Take, machine: Producer | Exchange, act: Callable[[], object]) -> None:
        self._take = take
        self._machine = machine
        self._act = act
        self._connect()

    def _connect(self) -> None:
        self._protocol = DataProtocol(None, None)
        self._transport = Transport()
        self._protocol.connection_made(cast("Any", self._transport))

    def go(self) -> None:
        """Act and answer, until the bytes are used up."""
        for _ in range(STEPS):
            if self._take.is_empty or self._machine.state == SessionState.ENDED:
                return
            if self._take.byte() % 4 == 0:
                self._act()
            self._protocol.pump(self._machine)
            self._hear(self._reply())

    def _hear(self, data: bytes) -> None:
        """Whatever is raised here, asyncio closes the connection, and the link goes on with another."""
        try:
            self._protocol.data_received(data)
        except (AssertionError, MemoryError, SystemError):
            raise
        except Exception:
            self._transport.closed = True
        if self._transport.closed or self._machine.want_reconnect:
            self._protocol.connection_lost(None)
            self._machine.lost()
            self._connect()

    def _reply(self) -> bytes:
        take = self._take
        waiting = list(self._machine.inflight)
        kind = take.byte() % 8
        if kind == 0:
            return take.bytes(take.byte())
        if kind == 1:
            return b"-" + take.choice(CODES).encode() + b" said so\r\n"
        if not waiting:
            return resp(self._any(0))
        return resp(self._bent(self._right(waiting[0])))

    def _right(self, call: Any) -> object:
        """What an honest server would say."""
        if call.kind == "open":
            known = self._take.choice([None, call.number, 0, 1, 2, 3])
            return m.open_reply(
                known=known,
                last_id=self._take.byte() * 999,
                held=self._take.choice([[], [b"7"], [b"1", b"2"]]),
            )
        if call.kind == "exchange":
            count = self._take.byte() % 4
            claimed = {str(self._take.byte()): self._record() for _ in range(count)}
            return m.exchange_reply(claimed, flags=self._take.byte(), extras=self._take.choice(EXTRAS))
        return self._take.byte() * 99 if call.kind == "reserve" else m.add_reply()

    def _record(self) -> bytes | None:
        record = self._take.choice(
            [None, encode_record("n", 1, None, [1]), encode_record("n", 1, b"\x81\xa4lifo\xc3", {})]
        )
        return record if record is None or self._take.byte() % 4 else record + self._take.bytes(3)

    def _bent(self, right: object) -> object:
        """The right answer, most often with one part replaced, cut off or doubled."""
        take = self._take
        if take.byte() % 3 == 0:
            return right
        if not isinstance(right, list) or take.byte() % 8 == 0:
            return self._any(0)
        reply = list(cast("list[object]", right))
        at = take.byte() % len(reply)
        match take.byte() % 4:
            case 0:
                del reply[at:]
            case 1:
                reply.insert(at, self._any(0))
            case 2 if isinstance(reply[at], list):
                reply[at] = self._bent(reply[at] or [0])
            case _:
                reply[at] = self._any(0)
        return reply

    def _any(self, depth: int) -> object:
        take = self._take
        match take.byte() % (8 if depth < 3 else 7):
            case 0:
                return None
            case 1:
                return take.number(take.byte() % 9)
            case 2:
                return str(take.number(take.byte() % 9)).encode()
            case 3:
                return take.bytes(take.byte())
            case 4:
                return b" ".join([take.bytes(3) for _ in range(take.byte() % 6)])
            case 5:
                return take.choice(
                    [b"", b"0 0 0 0", b"1 2 3 1", b"0:x 1:y", b"\x00creason\x00t123", b"1 0:7"]
                )
            case 6:
                return ReplyText(take.choice(CODES))
            case _:
                return [self._any(depth + 1) for _ in range(take.byte() % 5)]


EXTRAS: Final = [[], [0, b"0 0 0 0", b"", b"0"], [0, b"0 1 1 1", b"p12", b"1"], [1, b"", b"h\x00cwhy", b"0"]]


class ReplyText(str):
    """The text of an error reply."""


def resp(value: object) -> bytes:
    """A reply in RESP2."""
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, bytes):
        return b"$%d\r\n%s\r\n" % (len(value), value)
    if isinstance(value, ReplyText):
        return b"-" + value.encode() + b"\r\n"
    items = cast("list[object]", value)
    return b"*%d\r\n" % len(items) + b"".join([resp(item) for item in items])


def recover(machine: Producer | Exchange) -> None:
    """Let the machine talk to an honest server until it rests."""
    if machine.state == SessionState.ENDED:
        return
    machine.lost()
    server, replies, now = ModelServer(), list[object](), 1e6
    for _ in range(400):
        frame = machine.poll(now)
        if frame is not None:
            replies.append(server.run(m.read_call(frame)))
        elif replies:
            machine.receive(replies.pop(0), now)
            if machine.want_reconnect:
                machine.lost()
                replies.clear()
        else:
            return
        now += 1.0
    raise AssertionError("it never comes to rest")
