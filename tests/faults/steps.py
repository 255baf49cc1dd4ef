"""A worker process that ends at one step of its work: before a call leaves, with half of it on its way, ...

The steps are seen from outside, at the socket's transport and at the methods between parts; the product knows
nothing of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import hiredis

from bullrush import Job, JobBase, Queue, Worker
from bullrush._core.protocol import DataProtocol, make_reader, not_enough
from bullrush.connection.link import Link
from bullrush.scripts import load
from bullrush.worker.services import Services
from bullrush.worker.settler import Settler
from tests.faults.recorder import Notes
from tests.faults.roles import Place, handler

EXIT = 9
CALLS = ("open", "exchange", "outcomes", "reap", "retire")
MOMENTS = ("before it leaves", "half of it sent", "sent", "before its reply is read", "reply read")
STEPS = (
    *(f"{call}: {moment}" for call in CALLS[:3] for moment in MOMENTS),
    "replies read, nothing started",
    "replies read, jobs started",
    "a handler begins",
    "a handler ends",
    "a completion is packed",
    "a failure is found",
    "a failure is settled",
    *(f"{call}: {moment}" for call in CALLS[3:] for moment in MOMENTS),
)


class Steps:
    """Counts how often each step was taken, and ends the process at the one it waits for."""

    def __init__(self, last: str, nth: int, notes: Notes) -> None:
        self._last, self._nth, self._notes = last, nth, notes
        self._taken = Counter[str]()

    def take(self, step: str, at_last: Callable[[], object] | None = None) -> None:
        """Note a step; if it is the one, do something more and end."""
        self._taken[step] += 1
        if step == self._last and self._taken[step] == self._nth:
            self._notes.disturbed(os.getpid(), step)
            if at_last is not None:
                at_last()
            os._exit(EXIT)


class SteppedTransport:
    """A transport that tells of each call before and after it is sent."""

    def __init__(self, transport: asyncio.Transport, steps: Steps, sent: deque[str]) -> None:
        self._transport, self._steps, self._sent = transport, steps, sent

    def write(self, frame: bytes) -> None:
        call, take = name_of(frame), self._steps.take
        take(f"{call}: before it leaves")
        take(f"{call}: half of it sent", lambda: self._transport.write(frame[: len(frame) // 2]))
        self._transport.write(frame)
        self._sent.append(call)
        take(f"{call}: sent")

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)


class SteppedProtocol(DataProtocol):
    """The protocol on such a transport; it tells of each reply before and after it is read."""

    steps: Steps

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._sent: deque[str] = deque()
        self._replies = make_reader()
        stepped = SteppedTransport(cast("asyncio.Transport", transport), self.steps, self._sent)
        super().connection_made(cast("asyncio.Transport", stepped))

    def data_received(self, data: bytes) -> None:
        self._replies.feed(data)
        answered = list[str]()
        while self._replies.gets() is not not_enough():
            answered.append(self._sent.popleft())
        for call in answered:
            self.steps.take(f"{call}: before its reply is read")
        super().data_received(data)
        for call in answered:
            self.steps.take(f"{call}: reply read")


def name_of(frame: bytes) -> str:
    """The script of a call; an exchange that settles something counts as a call of its own."""
    reader = hiredis.Reader()
    reader.feed(frame)
    parts = cast("list[bytes]", reader.gets())
    for name in ("open", "exchange", "reap", "retire"):
        script = load(name)
        if parts[1] in (script.sha.encode(), script.source):
            if name == "exchange":
                arguments = parts[3 + int(parts[2]) :]
                return "outcomes" if arguments[12:14] != [b"0", b"0"] else name
            return name
    return "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRole:
    """A worker process that ends at the `nth` time of a step. Jobs named "flaky" fail at the first attempt."""

    place: Place
    step: str
    nth: int = 1
    concurrency: int = 4
    lease_ms: int = 1000
    max_crashes: int = 100

    def run(self) -> None:
        """Work until then."""
        place = self.place
        notes = Notes(place.notes)
        steps = Steps(self.step, self.nth, notes)
        patch(steps)
        worker = Worker(
            Queue(place.queue, place.url, prefix=place.prefix),
            stepped_handler(notes, steps, closes=self.step.startswith("retire")),
            concurrency=self.concurrency,
            lease=self.lease_ms,
            max_crashes=self.max_crashes,
            remove_on_complete=False,
        )
        worker.on("completed", lambda _job, _value: steps.take("a completion is packed"))
        worker.run_forever()


def stepped_handler(notes: Notes, steps: Steps, closes: bool) -> Callable[[Job], Any]:
    """Return what runs a job whose data is its key; with `closes` the first one asks the process to end."""
    run = handler(notes, 0.005)

    async def handle(job: Job) -> int:
        notes.say(f"charged {job.crashes}", cast("int", job.data), job.id, job.attempts_started)
        steps.take("a handler begins")
        if closes:
            os.kill(os.getpid(), signal.SIGTERM)
        value = await run(job)
        steps.take("a handler ends")
        if job.name == "flaky" and not job.attempts_made:
            raise ValueError("at first it fails")
        return value

    return handle


def patch(steps: Steps) -> None:
    """Look over the shoulder of the parts of a worker, in this process."""
    SteppedProtocol.steps = steps

    def make_protocol(link: Link, loop: asyncio.AbstractEventLoop, old: asyncio.BaseProtocol) -> DataProtocol:
        return SteppedProtocol(loop, old, link._lost)

    after_replies, failed = Services._after_replies, Settler.failed

    def stepped_replies(services: Services) -> None:
        steps.take("replies read, nothing started")
        after_replies(services)
        steps.take("replies read, jobs started")

    def stepped_failure(
        settler: Settler, job: JobBase, error: BaseException, cancel_reason: str | None
    ) -> None:
        steps.take("a failure is found")
        failed(settler, job, error, cancel_reason)
        steps.take("a failure is settled")

    Link._make_protocol = make_protocol  # type: ignore[method-assign, assignment]
    Services._after_replies = stepped_replies  # type: ignore[method-assign, assignment]
    Settler.failed = stepped_failure  # type: ignore[method-assign, assignment]
