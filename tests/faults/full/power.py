"""The power goes while producers add and workers settle: what was acknowledged is there, as far as it was promised."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import cast

import msgpack
import redis

from bullrush import Queue
from tests.faults.checker import EVERYBODY, Verdict, check
from tests.faults.full.lab import Lab, drained, registered
from tests.faults.recorder import Notes
from tests.faults.roles import Place, WorkerRole
from tests.faults.shims.power import Power
from tests.servers import Server
from tests.waiting import wait_until, wait_until_async

CUTS = 30  # on each kind of server
WORKERS = 2
PRODUCERS = 8  # tasks that add one job after the other
UP = (0.2, 0.9)  # s between cuts
SYNCED_WITHIN = 3.0  # s; everysec syncs each second, later by up to two when a sync takes long
PAGE = 5_000


async def power_always(lab: Lab) -> None:
    """Every write is synced before it is answered: nothing acknowledged may go."""
    verdict, trial = await _cut_again_and_again(lab, "always")
    lab.result.enter(verdict)
    lab.result.bounds["0 acknowledged missing after any cut"] = trial.missing == 0


async def power_everysec(lab: Lab) -> None:
    """The last second may go, and nothing else, and what is left fits together."""
    verdict, trial = await _cut_again_and_again(lab, "everysec")
    lab.result.enter(verdict)
    lab.result.bounds.pop("0 lost")  # the figure stays: it is what this setting costs
    lab.result.bounds |= {
        f"nothing is missing that was acknowledged {SYNCED_WITHIN:g} s before a cut": trial.oldest
        <= SYNCED_WITHIN,
        "only what was missing after a cut is lost": set(verdict.lost) <= trial.missing_keys,
    }


class Trial:
    """One server whose power goes again and again, with the same producers and workers all the time."""

    def __init__(
        self, lab: Lab, server: Server, power: Power, place: Place, queue: Queue, policy: str
    ) -> None:
        self._policy = policy
        self._lab, self._server, self._power = lab, server, power
        self._notes, self._queue = Notes(place.notes), queue
        self._keys = iter(range(1_000_000_000))
        self._chance = lab.chance("cuts")
        self._fresh: dict[int, tuple[str, float]] = {}  # acknowledged since the last cut
        self._stopping = False
        self.acknowledged = 0
        self.added = 0
        self.missing_keys: set[int] = set()
        self.oldest = 0.0
        self.bytes = self.renames = 0

    @property
    def missing(self) -> int:
        return len(self.missing_keys)

    async def add(self) -> None:
        """Be one producer."""
        for key in self._keys:
            if self._stopping:
                return
            self._notes.tried(key)
            if self._policy == "always":
                job = await self._queue.add("work", key, durability="fsync")
            else:
                job = await self._queue.add("work", key)
            self._notes.acknowledged(key, job.id)
            self._fresh[key] = (job.id, time.monotonic())
            self.acknowledged += 1

    def stop(self) -> None:
        self._stopping = True

    async def cut(self, number: int) -> None:
        """Let it work for a while, cut the power, look what is left, and go on."""
        before = self.acknowledged
        await asyncio.sleep(self._chance.uniform(*UP))  # time is the subject
        await wait_until_async(lambda: self.acknowledged > before + 20, 30, what="jobs to be acknowledged")
        if self._policy == "always" and number % 3 == 2:
            # While the file is rewritten. With everysec the server may refuse what such a cut leaves (it says so).
            await asyncio.to_thread(self._rewrite, wait=False)
        # In a thread, so that adds and their replies go on up to the moment of the cut.
        loss = await asyncio.to_thread(self._power.cut, self._server, self._chance)
        self._notes.disturbed(EVERYBODY, "the power was cut")
        at = time.monotonic()
        self.bytes += loss.bytes
        self.renames += loss.renames
        known, self._fresh = self._fresh, {}
        await asyncio.to_thread(self._server.start)
        await asyncio.to_thread(self._rewrite, wait=True)
        await self._lab.examine(self._queue)  # with everybody at work again
        for key in await asyncio.to_thread(self._missing, known):
            self.missing_keys.add(key)
            self.oldest = max(self.oldest, at - known[key][1])

    def _rewrite(self, *, wait: bool) -> None:
        """Have the append-only file written anew, as operators should after a start from a torn one.

        Redis 7.0 leaves a script that was torn in two in the file, and at the next start does the first half of it.
        """
        with self._server.client() as client:
            client.bgrewriteaof()
            if wait:
                wait_until(lambda: not _is_rewriting(client), 30, what="the file to be rewritten")

    def _missing(self, known: dict[int, tuple[str, float]]) -> Iterator[int]:
        """Acknowledged jobs that the server does not know; an id that went to another job doesn't count."""
        keys = list(known)
        found: list[int] = []
        with self._server.client() as client:
            for start in range(0, len(keys), PAGE):
                page = keys[start : start + PAGE]
                ids = [known[key][0] for key in page]
                records = cast("list[bytes | None]", client.hmget(self._queue.keys["jobs"], ids))
                found += [key for key, record in zip(page, records, strict=True) if _key_of(record) != key]
        return iter(found)


def _is_rewriting(client: redis.Redis) -> bool:
    persistence = cast("dict[str, object]", client.info("persistence"))
    return bool(persistence["aof_rewrite_in_progress"] or persistence["aof_rewrite_scheduled"])


def _key_of(record: bytes | None) -> int | None:
    return None if record is None else cast("int", msgpack.unpackb(record)[3])


async def _cut_again_and_again(lab: Lab, policy: str) -> tuple[Verdict, Trial]:
    cuts = lab.scaled(CUTS, 3)
    power = Power(lab.folder)
    keep = ("--appendonly", "yes", "--appendfsync", policy)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(lab.server(extra=keep, environment=power.environment))
        recorder, template = stack.enter_context(lab.recorder()), stack.enter_context(lab.template())
        place = Place(url=server.url, queue="power", notes=recorder.address)
        for _ in range(WORKERS):
            template.start(
                WorkerRole(place=place, concurrency=5, seconds=0.001, lease_ms=5_000, max_crashes=1_000)
            )
        async with lab.queue(place) as queue:
            await registered(template, [queue])
            trial = Trial(lab, server, power, place, queue, policy)
            async with asyncio.TaskGroup() as group:
                for _ in range(PRODUCERS):
                    group.create_task(trial.add())
                for number in range(cuts):
                    await trial.cut(number)
                    if (number + 1) % 10 == 0:
                        lab.say(
                            f"{number + 1} of {cuts} cuts, {trial.missing} of {trial.acknowledged} missing"
                        )
                trial.stop()
            counts = await drained(queue, 0, 60)
            await lab.examine(queue)
            await registered(template, [queue])
        codes = template.stop()
    lab.result.figures |= {
        "power cuts": cuts,
        "acknowledged": trial.acknowledged,
        "missing after a cut": trial.missing,
        "oldest of them, s before the cut": trial.oldest,
        "bytes cut off files": trial.bytes,
        "renames undone": trial.renames,
    }
    lab.result.bounds |= {
        "0 failed": counts["failed"] == 0,
        "the workers close in good order": codes == [0] * WORKERS,
    }
    return check(recorder.read()), trial
