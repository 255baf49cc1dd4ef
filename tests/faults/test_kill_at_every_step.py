"""A worker dies at each step of its work: nothing is lost, nothing done runs again, one job is charged at most."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from bullrush import Queue
from bullrush.options import JobOptions
from tests.conftest import PrivateServer
from tests.faults.checker import check
from tests.faults.recorder import Note, Notes, Recorder
from tests.faults.roles import Place, WorkerRole
from tests.faults.steps import EXIT, STEPS, StepRole
from tests.faults.template import Template
from tests.servers import KINDS, Kind
from tests.waiting import wait_until_async

KEPT: JobOptions = {"remove_on_complete": False, "attempts": 3}
STOCK = 60
REAPS = tuple(step for step in STEPS if step.startswith("reap"))
# Reaping takes a second, and there are dead ones enough for all who do it.
GROUPS = (*((step,) for step in STEPS if step not in REAPS), REAPS)
FLAKY = 5  # each so many-th job fails at first


def nth(step: str, round: int) -> int:
    """At which time a step is the last one; a worker opens once, and retires once."""
    return 1 if step.startswith(("open", "reap", "retire")) else 1 + round % 3


async def stock_up(queue: Queue, notes: Notes, added: int) -> int:
    """Let the next worker find something to do; returns how many jobs were added so far."""
    counts = await queue.get_job_counts("waiting")
    missing = STOCK - counts["waiting"]
    if missing > 0:
        notes.tried_range(added, missing)
        keys = range(added, added + missing)
        await queue.add_bulk([("flaky" if key % FLAKY == 0 else "work", key) for key in keys])
        notes.acknowledged_range(added, missing)
        added += missing
    return added


async def completed(queue: Queue) -> set[str]:
    return {job.id for job in await queue.get_jobs("completed", 0, -1)}


def started_again(notes: Iterable[Note], done_at: dict[str, float]) -> list[Note]:
    """Starts of jobs that were completed by then."""
    return [n for n in notes if n.kind == "started" and n.at > done_at.get(n.id, n.at)]


def charges(notes: Iterable[Note]) -> dict[str, list[tuple[int, int]]]:
    """What each start of a job said: deaths charged to it, and starts counted."""
    found = defaultdict[str, list[tuple[int, int]]](list)
    for note in notes:
        kind, _, crashes = note.kind.partition(" ")
        if kind == "charged":
            found[note.id].append((int(crashes), note.attempt))
    return found


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kind", "rounds"),
    [(KINDS[0], 1), *(pytest.param(kind, 7, marks=pytest.mark.long) for kind in KINDS)],
)
async def test_a_worker_may_die_at_any_step(
    private_server: PrivateServer, tmp_path: Path, kind: Kind, rounds: int
) -> None:
    server = private_server(kind)
    done_at = dict[str, float]()
    added = 0
    with Recorder(tmp_path) as recorder, Template() as template:
        place = Place(url=server.url, queue="q", notes=recorder.address)
        notes = Notes(recorder.address)
        async with Queue("q", server.url, prefix=place.prefix, defaults=KEPT) as queue:
            for round in range(rounds):
                for steps in GROUPS:
                    added = await stock_up(queue, notes, added)
                    roles = [StepRole(place=place, step=step, nth=nth(step, round)) for step in steps]
                    pids = [template.start(role) for role in roles]
                    codes = [template.wait(pid) for pid in pids]
                    assert codes == [EXIT] * len(steps), f"{steps} were not all reached"
                    for id in await completed(queue):
                        done_at.setdefault(id, time.monotonic())
            template.start(WorkerRole(place=place, max_crashes=100))

            async def all_done() -> bool:
                return len(await completed(queue)) == added

            await wait_until_async(all_done, 60, what="all jobs to be done")
            assert template.stop() == [0]
            report = await queue.fsck()
            assert report.ok, str(report)
            counts = await queue.get_job_counts()
            assert counts == {**dict.fromkeys(counts, 0), "completed": added}
    kills = rounds * len(STEPS)
    verdict = check(recorder.read())
    assert not verdict.lost, str(verdict)
    assert not verdict.phantoms, str(verdict)
    assert [again for again in verdict.unexplained if again.key % FLAKY] == [], str(verdict)
    assert started_again(recorder.read(), done_at) == []
    assert verdict.disturbances == kills
    charged = charges(recorder.read())
    assert sum(max(told)[0] for told in charged.values()) <= kills
    # The first death only makes a suspect of a job; one that is charged had been lost before.
    early = [id for id, told in charged.items() for crashes, starts in told if crashes > max(0, starts - 2)]
    assert early == []
