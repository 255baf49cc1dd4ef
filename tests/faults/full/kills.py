"""Workers are killed at random, a thousand times: nothing is lost, and only what they held runs again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bullrush import Queue
from tests.faults.checker import check
from tests.faults.full.lab import Lab, drained, registered
from tests.faults.recorder import Notes
from tests.faults.roles import Place, WorkerRole
from tests.faults.template import Template
from tests.waiting import wait_until_async

JOBS = 150_000  # on each kind of server
KILLS = 500
WORKERS = 4
PAUSE = (0.05, 0.4)  # s between kills
SECONDS = 0.025  # a job; so the workers have about as much to do as they can
CHUNK = 500
AHEAD = 8  # kills: jobs are added as kills go on, so that no worker dies idle
# Here everybody is killed, whatever it runs: a limit would fail jobs that have done nothing.
NO_LIMIT = 1_000


async def kills(lab: Lab) -> None:
    jobs, kills = lab.scaled(JOBS, 1_000), lab.scaled(KILLS, 5)
    with lab.server() as server, lab.recorder() as recorder:
        place = Place(url=server.url, queue="kills", notes=recorder.address)
        role = WorkerRole(place=place, seconds=SECONDS, max_crashes=NO_LIMIT)
        notes = Notes(recorder.address)
        async with lab.queue(place) as queue:
            with lab.template() as template:
                for _ in range(WORKERS):
                    template.start(role)
                adding = asyncio.create_task(_add(queue, notes, jobs, pace := Pace(kills)))
                await _kill(lab, template, role, notes, pace)
                await adding
                counts = await drained(queue, jobs, 120)
                await lab.examine(queue)
                await registered(template, [queue])
                codes = template.stop()
    verdict = check(recorder.read())
    lab.result.enter(verdict)
    lab.result.figures |= {"kills": kills, "completed": counts["completed"], "failed": counts["failed"]}
    lab.result.bounds |= {
        "all completed": counts["completed"] == jobs == verdict.acknowledged,
        "the last workers close in good order": codes == [0] * WORKERS,
    }


@dataclass
class Pace:
    """How many workers are to be killed, and were."""

    kills: int
    done: int = 0

    async def reaches(self, share: float) -> None:
        """Wait until there was so much of it, less a few."""
        await wait_until_async(lambda: self.done + AHEAD > self.kills * share, 600, what="more kills")


async def _add(queue: Queue, notes: Notes, jobs: int, pace: Pace) -> None:
    """Keep work in front of the workers as long as kills go on."""
    for first in range(0, jobs, CHUNK):
        await pace.reaches(first / jobs)
        count = min(CHUNK, jobs - first)
        notes.tried_range(first, count)
        added = await queue.add_bulk([("work", key) for key in range(first, first + count)])
        for job in added:
            notes.acknowledged(job.data, job.id)


async def _kill(lab: Lab, template: Template, role: WorkerRole, notes: Notes, pace: Pace) -> None:
    chance = lab.chance("kills")
    for number in range(1, pace.kills + 1):
        await asyncio.sleep(chance.uniform(*PAUSE))  # time is the subject
        victim = chance.choice(sorted(template.alive))
        template.kill(victim)
        notes.disturbed(victim, "killed")  # afterwards: what it began last comes before
        template.start(role)
        pace.done = number
        if number % 50 == 0:
            lab.say(f"{number} of {pace.kills} kills")
