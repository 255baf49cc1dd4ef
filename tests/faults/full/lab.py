"""What every campaign is given: a size, a seed, servers, a recorder; and what it hands back."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from bullrush import Queue
from tests.faults.checker import Verdict
from tests.faults.recorder import Recorder
from tests.faults.roles import Place
from tests.faults.seed import chance
from tests.faults.template import Template
from tests.servers import Kind, Server
from tests.waiting import wait_until_async

Figure = int | float | str


@dataclass(slots=True)
class Result:
    """What one campaign saw on one kind of server. `bounds` says of each promise whether it held."""

    campaign: str
    server: Kind
    seed: int
    seconds: float = 0.0
    figures: dict[str, Figure] = field(default_factory=dict[str, Figure])
    bounds: dict[str, bool] = field(default_factory=dict[str, bool])
    offenders: list[str] = field(default_factory=list[str])

    @property
    def holds(self) -> bool:
        return bool(self.bounds) and all(self.bounds.values())

    def enter(self, verdict: Verdict) -> None:
        """Take over what the checker found, with its promises."""
        self.figures |= {
            "jobs acknowledged": verdict.acknowledged,
            "jobs done": verdict.done,
            "lost": len(verdict.lost),
            "phantoms": len(verdict.phantoms),
            "stored twice": len(verdict.doubled),
            "starts": verdict.starts,
            "repeated starts": verdict.repeats,
            "unexplained repeats": len(verdict.unexplained),
            "errors shown": len(verdict.errors),
        }
        self.bounds |= {
            "0 lost": not verdict.lost,
            "0 phantoms": not verdict.phantoms,
            "0 stored twice": not verdict.doubled,
            "0 unexplained repeats": not verdict.unexplained,
        }
        if not verdict.is_clean or verdict.errors:
            self.offenders.append(str(verdict))


@dataclass(slots=True)
class Lab:
    """One campaign on one kind of server."""

    campaign: str
    kind: Kind
    seed: int
    scale: float
    result: Result
    folder: Path
    began: float = field(default_factory=time.monotonic)

    def scaled(self, full: int, least: int = 1) -> int:
        """How much of a full-size figure this run does."""
        return max(least, round(full * self.scale))

    def chance(self, purpose: str) -> Random:
        """A source of chance that the seed decides."""
        return chance(self.seed, f"{self.campaign} {self.kind} {purpose}")

    def say(self, text: str) -> None:
        """Print one line of progress."""
        seconds = time.monotonic() - self.began
        print(f"{self.campaign:>14} {self.kind:<6} {seconds:6.1f} s  {text}", file=sys.stderr, flush=True)

    @contextmanager
    def server(
        self, *, extra: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
    ) -> Iterator[Server]:
        """A server of its own, removed at the end."""
        made = Server(self.kind, extra=extra, environment=environment)
        try:
            made.start()
            yield made
        finally:
            made.discard()

    @contextmanager
    def recorder(self) -> Iterator[Recorder]:
        with Recorder(self.folder) as made:
            yield made

    @contextmanager
    def template(self) -> Iterator[Template]:
        with Template() as made:
            yield made

    def queue(self, place: Place) -> Queue:
        """A straight way to the jobs of a place."""
        return Queue(place.queue, place.url, prefix=place.prefix, request_timeout="60s")

    async def examine(self, queue: Queue) -> None:
        """Let fsck look at all that the server holds of this queue."""
        report = await queue.fsck(page=1_000)
        found = len(report.problems)
        before = self.result.figures.get("problems found by fsck", 0)
        self.result.figures["problems found by fsck"] = int(before) + found
        self.result.bounds["fsck is clean"] = self.result.bounds.get("fsck is clean", True) and not found
        self.result.offenders += [f"fsck: {problem}" for problem in report.problems[:5]]


Campaign = Callable[[Lab], Awaitable[None]]


@contextmanager
def lab(campaign: str, kind: Kind, seed: int, scale: float) -> Iterator[Lab]:
    """Set up a run of one campaign; its folder goes with it."""
    with tempfile.TemporaryDirectory(prefix="bullrush-faults-") as folder:
        yield Lab(campaign, kind, seed, scale, Result(campaign, kind, seed), Path(folder))


async def drained(queue: Queue, jobs: int, timeout: float) -> dict[str, int]:
    """Wait until so many jobs have ended and none is left elsewhere; the counts."""

    async def is_over() -> bool:
        counts = await queue.get_job_counts()
        ended = counts["completed"] + counts["failed"]
        return ended >= jobs and ended == sum(counts.values())

    try:
        await wait_until_async(is_over, timeout, what=f"{jobs} jobs to end")
    except AssertionError as error:
        raise AssertionError(f"{error}; {await queue.get_job_counts()}, {await queue.fsck()}") from None
    return {str(state): count for state, count in (await queue.get_job_counts()).items()}


async def has_room(queue: Queue, most: int) -> None:
    """Wait until no more than so many jobs wait: producers that run ahead would only fill the memory."""
    while await queue.count() > most:  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0.02)  # time is the subject


async def registered(template: Template, queues: list[Queue]) -> None:
    """Wait until every living worker is registered, so that it can close in good order, and no dead one is."""

    async def is_so() -> bool:
        listed = [worker.pid for queue in queues for worker in await queue.get_workers()]
        return set(listed) == template.alive

    await wait_until_async(is_so, 30, what="the living to be registered, and the dead to be forgotten")
