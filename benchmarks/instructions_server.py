"""Instructions per job that the scripts take of a real redis-server, counted by callgrind; PING marks the parts."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import redis

from benchmarks.instruction_paths import DATA, FAR, KEYS, LOOP, NOW, OWNER, new_exchange
from benchmarks.instruction_paths import Path as CountedPath
from benchmarks.server import command_line, describe, find, free_port, wait_until_up
from bullrush import Job
from bullrush._core.factory import JobFactory
from bullrush._core.producer import Producer
from bullrush._core.session import ReplyError, Session
from bullrush.operations.requests import script_frame
from bullrush.options import check_text

PRELOADED: Final = 12
# Calls of the first measurement, by the jobs of a call.
TIMES: Final = {1000: 3, 100: 10, 10: 30, 1: 50}


class Wire:
    """One socket, used in lockstep."""

    def __init__(self, port: int) -> None:
        # Its own parser gives back bytes and raises error replies: none is expected.
        self.connection = redis.Connection(port=port, socket_timeout=30)
        self.connection.connect()

    def mark(self) -> None:
        self.connection.send_command("PING")
        assert self.connection.read_response() == b"PONG"

    def talk(self, session: Session) -> None:
        """Send all that a session has to send, each call answered before the next one."""
        while frame := session.poll(time.monotonic()):
            self.connection.send_packed_command([frame])
            try:
                reply: object = self.connection.read_response()
            except redis.exceptions.NoScriptError as refusal:
                reply = ReplyError(f"NOSCRIPT {refusal}")
            session.receive(reply, time.monotonic())


class Adder:
    """Adds chunks of one size."""

    def __init__(self, wire: Wire) -> None:
        frames = (script_frame(name, KEYS) for name in ("open", "add", "add_special", "reserve"))
        self.wire, self.producer = wire, Producer(*frames, b"msgpack")
        self.factory = JobFactory(Job, OWNER, None, check_text, lambda _: None, 10_000_000)

    def add(self, size: int) -> None:
        jobs = self.factory.make_all([("send-email", DATA)] * size, {}, NOW)
        waiter = LOOP.create_future()
        self.producer.push_all(jobs, waiter, FAR)
        self.wire.talk(self.producer)
        assert waiter.done()


class Worker:
    """Settles and claims so many jobs with every call."""

    def __init__(self, wire: Wire, size: int) -> None:
        self.wire, self.size = wire, size
        self.exchange = new_exchange(77 + size, size, lease=600_000)
        wire.talk(self.exchange)

    def exchange_once(self) -> None:
        jobs = self.exchange.take_ready(self.size)
        assert len(jobs) == self.size
        for job in jobs:
            self.exchange.complete_with(job, None)
            self.exchange.put_down(job)
        self.wire.talk(self.exchange)


def _paths(wire: Wire) -> Iterator[CountedPath]:
    """Adds first, for the exchanges use them up; a worker registers when its turn has come."""
    adder = Adder(wire)
    for _ in range(PRELOADED):
        adder.add(1000)
    for size in (1000, 100, 1):
        yield f"add of {size:,}", _bound(adder.add, size), TIMES[size], size
    for size, times in TIMES.items():
        yield f"exchange of {size:,}", Worker(wire, size).exchange_once, times, size


def _bound(add: Callable[[int], None], size: int) -> Callable[[], None]:
    return lambda: add(size)


def drive(port: int) -> str:
    """Do each path N and 2N times, each behind a mark; returns names, N and jobs as the client's listing does."""
    wire, lines = Wire(port), list[str]()
    for name, path, times, jobs in _paths(wire):
        path()
        path()
        for count in (times, 2 * times):
            wire.mark()
            for _ in range(count):
                path()
        wire.mark()
        lines.append(f"{name}\t{times}\t{jobs}")
    return "\n".join(lines)


@contextmanager
def running(folder: Path) -> Iterator[int]:
    """A server under callgrind, with its clock's tick as rare as can be; gives its port."""
    port = free_port()
    callgrind = ["valgrind", "-q", "--tool=callgrind", "--dump-before=pingCommand"]
    command = [
        *callgrind,
        f"--callgrind-out-file={folder}/part",
        *command_line(find("redis"), port, str(folder)),
    ]
    process = subprocess.Popen([*command, "--hz", "1", "--dynamic-hz", "no"], stdout=subprocess.DEVNULL)
    try:
        wait_until_up(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


def count_into(folder: Path) -> str:
    """Run everything; the parts are in the folder afterwards."""
    with running(folder) as port:
        return drive(port)


def server_name() -> str:
    """What the counts depend on."""
    return describe(find("redis"))
