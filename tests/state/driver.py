"""Call the scripts on a real server over one blocking connection, as a client would, and read everything that is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from bullrush._core.frames import ScriptFrame
from bullrush._core.session import ReplyError
from bullrush.keys import Keys
from bullrush.operations.requests import Numbered, Operation, Read, script_frame
from tests.faults.wire import Argument, Wire
from tests.state.pieces import Outcome, Spec

ResultT = TypeVar("ResultT")
LEASE = 3_600_000
LONG_LIST = b"SEARCHABLE = 10000"


@dataclass
class Session:
    """A numbered line of calls."""

    name: str
    number: int = 0


@dataclass
class Sent:
    """The last numbered call, to be sent once more."""

    frame: ScriptFrame
    arguments: tuple[Argument, ...]


@dataclass
class Stored:
    """Everything a queue holds, as read at one moment."""

    meta: dict[str, str]
    jobs: dict[str, bytes]
    plans: dict[str, bytes]
    attempts: dict[str, str]
    outcomes: dict[str, bytes]
    progress: dict[str, bytes]
    logged: dict[str, str]
    dedup: dict[str, bytes]
    expiries: dict[str, float]
    logs: list[bytes]
    waiting: list[str]  # elements, the next one first
    suspects: list[str]
    removed: set[str]
    prioritized: list[str]
    delayed: dict[str, float]
    completed: dict[str, float]
    failed: dict[str, float]
    workers: dict[str, float]
    hosts: set[str]
    tokens: int
    events: list[tuple[str, dict[str, bytes]]]
    held: dict[str, set[str]] = field(default_factory=dict)


class Driver:
    """One queue on one server."""

    def __init__(self, wire: Wire, name: str, searchable: int) -> None:
        self.wire = wire
        self.keys = Keys(name, "q")
        self.pattern = f"*{name}:*"
        self.sessions = 0
        self.producer = Session("none")
        self.last: Sent | None = None
        self.events_end = "-"
        # As many bytes as before, so that it can be put into a call that is packed already.
        self._short_list = b"SEARCHABLE = %-5d" % searchable

    # Calls.

    def run(self, frame: ScriptFrame, *arguments: Argument) -> Any:
        """Run a script; an error reply is returned."""
        text = frame.call(*arguments, by_text=True)
        if LONG_LIST in text:
            return self.wire.execute(text.replace(LONG_LIST, self._short_list))
        reply = self.wire.execute(frame.call(*arguments))
        if isinstance(reply, ReplyError) and str(reply).startswith("NOSCRIPT"):
            reply = self.wire.execute(text)
        return reply

    def numbered(self, session: Session, frame: ScriptFrame, *arguments: Argument) -> Any:
        """Run a changing script under a session; a refused call takes no number."""
        whole = (session.name, session.number + 1, *arguments)
        reply = self.run(frame, *whole)
        if not isinstance(reply, ReplyError):
            session.number += 1
            self.last = Sent(frame, whole)
        return reply

    def operate(self, operation: Operation[ResultT]) -> ResultT:
        """Run one of the library's operations; an error reply it does not expect is raised."""
        try:
            request = next(operation)
            while True:
                if isinstance(request, Read):
                    replies = [self.wire.execute(frame) for frame in request.frames]
                    broken = [reply for reply in replies if isinstance(reply, ReplyError)]
                    reply: Any = broken[0] if broken else replies
                elif isinstance(request, Numbered):
                    reply = self.numbered(self.producer, request.frame, *request.arguments)
                else:
                    reply = self.run(request.frame, *request.arguments)
                failed = isinstance(reply, ReplyError)
                request = operation.throw(reply) if failed else operation.send(reply)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def open(
        self, *, previous: str = "", number: str = "", register: bool = True, events: str = ""
    ) -> Session | ReplyError:
        """Open a session, of a worker if a number is given."""
        self.sessions += 1
        session = Session(f"session{self.sessions}")
        held = (self.keys.held(number),) if number else ()
        worker = (number, 1 if register else 0, LEASE, "{}") if number else ("", "", "", "")
        arguments = (session.name, previous, 0, f"epoch{self.sessions}", "msgpack", events, *worker)
        reply = self.run(script_frame("open", self.keys, held), *arguments)
        return reply if isinstance(reply, ReplyError) else session

    def add(self, specs: Sequence[Spec]) -> Any:
        plain = [spec for spec in specs if spec.plain]
        others = [spec for spec in specs if not spec.plain]
        flat: list[Argument] = []
        for spec in plain:
            flat += [spec.id, spec.record]
        for spec in others:
            flat += [spec.id, spec.record, place_of(spec)]
        frame = script_frame("add_special" if others else "add", self.keys)
        counts = (len(plain), len(others), "") if others else (len(plain), "")
        return self.numbered(self.producer, frame, *counts, *flat)

    def exchange(
        self,
        session: Session,
        number: str,
        plain: Sequence[tuple[str, bytes]],
        others: Sequence[Outcome],
        *,
        want: int = 0,
        free: int = 0,
        suspects: int = 0,
        alone: bool = True,
        look: bool = False,
        keep: int = 1000,
        age: int = -1,
    ) -> Any:
        flat: list[Argument] = []
        for id, outcome in plain:
            flat += [id, outcome]
        for told in others:
            flat += [told.kind, told.id, told.a, told.b, told.c]
        published = (
            ["completed", b"".join(b"\xa1" + id.encode() + b"\xc0" for id, _ in plain)] if plain else []
        )
        numbers = (want, free, suspects, int(alone), int(look), keep, age)
        sizes = (len(plain), len(others), len(published) // 2)
        frame = script_frame("exchange", self.keys, (self.keys.held(number),))
        return self.numbered(session, frame, number, LEASE, *numbers, "", *sizes, *flat, *published)

    def renew(self, number: str) -> Any:
        return self.run(script_frame("renew", self.keys), number, LEASE)

    def lapse(self, number: str, deadline: int) -> None:
        """Let a lease end: nothing was heard of this worker for long."""
        self.wire.command("ZADD", self.keys["workers"], "XX", deadline, number)

    def reap(self, number: str, deadline: int, page: int, max_crashes: int, keep: int, age: int) -> Any:
        frame = script_frame("reap", self.keys, (self.keys.held(number),))
        return self.run(frame, number, deadline, page, max_crashes, keep, age)

    def retire(self, number: str) -> Any:
        return self.run(script_frame("retire", self.keys, (self.keys.held(number),)), number)

    def now(self) -> int:
        seconds, micros = self.wire.command("TIME")  # type: ignore[misc]
        return int(seconds) * 1000 + int(micros) // 1000

    def await_moment(self, moment: int) -> None:
        """Let the server's clock go on: what is due a millisecond from now is so at the next call, whatever the machine's speed."""
        while self.now() < moment:
            pass

    def await_millisecond(self) -> None:
        """Let what ends now end later than what has ended."""
        self.await_moment(self.now() + 1)

    # Time. The server's clock cannot be turned, so its dates are.

    def pass_time(self, ms: int) -> None:
        keys, moves = self.keys, []
        for name, factor in (("delayed", 4096), ("completed", 1), ("failed", 1), ("expiries", 1)):
            scores = self._scores(self.wire.command("ZRANGE", keys[name], 0, -1, "WITHSCORES"))
            moves += [
                ("ZADD", keys[name], "XX", f"{score - ms * factor:.3f}", member)
                for member, score in scores.items()
            ]
        for name in ("limited", "full"):
            until = self.wire.command("HGET", keys["meta"], name)
            if until and int(until):  # type: ignore[call-overload]
                moves.append(("HSET", keys["meta"], name, int(until) - ms))  # type: ignore[call-overload]
        holders = self._map(self.wire.command("HGETALL", keys["dedup"]))
        for name, value in holders.items():
            id, _, until = value.decode("latin-1").rpartition(" ")
            if name.startswith("k") and until != "0":
                moves.append(("HSET", keys["dedup"], name, f"{id} {int(until) - ms}"))
        self.wire.commands(*moves)

    # Looking.

    def names(self) -> set[bytes]:
        return set(self.wire.command("KEYS", self.pattern))  # type: ignore[call-overload]

    def dump(self) -> dict[bytes, object]:
        """The queue's keys as the server would save them; of hashes and sets, whose order may change, what is in them."""
        return {name: self._content(name) for name in sorted(self.names())}

    def _content(self, name: bytes) -> object:
        # A hash that grows is moved while it is read, and its fields come in another order each time.
        kind = _text(self.wire.command("TYPE", name))
        if kind == "hash":
            flat = cast("list[bytes]", self.wire.command("HGETALL", name))
            return sorted(zip(flat[::2], flat[1::2], strict=True))
        if kind == "set":
            return sorted(cast("list[bytes]", self.wire.command("SMEMBERS", name)))
        return self.wire.command("DUMP", name)

    def read(self, numbers: Sequence[str]) -> Stored:
        keys = self.keys
        hashes = ("meta", "jobs", "plans", "attempts", "outcomes", "progress", "logged", "dedup")
        zsets = ("expiries", "delayed", "completed", "failed", "workers")
        replies: list[Any] = self.wire.commands(
            *[("HGETALL", keys[name]) for name in hashes],
            *[("ZRANGE", keys[name], 0, -1, "WITHSCORES") for name in zsets],
            ("ZRANGE", keys["prioritized"], 0, -1),
            ("ZRANGE", keys["logs"], 0, -1),
            ("LRANGE", keys["waiting"], 0, -1),
            ("LRANGE", keys["suspects"], 0, -1),
            ("SMEMBERS", keys["removed"]),
            ("HKEYS", keys["hosts"]),
            ("LLEN", keys["wake"]),
            ("XRANGE", keys["events"], self.events_end, "+"),
            *[("SMEMBERS", keys.held(number)) for number in numbers],
        )
        maps = {name: self._map(replies.pop(0)) for name in hashes}
        scores = {name: self._scores(replies.pop(0)) for name in zsets}
        events = [(id.decode(), self._map(fields)) for id, fields in replies[7]]
        if events:
            self.events_end = "(" + events[-1][0]
        texts = {
            name: {key: value.decode() for key, value in maps.pop(name).items()}
            for name in ("meta", "attempts", "logged")
        }
        return Stored(
            **texts,
            **maps,
            **scores,
            prioritized=_texts(replies[0]),
            logs=replies[1],
            waiting=_texts(replies[2])[::-1],
            suspects=_texts(replies[3])[::-1],
            removed=set(_texts(replies[4])),
            hosts=set(_texts(replies[5])),
            tokens=replies[6],
            events=events,
            held={number: set(_texts(ids)) for number, ids in zip(numbers, replies[8:], strict=True)},
        )

    @staticmethod
    def _map(flat: Any) -> dict[str, bytes]:
        return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}

    @staticmethod
    def _scores(flat: Any) -> dict[str, float]:
        return {member.decode(): float(score) for member, score in zip(flat[::2], flat[1::2], strict=True)}


def place_of(spec: Spec) -> str:
    """Spell where a job goes, as docs/protocol.md has it."""
    letter = "p" if spec.priority else "h" if spec.lifo else "w"
    parts = [str(spec.priority)] if spec.priority else []
    if spec.run_at:
        letter, parts = "t" + letter, [str(spec.run_at), *parts]
    elif spec.delay:
        letter, parts = "d" + letter, [str(spec.delay), *parts]
    place = " ".join(["?" + letter if spec.own else letter, *parts])
    return f"{place}\0{spec.mode} {spec.ttl} {spec.key}" if spec.mode else place


def _texts(members: list[bytes]) -> list[str]:
    return [member.decode() for member in members]


def _text(reply: object) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)
