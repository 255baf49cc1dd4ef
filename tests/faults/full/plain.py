"""A million jobs without any fault: each runs once."""

from __future__ import annotations

from tests.faults.checker import check
from tests.faults.full.lab import Lab, drained, has_room
from tests.faults.recorder import Notes
from tests.faults.roles import Place, WorkerRole

JOBS = 500_000  # on each kind of server
WORKERS = 2
CHUNK = 10_000
BACKLOG = 10  # chunks


async def plain(lab: Lab) -> None:
    jobs = lab.scaled(JOBS, 5_000)
    with lab.server() as server, lab.recorder() as recorder, lab.template() as template:
        place = Place(url=server.url, queue="plain", notes=recorder.address)
        notes = Notes(recorder.address)
        for _ in range(WORKERS):
            template.start(WorkerRole(place=place, concurrency=100, lease_ms=30_000))
        async with lab.queue(place) as queue:
            for first in range(0, jobs, CHUNK):
                await has_room(queue, BACKLOG * CHUNK)
                count = min(CHUNK, jobs - first)
                notes.tried_range(first, count)
                await queue.add_bulk([("work", key) for key in range(first, first + count)])
                notes.acknowledged_range(first, count)
                if first % (10 * CHUNK) == 0:
                    lab.say(f"{first + count} of {jobs} added")
            counts = await drained(queue, jobs, 120)
            await lab.examine(queue)
        codes = template.stop()
    verdict = check(recorder.read())
    lab.result.enter(verdict)
    lab.result.figures |= {"duplicate runs": verdict.repeats}
    lab.result.bounds |= {
        "0 duplicate runs": verdict.repeats == 0,
        "all completed": counts["completed"] == jobs,
        "0 errors shown": not verdict.errors,
        "the workers close in good order": codes == [0] * WORKERS,
    }
