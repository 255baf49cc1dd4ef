"""The hot paths whose instructions are counted, without a server; see `benchmarks.instructions`.

Run under callgrind, which starts a new part of its profile at each call of `getppid`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from bullrush import Job
from bullrush._core.codec import decode, decode_record, encode, encode_record
from bullrush._core.dispatch import Dispatcher, Route
from bullrush._core.exchange import Exchange
from bullrush._core.factory import JobFactory
from bullrush._core.producer import Producer
from bullrush.codec import Values
from bullrush.events.decoding import Found, decode_entry
from bullrush.events.entries import Entry
from bullrush.events.kinds import Completed
from bullrush.keys import Keys
from bullrush.operations.requests import script_frame
from bullrush.options import check_text

JOBS: Final = 1_000
NOW: Final = 1_795_000_000_000
FAR: Final = 1e9
KEYS: Final = Keys("bullrush", "emails")
OWNER: Final = SimpleNamespace(name="emails", codec=None)
DATA: Final = {"to": "user000042@mail.example.com", "uid": 100_042}
RECORD: Final = encode_record("send-email", NOW, None, DATA)
IDS: Final = [str(1_000_000 + n) for n in range(JOBS)]
LOOP: Final = asyncio.new_event_loop()


class Adding:
    """A producer whose server answers at once."""

    def __init__(self) -> None:
        frames = (script_frame(name, KEYS) for name in ("open", "add", "add_special", "reserve"))
        self.producer = Producer(*frames, b"msgpack")
        self.factory = JobFactory(Job, OWNER, None, check_text, lambda _: None, 10_000_000)
        self.last_id = 1_000_064
        assert self.producer.poll(0.0) is not None
        self.producer.receive([NOW, b"epoch", None, None, self.last_id, b"all", b"msgpack", []], 0.0)

    def one(self) -> None:
        self.push()
        self.send()

    def concurrent(self) -> None:
        for _ in range(JOBS):
            self.push()
        self.send()

    def bulk(self) -> None:
        jobs = self.factory.make_all([("send-email", DATA)] * JOBS, {}, NOW)
        self.producer.push_all(jobs, LOOP.create_future(), FAR)
        self.send()

    def push(self) -> None:
        job = self.factory.make("send-email", DATA, None, NOW)
        self.producer.push(job, LOOP.create_future(), FAR)

    def send(self) -> None:
        while frame := self.producer.poll(0.0):
            if self.producer.inflight[-1].kind == "reserve":
                self.last_id += int(frame.rsplit(b"\r\n", 2)[1])
                self.producer.receive(self.last_id, 0.0)
            else:
                self.producer.receive([NOW, b"1-0"], 0.0)


def new_exchange(number: int = 77, jobs: int = JOBS, lease: int = 30_000) -> Exchange:
    """Make the exchange of a worker with that number and so many slots; its session is not open yet."""
    held = (KEYS.held(str(number)),)
    return Exchange(
        script_frame("open", KEYS, held),
        script_frame("exchange", KEYS, held),
        OWNER,
        None,
        number=str(number).encode(),
        host=b"{}",
        codec_name=b"msgpack",
        kind=Job,
        kinds={},
        concurrency=jobs,
        prefetch=0,
        lease=lease,
        keep=1_000,
        age=-1,
    )


class Working:
    """An exchange whose server always has 1,000 jobs."""

    def __init__(self) -> None:
        self.exchange = new_exchange()
        assert self.exchange.poll(time.monotonic()) is not None
        self.exchange.receive([NOW, b"epoch", None, None, None, b"all", b"msgpack", []], time.monotonic())
        assert self.exchange.poll(time.monotonic()) is not None

    def claim(self) -> None:
        claimed = " ".join(IDS).encode()
        self.exchange.receive([NOW, 2, 0, claimed, [RECORD] * JOBS, [], [], [], b"1-0"], time.monotonic())

    def claim_and_settle(self) -> None:
        """Claim 1,000, take them by hand, complete them; the next call leaves."""
        self.claim()
        for job in self.exchange.take_ready(JOBS):
            self.exchange.complete_with(job, None)
            self.exchange.put_down(job)
        assert self.exchange.poll(time.monotonic()) is not None


class Policy:
    """Nothing but completions is expected."""

    def replied(self) -> None: ...

    def notice(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the dispatcher asked for {name}")


class Dispatching(Working):
    """No-op async handlers on asyncio's loop."""

    def __init__(self) -> None:
        super().__init__()

        async def handler(job: object) -> None: ...

        self.dispatcher = Dispatcher(self.exchange, Policy(), Route(handler, False), None, LOOP)

    def claim_run_and_settle(self) -> None:
        self.claim()
        self.dispatcher.after_replies()
        LOOP.run_until_complete(turns(3))
        assert self.exchange.gathered == JOBS
        assert self.exchange.poll(time.monotonic()) is not None


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def encode_one() -> None:
    encode_record("send-email", NOW, None, DATA)


def decode_one() -> None:
    decode(decode_record(RECORD)[3])


COMPLETED: Final = b"".join(encode(id) + b"\xc0" for id in IDS)


def expand_events() -> None:
    entry = Entry(f"{NOW}-0", {b"n": b"1", b"completed": COMPLETED})
    assert len(decode_entry(entry, "emails", frozenset({Completed}), Found(), Values(None, "emails"))) == JOBS


# Path, what it does, how often in the first measurement (the second does it twice as often), jobs each time.
# Where memory happens to lie decides when an arena is taken or given back. Of 1,000 jobs done three times that made
# 6 % between two machines with the same code; of twenty times, 1 %.
Path = tuple[str, Callable[[], None], int, int]


def all_paths() -> list[Path]:
    working, dispatching = Working(), Dispatching()
    return [
        ("encode a record", encode_one, 500, 1),
        ("decode a record", decode_one, 500, 1),
        ("add, one by one", Adding().one, 500, 1),
        ("add, 1,000 at once", Adding().concurrent, 10, JOBS),
        ("add_bulk of 1,000", Adding().bulk, 20, JOBS),
        ("claim and settle 1,000", working.claim_and_settle, 20, JOBS),
        ("claim, run and settle 1,000", dispatching.claim_run_and_settle, 10, JOBS),
        ("1,000 completed events", expand_events, 5, JOBS),
    ]


def main() -> None:
    """Do each path N and 2N times, each behind a mark; print the names with N and the jobs of one time."""
    paths = all_paths()
    for _, path, _, _ in paths:
        for _ in range(3):  # names, memory and the interpreter's own caches
            path()
    gc.disable()
    for name, path, times, jobs in paths:
        for count in (times, 2 * times):
            os.getppid()
            for _ in range(count):
                path()
        sys.stdout.write(f"{name}\t{times}\t{jobs}\n")
    os.getppid()
    LOOP.close()


if __name__ == "__main__":
    main()
