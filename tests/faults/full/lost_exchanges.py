"""Ten thousand replies of exchanges are lost, each with claimed jobs or the fate of outcomes: nothing changes by it."""

from __future__ import annotations

from bullrush import Queue
from tests.faults.checker import check
from tests.faults.full.lab import Lab, drained, has_room
from tests.faults.link import Fault
from tests.faults.proxy import FaultProxy
from tests.faults.recorder import Notes
from tests.faults.roles import Place, WorkerRole
from tests.names import script_names
from tests.servers import Server

LOST = 5_000  # on each kind of server
PROBABILITY = 0.3
WORKERS = 4
CHUNK = 250
BACKLOG = 4  # chunks


async def lost_exchanges(lab: Lab) -> None:
    target = lab.scaled(LOST, 50)
    with lab.server() as server, lab.recorder() as recorder, lab.template() as template:
        place = Place(url=server.url, queue="exchanges", notes=recorder.address)
        notes = Notes(recorder.address)
        with FaultProxy(server.port, scripts=script_names()) as proxy:
            drops = proxy.drop_replies("exchange", PROBABILITY, seed=f"{lab.seed} {lab.kind}")
            through = Place(url=proxy.url, queue="exchanges", notes=recorder.address)
            for _ in range(WORKERS):
                template.start(WorkerRole(place=through, concurrency=5, seconds=0.002, lease_ms=30_000))
            async with lab.queue(place) as queue:
                jobs = await _add_until(lab, queue, notes, drops, target)
                proxy.revoke(drops)
                counts = await drained(queue, jobs, 60)
                await lab.examine(queue)
            codes = template.stop()
            calls = proxy.calls("exchange")
        changed = _stored_attempts(server, queue)
    changed += sum(note.attempt != 1 for note in recorder.read() if note.kind == "done")
    verdict = check(recorder.read())
    lab.result.enter(verdict)
    lab.result.figures |= {
        "calls of exchange": calls,
        "replies lost": drops.times,
        "failed": counts["failed"],
        "jobs with changed attempts": changed,
    }
    lab.result.bounds |= {
        "0 failed": counts["failed"] == 0,
        "0 attempts changed": changed == 0,
        "0 run twice": verdict.repeats == 0,
        "0 errors shown": not verdict.errors,
        "enough replies lost": drops.times >= target,
        "the workers close in good order": codes == [0] * WORKERS,
    }


async def _add_until(lab: Lab, queue: Queue, notes: Notes, drops: Fault, target: int) -> int:
    """Keep work in front of the workers until enough replies were lost; how many jobs that took."""
    jobs = said = 0
    while drops.times < target:
        await has_room(queue, BACKLOG * CHUNK)
        notes.tried_range(jobs, CHUNK)
        await queue.add_bulk([("work", key) for key in range(jobs, jobs + CHUNK)])
        notes.acknowledged_range(jobs, CHUNK)
        jobs += CHUNK
        if drops.times >= said + 500:
            said = drops.times
            lab.say(f"{said} of {target} replies lost, {jobs} jobs added")
    return jobs


def _stored_attempts(server: Server, queue: Queue) -> int:
    """How many jobs the server knows as failed, lost or suspect at any time."""
    with server.client() as client:
        return int(client.hlen(queue.keys["attempts"]))
