"""The server is killed and started again, a hundred times: every worker goes on, soon, with nobody's help."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from random import Random

from bullrush import Queue
from tests.faults.checker import EVERYBODY, check
from tests.faults.full.lab import Lab, drained, registered
from tests.faults.recorder import Follower, Note, Notes
from tests.faults.roles import Place, WorkerRole
from tests.faults.template import Template
from tests.servers import Server
from tests.waiting import wait_until_async

RESTARTS = 60  # on each kind of server
MODES = ("idle", "delayed only", "full")
WORKERS = 4
SECONDS = 0.04  # a job; all that was running when the server went is over when it comes back
DOWN = (0.2, 1.5)
LONG_DOWN = 4.0  # every tenth time: longer than a worker waits for a wake-up
WITHIN = 2.0
SILENT = 15.0  # a worker that has started nothing for that long beside plenty of jobs counts as dead
KEEP = ("--appendonly", "yes", "--appendfsync", "everysec")


async def restarts(lab: Lab) -> None:
    count = lab.scaled(RESTARTS, len(MODES))
    with lab.server(extra=KEEP) as server, lab.recorder() as recorder, lab.template() as template:
        place = Place(url=server.url, queue="restarts", notes=recorder.address)
        role = WorkerRole(place=place, concurrency=2, seconds=SECONDS, lease_ms=30_000)
        for _ in range(WORKERS):
            template.start(role)
        follower = recorder.follow()
        trial = Trial(lab, server, place, Notes(recorder.address), template, follower)
        async with lab.queue(place) as queue:
            await registered(template, [queue])
        for number in range(count):
            await trial.restart(MODES[number % len(MODES)], long=number % 10 == 9)
            if (number + 1) % 10 == 0:
                lab.say(f"{number + 1} of {count} restarts, the last one {trial.latencies[-1]:.3f} s")
        async with lab.queue(place) as queue:
            counts = await drained(queue, trial.jobs, 60)
            await lab.examine(queue)
        codes = template.stop()
        follower.close()
    verdict = check(recorder.read())
    lab.result.enter(verdict)
    ordered = sorted(trial.latencies)
    lab.result.figures |= {
        "restarts": count,
        "silent workers": trial.silent,
        "first job after, s, median": ordered[len(ordered) // 2],
        "first job after, s, p99": ordered[min(len(ordered) - 1, round(len(ordered) * 0.99))],
        "first job after, s, longest": ordered[-1],
        "all workers at work after, s, longest": max(trial.all_after),
        **{f"first job after, s, longest, {mode}": max(found) for mode, found in trial.by_mode.items()},
    }
    lab.result.bounds |= {
        "0 silent workers": trial.silent == 0,
        f"first job within {WITHIN:g} s of every restart": ordered[-1] <= WITHIN,
        "all completed": counts["completed"] == trial.jobs,
        "0 failed": counts["failed"] == 0,
        "the workers close in good order": codes == [0] * WORKERS,
    }


class Trial:
    """One restart after the other, on the same workers."""

    def __init__(
        self, lab: Lab, server: Server, place: Place, notes: Notes, template: Template, follower: Follower
    ) -> None:
        self._lab, self._server, self._place = lab, server, place
        self._notes, self._template, self._follower = notes, template, follower
        self._chance: Random = lab.chance("down")
        self._starts: list[Note] = []
        self.jobs = 0
        self.silent = 0
        self.latencies: list[float] = []
        self.all_after: list[float] = []
        self.by_mode: dict[str, list[float]] = {mode: [] for mode in MODES}

    async def restart(self, mode: str, *, long: bool) -> None:
        """Set the scene, kill, wait, start, and measure; then everything is worked off."""
        down = LONG_DOWN if long else self._chance.uniform(*DOWN)
        due, scene = 0.0, time.monotonic()
        if mode == "delayed only":
            delay = down + self._chance.uniform(0.0, 0.5)
            due = time.monotonic() + delay
            await self._add(1, delay=round(delay * 1000))
        elif mode == "full":
            await self._add(240 + round(down / SECONDS) * 2 * WORKERS)
        await asyncio.to_thread(self._server.kill)
        self._notes.disturbed(EVERYBODY, "the server was killed")
        await asyncio.sleep(down)  # time is the subject
        away = time.monotonic()
        await asyncio.to_thread(self._server.start)
        answered = time.monotonic()
        if mode == "idle":
            await self._add(1)
        began = max(answered, due)
        # On a machine that is busy the delayed job may be due before the server has ended.
        since = scene if mode == "delayed only" else away
        after = max(0.0, await self._first_start(since, mode) - began)
        self.latencies.append(after)
        self.by_mode[mode].append(after)
        await self._everybody(away, answered)
        await self._drain()

    async def _add(self, count: int, *, delay: int = 0) -> None:
        """Add through a connection of its own, as a producer that has nothing to do with the outage."""
        async with Queue(self._place.queue, self._place.url, prefix=self._place.prefix) as queue:
            keys = range(self.jobs, self.jobs + count)
            self.jobs += count
            self._notes.tried_range(keys.start, count)
            if delay:
                await queue.add("work", keys.start, delay=delay)
            else:
                await queue.add_bulk([("work", key) for key in keys])
            self._notes.acknowledged_range(keys.start, count)

    async def _first_start(self, since: float, mode: str) -> float:
        def come() -> Sequence[Note]:
            return self._since(since)

        try:
            started = await wait_until_async(come, SILENT, what="the first job after a restart")
        except AssertionError:
            async with self._lab.queue(self._place) as queue:
                seen = f"{await queue.get_job_counts()}, {await queue.get_workers()}"
            self._lab.result.offenders.append(
                f"restart {len(self.latencies) + 1} ({mode}): all silent: {seen}"
            )
            raise
        return min(note.at for note in started)

    async def _everybody(self, away: float, answered: float) -> None:
        """Wait until every worker has started a job, with plenty for all."""
        deadline = time.monotonic() + SILENT
        missing = set(self._template.alive)
        while missing and time.monotonic() < deadline:
            await self._add(2 * WORKERS)
            await asyncio.sleep(SECONDS)  # time is the subject
            missing = self._template.alive - {note.pid for note in self._since(away)}
        self.silent += len(missing)
        first = {note.pid: note.at for note in reversed(self._since(away))}
        self.all_after.append(max(0.0, max(first.values()) - answered))
        if missing:
            self._lab.result.offenders.append(f"silent after a restart: {sorted(missing)}")

    async def _drain(self) -> None:
        async with self._lab.queue(self._place) as queue:
            await drained(queue, self.jobs, 60)
        self._follower.new()
        self._starts.clear()

    def _since(self, when: float) -> list[Note]:
        self._starts += [note for note in self._follower.new() if note.kind == "started"]
        return [note for note in self._starts if note.at >= when]
