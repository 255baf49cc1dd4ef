"""Random schedules: real state machines and a real server, joined by a wire on which nothing moves unless the schedule says so.

A schedule is drawn from one seed. Its steps let a machine send, let the server take the next request, let a client see the next
reply, cut a socket, flush the scripts, fill the memory, fail over to an older copy of the data. A cut socket's requests may have
reached the server, or reach it later, when the next connection is open already, or never.
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import hiredis

from bullrush._core.session import Session
from bullrush.errors import ConnectionLost
from bullrush.keys import Keys
from bullrush.operations.control import obliterate
from bullrush.operations.requests import Read, Run
from bullrush.scripts import load
from tests.faults.wire import Argument, Wire

BUSY = 500  # calls without a pause that are no longer work


class Receiver(Protocol):
    """Takes the reply to a request."""

    def __call__(self, reply: object, now: float, /) -> None: ...


@dataclass
class Parcel:
    """A request on its way to the server, or its reply on the way back."""

    content: object
    receiver: Receiver


class Line:
    """A machine, its socket, and what its driver does after a reply."""

    def __init__(self, world: World, machine: Session, name: str) -> None:
        self.world = world
        self.machine = machine
        self.name = name
        self.up: deque[Parcel] = deque()
        self.down: deque[Parcel] = deque()

    def pump(self) -> None:
        """Write what the machine has to send."""
        while (frame := self.machine.poll(self.world.now)) is not None:
            self.up.append(Parcel(frame, self.machine.receive))

    def send(self, frame: bytes, receiver: Receiver) -> None:
        """Write a command of the driver's own."""
        self.up.append(Parcel(frame, receiver))

    def deliver_request(self) -> None:
        """The server takes the next request and answers."""
        if self.up:
            parcel = self.up.popleft()
            self.down.append(Parcel(self.world.execute(parcel.content, self), parcel.receiver))

    def deliver_reply(self) -> None:
        """The client sees the next reply, and does what the real drivers do then."""
        if not self.down:
            return
        parcel = self.down.popleft()
        parcel.receiver(parcel.content, self.world.now)
        self.after_reply()
        if self.machine.want_reconnect:
            self.cut(arrived=len(self.up), late=False)
        else:
            self.pump()

    def after_reply(self) -> None:
        """What the owner of the machine does."""

    def cut(self, arrived: int, late: bool) -> None:
        """The socket is gone. The first requests in flight reach the server, the others do so later or never."""
        for _ in range(min(arrived, len(self.up))):
            self.world.execute(self.up.popleft().content, self)
        if late and self.up:
            self.world.late.append((self, deque(parcel.content for parcel in self.up)))
        self.up.clear()
        self.down.clear()
        self.machine.lost()
        self.pump()

    def run_dry(self) -> bool:
        """Let everything arrive that is under way; returns whether anything was."""
        self.pump()
        moved = bool(self.up or self.down)
        for _ in range(BUSY):
            if not self.up and not self.down:
                return moved
            self.deliver_request()
            self.deliver_reply()
        raise AssertionError(f"{self.name} speaks with the server without end")


@dataclass
class Copy:
    """The queue's data at some moment."""

    dumps: dict[bytes, bytes]
    now: float
    step: int


@dataclass
class World:
    """One schedule: its server, its clock, its clients, and what has happened so far."""

    wire: Wire
    seed: int
    keys: Keys = field(init=False)
    rng: random.Random = field(init=False)
    now: float = 1000.0
    lines: list[Line] = field(default_factory=list)
    late: list[tuple[Line, deque[object]]] = field(default_factory=list)
    numbers: list[bytes] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    copy: Copy | None = None
    failovers: int = 0
    obliterated: int = 0
    full: bool = False
    executed: Callable[[bytes, object], None] | None = None

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.keys = Keys(f"s{self.seed}", "q")

    def note(self, text: str) -> None:
        self.trace.append(text)

    def execute(self, frame: object, line: Line) -> object:
        """Let the server run a request of a client."""
        assert isinstance(frame, bytes)
        reply = self.wire.execute(frame)
        if self.executed is not None:
            self.executed(frame, reply)
        self.note(f"    server: {_title(frame)} of {line.name} -> {_short(reply)}")
        return reply

    # Faults.

    def cut(self, line: Line) -> None:
        """Cut a socket: what is in flight arrives now, in part, or late, when the next connection may be open."""
        arrived = self.rng.randint(0, len(line.up)) if self.rng.random() < 0.6 else 0
        late = self.rng.random() < 0.6
        self.note(
            f"cut {line.name}: {arrived} of {len(line.up)} requests arrive, the rest {'late' if late else 'never'}"
        )
        line.cut(arrived, late)

    def deliver_late(self) -> None:
        """The next request of a socket that was cut reaches the server."""
        if not self.late:
            return
        index = self.rng.randrange(len(self.late))
        line, frames = self.late[index]
        self.note(f"late request of {line.name}")
        self.execute(frames.popleft(), line)
        if not frames:
            del self.late[index]

    def flush_scripts(self) -> None:
        self.note("SCRIPT FLUSH")
        self.wire.command("SCRIPT", "FLUSH")

    def load_scripts(self) -> None:
        """Another client loads the scripts."""
        self.note("another client loads the scripts")
        for name in ("open", "add", "add_special", "reserve", "exchange"):
            self.wire.command("SCRIPT", "LOAD", load(name).source)

    def fill(self, full: bool) -> None:
        self.note("the memory is full" if full else "memory was freed")
        self.full = full
        self.wire.command("CONFIG", "SET", "maxmemory", "1" if full else "0")

    def all_keys(self) -> list[bytes]:
        return [*self.keys.all(), *(self.keys.held(number.decode()) for number in self.numbers)]

    def take_copy(self) -> None:
        """Remember the data as a replica that will fall behind has it."""
        self.note("a replica has got this far")
        keys = self.all_keys()
        dumps = self.wire.commands(*[("DUMP", key) for key in keys])
        self.copy = Copy(
            {k: d for k, d in zip(keys, dumps, strict=True) if isinstance(d, bytes)},
            self.now,
            len(self.trace),
        )

    def fail_over(self, hidden: bool) -> None:
        """The replica takes over; a proxy may hide that from the clients."""
        assert self.copy is not None
        self.note(
            f"failover{' behind a proxy' if hidden else ''} to what the replica had at trace line {self.copy.step}"
        )
        if not hidden:
            for line in self.lines:
                line.cut(self.rng.randint(0, len(line.up)), late=False)
                line.up.clear()
                line.machine.lost()
        self.late.clear()
        self.fill(False)
        restores = [("RESTORE", key, 0, dump) for key, dump in self.copy.dumps.items()]
        self.wire.commands(("UNLINK", *self.all_keys()), *restores)
        self._shift(self.now - self.copy.now)
        self.failovers += 1

    def pass_time(self, seconds: float) -> None:
        """Let time pass for everybody: the clients' clocks go on, and what the server has dated comes nearer."""
        self.note(f"{seconds:g} s pass")
        self.now += seconds
        self._shift(seconds)

    def _shift(self, seconds: float) -> None:
        """The server's clock cannot be turned, so its dates are: leases and due times."""
        names = ("workers", "delayed")
        found = self.wire.commands(*[("ZRANGE", self.keys[name], 0, -1, "WITHSCORES") for name in names])
        moves: list[tuple[Argument, ...]] = []
        for name, factor, flat in zip(names, (1, 4096), found, strict=True):
            assert isinstance(flat, list)
            for member, score in zip(flat[::2], flat[1::2], strict=True):
                if float(score):
                    moves.append(
                        (
                            "ZADD",
                            self.keys[name],
                            "XX",
                            int(float(score)) - int(seconds * 1000) * factor,
                            member,
                        )
                    )
        if moves:
            self.wire.command("CONFIG", "SET", "maxmemory", "0")
            self.wire.commands(*moves)
            self.wire.command("CONFIG", "SET", "maxmemory", "1" if self.full else "0")

    def obliterate(self) -> None:
        """Another client removes the queue."""
        self.note("obliterate")
        self.copy = None
        operation = obliterate(self.keys, True)
        request = next(operation)
        try:
            while True:
                if isinstance(request, Read):
                    reply: object = [self.wire.execute(frame) for frame in request.frames]
                else:
                    assert isinstance(request, Run)
                    reply = self.wire.execute(request.frame.call(*request.arguments, by_text=True))
                request = operation.send(reply)
        except StopIteration as stop:
            assert stop.value == "ok"
        self.obliterated += 1


@dataclass
class Contents:
    """What a queue holds: each list element and set member with where it stands, and the records."""

    places: list[tuple[str, str]]
    records: dict[str, bytes]

    @property
    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for _, id in self.places:
            found[id] = found.get(id, 0) + 1
        return found


def read_contents(world: World) -> Contents:
    """Read a queue with everything that holds ids."""
    wire, keys = world.wire, world.keys
    held = [keys.held(number.decode()) for number in world.numbers]
    lists = ("waiting", "suspects")
    sorted_sets = ("delayed", "prioritized", "completed", "failed")
    replies = wire.commands(
        ("HGETALL", keys["jobs"]),
        *[("LRANGE", keys[name], 0, -1) for name in lists],
        *[("ZRANGE", keys[name], 0, -1) for name in sorted_sets],
        *[("SMEMBERS", key) for key in held],
    )
    flat = replies[0]
    assert isinstance(flat, list)
    places: list[tuple[str, str]] = []
    for name, members in zip((*lists, *sorted_sets, *["held"] * len(held)), replies[1:], strict=True):
        assert isinstance(members, list)
        places += [(name, member.lstrip(b"\1\2").decode()) for member in members]
    return Contents(places, {id.decode(): record for id, record in zip(flat[::2], flat[1::2], strict=True)})


def check_contents(contents: Contents) -> None:
    """Every id stands in exactly one place and has a record; no record is out of every place."""
    counts = contents.counts
    twice = {id: [p for p in contents.places if p[1] == id] for id, count in counts.items() if count > 1}
    assert not twice, f"ids in two places: {twice}"
    bare = [place for place in contents.places if place[1] not in contents.records]
    assert not bare, f"ids without a record: {bare}"
    stray = [id for id in contents.records if id not in counts]
    assert not stray, f"records that stand nowhere: {stray}"


def _title(frame: bytes) -> str:
    """Name the script or command of a frame, with its session and number."""
    reader = hiredis.Reader()
    reader.feed(frame)
    words = reader.gets()
    if words[0] not in (b"EVALSHA", b"EVAL"):
        return b" ".join(words[:2]).decode()
    arguments = words[3 + int(words[2]) :]
    name = _NAMES.get(words[1]) or _NAMES[words[1][-80:]]
    return f"{name}({', '.join(a[:24].decode('latin-1') for a in arguments[:9])}{', ...' if len(arguments) > 9 else ''})"


_SCRIPTS = ("open", "add", "add_special", "reserve", "exchange", "pause", "renew", "retire", "reap")
_NAMES = {load(name).sha.encode(): name for name in _SCRIPTS} | {
    load(name).source[-80:]: name for name in _SCRIPTS
}


def _short(reply: object) -> str:
    text = repr(reply)
    return text if len(text) < 160 else text[:160] + "…"


def is_unknown(error: BaseException | None) -> bool:
    """Say whether an error leaves open whether anything was stored."""
    return isinstance(error, ConnectionLost) and error.took_effect is None


def schedule_seeds(default: int, start: int) -> Iterator[int]:
    """The seeds to run: the one of BULLRUSH_SEED, or as many as BULLRUSH_SCHEDULES says."""
    chosen = os.environ.get("BULLRUSH_SEED")
    if chosen is not None:
        return iter([int(chosen)])
    count = int(os.environ.get("BULLRUSH_SCHEDULES", default))
    return iter(range(start, start + count))


def run_schedules(wire: Wire, seeds: Iterator[int], schedule: Callable[[World], None]) -> int:
    """Run one schedule for each seed; the first that fails is told with its seed and all that happened."""
    done = 0
    for seed in seeds:
        world = World(wire, seed)
        try:
            schedule(world)
        except Exception as error:
            story = "\n".join(world.trace)
            raise AssertionError(f"BULLRUSH_SEED={seed} replays this failure: {error!r}\n{story}") from error
        finally:
            wire.commands(("CONFIG", "SET", "maxmemory", "0"), ("UNLINK", *world.all_keys()))
        done += 1
    return done
