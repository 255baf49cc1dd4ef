"""A program: refuse one allocation after the other inside the core, and look at what is left each time.

Run as `python -m tests.native.no_memory CASE`. It prints how many allocations were refused. An error, or a crash of the
process, is what the test is about.
"""

from __future__ import annotations

import _testcapi
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from bullrush._core import codec
from bullrush._core.exchange import Exchange
from bullrush._core.frames import encode_command
from bullrush._core.histogram import Histogram
from bullrush._core.producer import Producer
from tests.native.model_server import ModelServer
from tests.unit import machines as m

MOST = 5_000  # refusals of one step; more means that it never succeeds
ENOUGH = 20  # successes in a row: the step has no allocation of that number any more
DATA = {
    "text": "x" * 3_000,
    "numbers": [1, -1, 2**40, 2**70, 1.5],
    "nested": [{"a": [{"b": (1, 2, {3, 4})}]}],
    "bytes": b"y" * 2_000,
}
LARGE = "x" * 500


class Refusals:
    """Refuses the n-th allocation of what it is told to do."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.failed = False

    def do(self, step: Callable[[], Any]) -> Any:
        """Do it with that allocation refused, once; the MemoryError comes out, if there is one."""
        if self.failed:
            return step()
        _testcapi.set_nomemory(self.number, self.number + 1)
        try:
            return step()
        except MemoryError:
            self.failed = True
            raise
        finally:
            _testcapi.remove_mem_hooks()


def each_number(run: Callable[[Refusals], object]) -> int:
    """Run with the first allocation refused, with the second, and so on, until none is left to refuse."""
    untouched = 0
    for number in range(1, MOST):
        refusals = Refusals(number)
        run(refusals)
        untouched = 0 if refusals.failed else untouched + 1
        if untouched == ENOUGH:
            return number - ENOUGH
    raise AssertionError(f"still failing after {MOST} refusals")


def same(result: object, right: object) -> None:
    if result != right:
        raise AssertionError(f"{result!r:.300} instead of {right!r:.300}")


def values() -> int:
    """The codec and its like give what they always give, or MemoryError."""
    packed, record = codec.encode(DATA), codec.encode_record("name", 1, None, DATA)
    histogram = Histogram()
    histogram.record(17)
    saved = histogram.to_bytes()
    steps: list[Callable[[], object]] = [
        lambda: codec.encode(DATA),
        lambda: codec.decode(packed),
        lambda: codec.encode_record("name", 1, None, DATA),
        lambda: codec.decode_record(record),
        lambda: encode_command(b"SET", "key", 17, b"z" * 2_000),
        lambda: Histogram.from_bytes(saved).to_bytes(),
        lambda: m.make_job(DATA, delay="1s", attempts=3).data,
    ]
    return sum(each_number(partial(tried, step, step())) for step in steps)


def tried(step: Callable[[], object], right: object, refusals: Refusals) -> None:
    try:
        same(refusals.do(step), right)
    except MemoryError:
        same(step(), right)


class Waiter:
    """As little of a future as the producer needs."""

    __slots__ = ("answer", "error")

    def __init__(self) -> None:
        self.answer: Any = None
        self.error: Exception | None = None

    def done(self) -> bool:
        return self.answer is not None or self.error is not None

    def set_result(self, answer: object) -> None:
        self.answer = answer

    def set_exception(self, error: Exception) -> None:
        self.error = error


class Wire:
    """Between a session and the server; whatever fails in `receive` costs the socket, as in asyncio."""

    def __init__(self, session: Producer | Exchange, server: ModelServer, refusals: Refusals) -> None:
        self._session = session
        self._server = server
        self._refusals = refusals
        self._replies: list[object] = []

    def settle(self, where: str) -> None:
        """Go on until nothing moves, refusing in `poll` or in `receive`."""
        for _ in range(200):
            if not self._poll(where == "poll") and not self._receive(where == "receive"):
                return
        raise AssertionError("it never comes to rest")

    def _poll(self, refuse: bool) -> bool:
        try:
            frame = self._refusals.do(lambda: self._session.poll(0.0)) if refuse else self._session.poll(0.0)
        except MemoryError:
            return True
        if frame is not None:
            self._replies.append(self._server.run(m.read_call(frame)))
        return frame is not None

    def _receive(self, refuse: bool) -> bool:
        if not self._replies:
            return False
        reply = self._replies.pop(0)
        try:
            if refuse:
                self._refusals.do(lambda: self._session.receive(reply, 0.0))
            else:
                self._session.receive(reply, 0.0)
        except MemoryError:
            self._replies.clear()
            self._session.lost()
        return True


def producer() -> int:
    """Whatever is refused, each job is stored once and its caller learns the id."""
    return sum(
        each_number(lambda refusals, where=where: adds(refusals, where))
        for where in ("push", "poll", "receive")
    )


def adds(refusals: Refusals, where: str) -> None:
    server, machine = ModelServer(), m.make_producer()
    wire = Wire(machine, server, refusals)
    wire.settle("")
    waiters = [Waiter() for _ in range(8)]
    for number, waiter in enumerate(waiters):
        options: dict[str, Any] = {"priority": 3} if number == 5 else {"job_id": "own"} if number == 6 else {}
        job = m.make_job([number, LARGE * number], **options)
        push(refusals, where, partial(machine.push, job, waiter, m.FAR))
    wire.settle(where)
    wire.settle("")
    same([waiter.error for waiter in waiters], [None] * 8)
    wanted = [(waiter.answer.id, [number, LARGE * number]) for number, waiter in enumerate(waiters)]
    same(sorted(server.stored), sorted(wanted))
    same(machine.busy, False)


def push(refusals: Refusals, where: str, step: Callable[[], object]) -> None:
    if where != "push":
        step()
        return
    try:
        refusals.do(step)
    except MemoryError:
        step()


def exchange() -> int:
    """Whatever is refused, each job of a worker gets exactly one outcome, and no call is garbled."""
    return sum(
        each_number(lambda refusals, where=where: works(refusals, where))
        for where in ("outcome", "poll", "receive")
    )


def works(refusals: Refusals, where: str) -> None:
    server = ModelServer(waiting={str(id): m.record(data=id) for id in range(1, 10)})
    machine = m.make_exchange()
    wire = Wire(machine, server, refusals)
    wire.settle("receive" if where == "receive" else "")
    wire.settle("")
    ended = 0
    while machine.unseen or machine.ready:
        machine.adopt(*server.claims(machine.unseen))
        for job in machine.take_ready(10):
            push(refusals, "push" if where == "outcome" else "", lambda job=job: end(machine, job))
            m.finish(machine, job)
            ended += 1
        wire.settle(where)
        wire.settle("")
    same(sorted(server.outcomes), sorted(str(id) for id in range(1, 10)))
    same(machine.settled, True)


def end(machine: Exchange, job: Any) -> None:
    """Each job ends in another way, the plain one most often."""
    kind = int(job.id) % 9
    if kind == 1:
        machine.fail(job, b"\xa1r", b"\xa1t", b"\xa1s", None, 1, 1)
    elif kind == 2:
        machine.retry(job, b"\xa1r", b"\xa1t", b"\xa1s", 1_000)
    elif kind == 3:
        machine.release(job)
    elif kind == 4:
        machine.later(job, 1_000)
    else:
        machine.complete_with(job, {"value": "x" * 600})


CASES = {"values": values, "producer": producer, "exchange": exchange}

if __name__ == "__main__":
    print(CASES[sys.argv[1]]())
