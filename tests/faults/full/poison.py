"""Jobs that take their worker along, among a thousand times as many that do not: they fail, and nobody else is charged."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from typing import cast

import redis

from bullrush import Queue
from tests.faults.checker import check
from tests.faults.full.lab import Lab, registered
from tests.faults.recorder import Notes
from tests.faults.roles import SUICIDES, Place, WorkerRole
from tests.faults.template import Template
from tests.waiting import wait_until_async

QUEUES = 5  # on each kind of server, at the same time
JOBS = 10_000  # in each
POISONS = 10
WORKERS = 2
MAX_CRASHES = 2
CHUNK = 1_000


class Charges:
    """The most deaths that any job was charged with while somebody looked; polled, since the end of a job clears it."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.most: Counter[tuple[str, str]] = Counter()

    def look(self, queue: Queue) -> None:
        stored = cast("dict[bytes, bytes]", self._client.hgetall(queue.keys["attempts"]))
        for id, text in stored.items():
            crashes = int(text.split()[2])
            key = (queue.name, id.decode())
            if crashes > self.most[key]:
                self.most[key] = crashes


async def poison(lab: Lab) -> None:
    names = [f"poison{number}" for number in range(lab.scaled(QUEUES, 1))]
    jobs = JOBS if lab.scale >= 1 else lab.scaled(JOBS * QUEUES, 1_000) // len(names)
    poisons = max(2, round(jobs * POISONS / JOBS))
    chance = lab.chance("poisons")
    with (
        lab.server() as server,
        lab.recorder() as recorder,
        lab.template() as template,
        server.client() as client,
    ):
        notes, charges = Notes(recorder.address), Charges(client)
        roles = {
            name: WorkerRole(
                place=Place(url=server.url, queue=name, notes=recorder.address),
                seconds=0.002,
                max_crashes=MAX_CRASHES,
            )
            for name in names
        }
        async with AsyncExitStack() as stack:
            queues = [await stack.enter_async_context(lab.queue(roles[name].place)) for name in names]
            suicides: set[int] = set()
            for number, queue in enumerate(queues):
                first = number * jobs
                chosen = set(chance.sample(range(first, first + jobs), poisons))
                suicides |= chosen
                await _add(queue, notes, first, jobs, chosen)
            deaths = await _run(lab, template, roles, queues, notes, charges, jobs)
            completed, failed = await _ends(queues)
            for queue in queues:
                await lab.examine(queue)
            codes = template.stop()
    charged = {key for key, crashes in charges.most.items() if crashes and key not in failed}
    verdict = check(recorder.read(), excused=suicides)
    lab.result.enter(verdict)
    lab.result.figures |= {
        "poison jobs": len(suicides),
        "failed with JobCrashed": sum(kind == "JobCrashed" for _, kind in failed.values()),
        "failed otherwise": sum(kind != "JobCrashed" for _, kind in failed.values()),
        "deaths of workers": deaths,
        "others charged with a death": len(charged),
        "others completed": completed,
    }
    lab.result.bounds |= {
        "exactly the poison jobs failed": {key for key, _ in failed.values()} == suicides,
        "each with JobCrashed": all(kind == "JobCrashed" for _, kind in failed.values()),
        "no other job charged": not charged,
        "all others completed": completed == len(names) * jobs - len(suicides),
        "the last workers close in good order": set(codes) == {0},
    }
    lab.result.offenders += [f"charged: {charged}"] if charged else []


async def _add(queue: Queue, notes: Notes, first: int, jobs: int, suicides: set[int]) -> None:
    for start in range(first, first + jobs, CHUNK):
        keys = range(start, min(start + CHUNK, first + jobs))
        notes.tried_range(start, len(keys))
        await queue.add_bulk([(SUICIDES[key % 2] if key in suicides else "work", key) for key in keys])
        notes.acknowledged_range(start, len(keys))


async def _run(
    lab: Lab,
    template: Template,
    roles: dict[str, WorkerRole],
    queues: list[Queue],
    notes: Notes,
    charges: Charges,
    jobs: int,
) -> int:
    """Keep every queue's workers alive until all has ended; how many died."""
    crew = {template.start(role): role for role in roles.values() for _ in range(WORKERS)}
    deaths = 0

    async def is_over() -> bool:
        nonlocal deaths
        for pid in template.ended():
            notes.disturbed(pid, "died")
            role = crew.pop(pid)
            crew[template.start(role)] = role
            deaths += 1
            if deaths % 50 == 0:
                lab.say(f"{deaths} workers died")
        for queue in queues:
            charges.look(queue)
        counts = [await queue.get_job_counts("completed", "failed") for queue in queues]
        return all(sum(count.values()) == jobs for count in counts)

    await wait_until_async(is_over, 600, what="all jobs to end")
    await registered(template, queues)
    return deaths


async def _ends(queues: list[Queue]) -> tuple[int, dict[tuple[str, str], tuple[int, str]]]:
    """How many completed, and of the failed ones which they were and why."""
    completed, failed = 0, dict[tuple[str, str], tuple[int, str]]()
    for queue in queues:
        completed += (await queue.get_job_counts("completed"))["completed"]
        for job in await queue.get_jobs("failed", 0, 1_000):
            failed[queue.name, job.id] = (job.data, str(job.error_type))
    return completed, failed
