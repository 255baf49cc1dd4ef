"""The small interface that every contender fills in, once per library."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

from benchmarks.harness.case import Case, payload
from benchmarks.harness.work import Data, Work


class NotOffered(Exception):
    """The library has no such feature; the text says so."""


class Contender(ABC):
    """A queue library as its own documentation sets it up for throughput.

    One object is one queue in one process, made and used on the running loop. Blocking libraries simply block
    in `add`: there is nothing else to do meanwhile.
    """

    label: ClassVar[str]
    version: ClassVar[str]
    # Which guarantees it gives and drops, how it is set up and why; printed above the tables.
    notes: ClassVar[str]
    # Scenarios that the library has no feature for; they are left out of its rows.
    absent: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, case: Case, name: str = "bench") -> None:
        self.case = case
        self.name = name

    @abstractmethod
    async def open(self) -> None:
        """Connect, so that what follows is not start-up."""

    @abstractmethod
    async def close(self) -> None:
        """Close all connections."""

    @abstractmethod
    async def add(self, data: Data, *, delay: float = 0.0, priority: int = 0) -> None:
        """Add one job and wait until the server has it. `delay` in s; `priority` 1 (first) to 10, 0 for none."""

    async def add_bulk(self, batch: Sequence[Data], *, priorities: Sequence[int] = ()) -> None:
        """Add many in the fastest way that the library documents; default: one by one."""
        for data, priority in zip(batch, priorities or [0] * len(batch), strict=True):
            await self.add(data, priority=priority)

    async def add_from_tasks(self, tasks: int, each: int) -> None:
        """Let `tasks` callers add `each` jobs one after the other, all at once. Blocking libraries use threads."""

        async def adder(first: int) -> None:
            for i in range(first, first + each):
                await self.add(self.payload(i))

        await asyncio.gather(*[adder(n * each) for n in range(tasks)])

    @abstractmethod
    def worker(
        self, work: Work, *, concurrency: int, threads: bool = False, rate: int = 0
    ) -> AbstractAsyncContextManager[None]:
        """Run a worker in this process while the context is open.

        `threads`: handlers are `def`, in threads, where the library offers both. `rate`: at most so many starts a
        second, for the whole queue.
        """

    @abstractmethod
    async def pending(self) -> int:
        """Count what is waiting, delayed or running: 0 once every job is settled. Raises RuntimeError if any failed."""

    async def clear(self) -> None:  # noqa: B027
        """Forget the jobs of this queue, after the warm-up. Default: they are all done, there is nothing."""

    def payload(self, i: int) -> Data:
        """Data of job `i`."""
        return payload(i)

    def stored(self, data: Data) -> int:
        """How many bytes the library makes of this data, without anything of its own around it."""
        return len(json.dumps(data, separators=(",", ":")))


async def fill(contender: Contender, count: int, batch: int = 1_000) -> None:
    """Add `count` jobs, `batch` at a time."""
    chunk: list[Any] = [contender.payload(i) for i in range(batch)]
    for left in range(count, 0, -batch):
        await contender.add_bulk(chunk if left >= batch else chunk[:left])


async def settled(contender: Contender) -> None:
    """Wait until nothing is pending: there is no event for that. 1 ms is less than 1 % of any run."""
    while await contender.pending():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
