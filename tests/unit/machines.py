"""State machines without a server: what they send, taken apart, and the replies a server would give."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import hiredis

from bullrush._core.codec import encode_record
from bullrush._core.exchange import Exchange
from bullrush._core.factory import JobFactory
from bullrush._core.job import JobBase
from bullrush._core.producer import Producer
from bullrush._core.session import ReplyError, Session
from bullrush.keys import Keys
from bullrush.operations.requests import script_frame
from bullrush.options import JobSettings, check_text, job_settings
from bullrush.scripts import load

KEYS = Keys("p", "q")
OWNER = SimpleNamespace(name="q", codec=None)
NOW = 1_790_000_000_000
FAR = 1e9  # a deadline that no test reaches
SCRIPTS = ("open", "add", "add_special", "reserve", "exchange", "pause", "remove")


@dataclass(frozen=True)
class Sent:
    """One script call as a server would read it."""

    script: str
    by_text: bool
    keys: list[bytes]
    arguments: list[bytes]

    @property
    def session(self) -> bytes:
        return self.arguments[0]

    @property
    def number(self) -> int:
        return int(self.arguments[1])


def commands(data: bytes) -> list[list[bytes]]:
    """All commands in these bytes, which must end with the last one."""
    reader = hiredis.Reader(notEnoughData=StopIteration)
    reader.feed(data)
    return list(iter(reader.gets, StopIteration))


@cache
def _scripts() -> dict[bytes, str]:
    known = {}
    for name in SCRIPTS:
        script = load(name)
        known[script.sha.encode()] = known[script.source] = name
    return known


def read_call(frame: bytes) -> Sent:
    """Take one script call apart."""
    [[verb, script, count, *rest]] = commands(frame)
    assert verb in (b"EVALSHA", b"EVAL")
    return Sent(_scripts()[script], verb == b"EVAL", rest[: int(count)], rest[int(count) :])


def poll(session: Session, now: float = 0.0) -> list[Sent]:
    """Everything that the session sends now."""
    return [read_call(frame) for frame in iter(lambda: session.poll(now), None)]


def open_reply(
    *,
    known: int | None = None,
    answer: bytes | None = None,
    last_id: int = 64,
    held: Sequence[bytes] = (),
    now: int = NOW,
    epoch: bytes = b"e1",
    events: bytes = b"all",
) -> list[object]:
    """The reply to `open`: `known` is the last number applied of the session before."""
    applied = None if known is None else str(known).encode()
    return [now, epoch, applied, answer, last_id, events, b"msgpack", list(held)]


def add_reply(duplicates: bytes = b"", *, now: int = NOW) -> list[object]:
    return [now, b"1-0", duplicates]


def add_counts(sent: Sent) -> tuple[int, int]:
    """Plain jobs and others of an add."""
    return int(sent.arguments[2]), int(sent.arguments[3]) if sent.script == "add_special" else 0


def add_ids(sent: Sent) -> list[bytes]:
    plain, others = add_counts(sent)
    start = 5 if sent.script == "add_special" else 4
    tail = sent.arguments[start + 2 * plain :]
    return [*sent.arguments[start : start + 2 * plain : 2], *tail[: 3 * others : 3]]


def make_producer(**limits: int) -> Producer:
    return Producer(
        *(script_frame(name, KEYS) for name in ("open", "add", "add_special", "reserve")),
        b"msgpack",
        **limits,
    )


def open_producer(now: float = 0.0, **limits: int) -> Producer:
    """A producer with an open session and the ids 1 to 64."""
    producer = make_producer(**limits)
    assert [sent.script for sent in poll(producer, now)] == ["open"]
    producer.receive(open_reply(), now)
    return producer


def _settings_of(options: Mapping[str, object]) -> JobSettings | None:
    return job_settings(options) if options else None


def make_factory(
    kind: type[JobBase[Any, Any]] = JobBase, *, codec: Any = None, size_limit: int = 10_000_000
) -> JobFactory:
    owner = SimpleNamespace(name="q", codec=codec)
    return JobFactory(kind, owner, codec, check_text, _settings_of, size_limit)


_factory = make_factory()
_numbers = itertools.count()


def make_job(data: object = None, **options: Any) -> JobBase[Any, Any]:
    """A job to be added."""
    return _factory.make("n", data, job_settings(options) if options else None, NOW)


def push(producer: Producer, data: object = None, *, deadline: float = FAR, **options: Any) -> Future[Any]:
    """Buffer one job; the future of its storing."""
    waiter: Future[Any] = Future()
    producer.push(make_job(data, **options), waiter, deadline)
    return waiter


def push_many(producer: Producer, count: int, *, deadline: float = FAR) -> Future[Any]:
    """Buffer a chunk."""
    waiter: Future[Any] = Future()
    producer.push_all([make_job(number) for number in range(count)], waiter, deadline)
    return waiter


def push_script(producer: Producer, name: str = "pause", *arguments: Any) -> Future[Any]:
    """Buffer a numbered call of another script."""
    waiter: Future[Any] = Future()
    producer.push_script(script_frame(name, KEYS), arguments, waiter, FAR)
    return waiter


def two_in_flight() -> tuple[Producer, Future[Any], Future[Any]]:
    """A producer with two adds in flight, numbers 1 and 2, and what waits for them."""
    producer = make_producer()
    first, second = push_many(producer, 1000), push_many(producer, 1000)
    poll(producer)
    producer.receive(open_reply(last_id=2048), 0.0)
    assert [(sent.script, sent.number) for sent in poll(producer)] == [("add", 1), ("add", 2)]
    return producer, first, second


def refused(text: str) -> ReplyError:
    return ReplyError(text)


def make_exchange(**changes: Any) -> Exchange:
    """A worker's exchange under the number 77."""
    held = (KEYS.held("77"),)
    options: dict[str, Any] = {
        "number": b"77",
        "host": b"{}",
        "codec_name": b"msgpack",
        "kind": JobBase,
        "kinds": {},
        "concurrency": 10,
        "prefetch": 0,
        "lease": 30_000,
        "keep": 1000,
        "age": -1,
        **changes,
    }
    owner = options.pop("owner", OWNER)
    sink = options.pop("sink", None)
    return Exchange(
        script_frame("open", KEYS, held), script_frame("exchange", KEYS, held), owner, sink, **options
    )


# A worker.

PAUSED, MORE, SUSPECTS_LEFT, OUTCOMES_ONLY, EVENTS_OFF, LISTENING = 1, 2, 4, 8, 16, 32


@dataclass(frozen=True)
class Exchanged:
    """An exchange as a server would read it."""

    sent: Sent
    want: int
    free: int
    want_suspects: int
    alone: bool
    look: bool
    completed: dict[bytes, bytes]
    others: list[tuple[bytes, ...]]
    published: dict[bytes, bytes]


def read_exchange(sent: Sent) -> Exchanged:
    """Take the arguments of an exchange apart."""
    arguments = sent.arguments
    want, free, want_suspects, alone, look = (int(number) for number in arguments[4:9])
    completed, others, published = (int(number) for number in arguments[12:15])
    at_others = 15 + 2 * completed
    at_published = at_others + 5 * others
    assert len(arguments) == at_published + 2 * published
    pairs, rest = arguments[15:at_others], arguments[at_published:]
    return Exchanged(
        sent,
        want,
        free,
        want_suspects,
        bool(alone),
        bool(look),
        dict(zip(pairs[::2], pairs[1::2], strict=True)),
        [tuple(arguments[at : at + 5]) for at in range(at_others, at_published, 5)],
        dict(zip(rest[::2], rest[1::2], strict=True)),
    )


def exchanges(exchange: Exchange, now: float = 0.0) -> list[Exchanged]:
    """All exchanges that leave now."""
    return [read_exchange(sent) for sent in poll(exchange, now) if sent.script == "exchange"]


def exchange_reply(
    records: Mapping[str, bytes | None] | None = None,
    *,
    flags: int = 0,
    due: int = 0,
    extras: Sequence[object] = (),
    refused: Sequence[bytes] = (),
    expired: Sequence[bytes] = (),
    now: int = NOW,
) -> list[object]:
    """The reply to an exchange that claimed these records by id."""
    claimed = records or {}
    listed = " ".join(claimed).encode()
    return [
        now,
        flags,
        due,
        listed,
        list(claimed.values()),
        list(extras),
        list(refused),
        list(expired),
        b"1-0",
    ]


def record(name: str = "n", data: object = None, **options: Any) -> bytes:
    """The record of a job."""
    wire = job_settings(options).wire if options else None
    return encode_record(name, NOW, wire, data)


def open_exchange(now: float = 0.0, **changes: Any) -> Exchange:
    """A registered worker whose first claim found nothing and is answered."""
    exchange = make_exchange(**changes)
    assert [sent.script for sent in poll(exchange, now)] == ["open"]
    exchange.receive(open_reply(), now)
    assert len(exchanges(exchange, now)) == 1
    exchange.receive(exchange_reply(), now)
    return exchange


def claim(exchange: Exchange, records: Mapping[str, bytes | None], now: float = 0.0, **reply: Any) -> None:
    """Let the exchange ask, and claim these."""
    exchange.asked = True
    assert len(exchanges(exchange, now)) == 1
    exchange.receive(exchange_reply(records, **reply), now)


def start(exchange: Exchange) -> JobBase[Any, Any]:
    """Take the next job as if its handler had started."""
    [job] = exchange.take_ready(1)
    return job


def finish(exchange: Exchange, job: JobBase[Any, Any]) -> None:
    """Free the slot of a job that was settled."""
    assert exchange.put_down(job)
