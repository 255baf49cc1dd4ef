"""What handlers do, and how the end of a run is known."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from benchmarks.harness.case import percentiles

Data = dict[str, Any]
DataOf = Callable[..., Data]  # takes what the contender gives its handlers
HASHED = b"x" * 65_536
WARM_UP_ADDS = 100


@dataclass(slots=True)
class Work:
    """Does nothing `count` times; `done` is set with the last time.

    A contender asks for the handler it needs: `coroutine` on the loop, `function` in threads. Both count as
    little as can be, since the time they take is the contender's.
    """

    count: int
    done: asyncio.Event = field(default_factory=asyncio.Event)
    _ran: int = 0
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _lock: Lock = field(default_factory=Lock)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    @property
    def ran(self) -> int:
        """How many handlers have run."""
        return self._ran

    def hit(self) -> None:
        """Count one, on the loop."""
        self._ran += 1
        if self._ran == self.count:
            self.done.set()

    def hit_in_thread(self) -> None:
        """Count one, in any thread: next() of a count is one step under the interpreter's lock.

        `ran` is told only from the last one on, so that no two threads write it in the wrong order.
        """
        number = next(self._numbers)
        if number >= self.count:
            with self._lock:
                self._ran = max(self._ran, number)
            self._loop.call_soon_threadsafe(self.done.set)

    def coroutine(self, data_of: DataOf) -> Callable[..., Awaitable[None]]:
        """Return an `async def` handler that takes whatever the contender passes."""
        hit = self.hit

        async def noop(*_: object, **__: object) -> None:
            hit()

        return noop

    def function(self, data_of: DataOf) -> Callable[..., None]:
        """Return a `def` handler that takes whatever the contender passes."""
        hit = self.hit_in_thread

        def noop(*_: object, **__: object) -> None:
            hit()

        return noop


@dataclass(slots=True)
class Waiting(Work):
    """Each handler waits, as one that asks a remote service does."""

    seconds: float = 0.0

    def coroutine(self, data_of: DataOf) -> Callable[..., Awaitable[None]]:
        async def wait(*_: object, **__: object) -> None:
            await asyncio.sleep(self.seconds)
            self.hit()

        return wait

    def function(self, data_of: DataOf) -> Callable[..., None]:
        def wait(*_: object, **__: object) -> None:
            time.sleep(self.seconds)
            self.hit_in_thread()

        return wait


@dataclass(slots=True)
class Hashing(Work):
    """Each handler computes: SHA-256 of 64 KiB, some 50 to 200 µs."""

    def coroutine(self, data_of: DataOf) -> Callable[..., Awaitable[None]]:
        async def compute(*_: object, **__: object) -> None:
            hashlib.sha256(HASHED).digest()
            self.hit()

        return compute

    def function(self, data_of: DataOf) -> Callable[..., None]:
        def compute(*_: object, **__: object) -> None:
            hashlib.sha256(HASHED).digest()
            self.hit_in_thread()

        return compute


@dataclass(slots=True)
class Timing(Work):
    """Each handler notes how late it starts: the clock now, less the time in data[`since`] (ns).

    All processes of a machine share that clock. The first `skipped` are warm-up.
    """

    since: str = "sent"
    skipped: int = WARM_UP_ADDS
    late: list[float] = field(default_factory=list)

    def coroutine(self, data_of: DataOf) -> Callable[..., Awaitable[None]]:
        async def note(*given: Any, **named: Any) -> None:
            self.late.append((time.monotonic_ns() - data_of(*given, **named)[self.since]) / 1e9)
            self.hit()

        return note

    def function(self, data_of: DataOf) -> Callable[..., None]:
        def note(*given: Any, **named: Any) -> None:
            self.late.append((time.monotonic_ns() - data_of(*given, **named)[self.since]) / 1e9)
            self.hit_in_thread()

        return note

    def percentiles(self) -> dict[str, float]:
        return percentiles(self.late[self.skipped :])


@dataclass(slots=True)
class Starts(Work):
    """Each handler notes when it starts, for a look at limits."""

    at: list[float] = field(default_factory=list)

    def coroutine(self, data_of: DataOf) -> Callable[..., Awaitable[None]]:
        async def note(*_: object, **__: object) -> None:
            self.at.append(time.monotonic())
            self.hit()

        return note

    def function(self, data_of: DataOf) -> Callable[..., None]:
        def note(*_: object, **__: object) -> None:
            self.at.append(time.monotonic())
            self.hit_in_thread()

        return note

    def most_within(self, seconds: float) -> int:
        """The most starts in any window of that length."""
        times, most, first = sorted(self.at), 0, 0
        for last, now in enumerate(times):
            while now - times[first] >= seconds:
                first += 1
            most = max(most, last - first + 1)
        return most


@dataclass(slots=True)
class Stuck(Work):
    """Each handler says that it has begun, and never ends: its process is about to be killed."""

    def coroutine(self, data_of: DataOf) -> Callable[..., Awaitable[None]]:
        async def hang(*_: object, **__: object) -> None:
            self.hit()
            await asyncio.sleep(3_600)

        return hang

    def function(self, data_of: DataOf) -> Callable[..., None]:
        def hang(*_: object, **__: object) -> None:
            self.hit_in_thread()
            time.sleep(3_600)

        return hang
