"""One reply to an add in ten is lost: every job is stored exactly once, under the id that `add` returned."""

from __future__ import annotations

import asyncio
from collections import Counter

from bullrush import Queue
from tests.faults.checker import check
from tests.faults.full.lab import Lab
from tests.faults.proxy import FaultProxy
from tests.faults.recorder import Recorder
from tests.faults.roles import Place, ProducerRole
from tests.names import script_names

ADDS = 50_000  # on each kind of server
PROBABILITY = 0.1
PRODUCERS = 4
TASKS = (
    1  # of each producer: adds that run together would share a call, and there would be fewer replies to lose
)
PAGE = 1_000


async def lost_adds(lab: Lab) -> None:
    share = lab.scaled(ADDS // PRODUCERS, 100)
    adds = share * PRODUCERS
    with lab.server() as server, lab.recorder() as recorder, lab.template() as template:
        with FaultProxy(server.port, scripts=script_names()) as proxy:
            drops = proxy.drop_replies("add", PROBABILITY, seed=f"{lab.seed} {lab.kind}")
            place = Place(url=proxy.url, queue="adds", notes=recorder.address)
            pids = [
                template.start(ProducerRole(place=place, first=number * share, count=share, tasks=TASKS))
                for number in range(PRODUCERS)
            ]
            codes = [await asyncio.to_thread(template.wait, pid) for pid in pids]
            calls, dropped = proxy.calls("add"), drops.times
        async with Queue("adds", server.url, prefix=place.prefix) as queue:
            stored = await _stored(queue)
            await lab.examine(queue)
        await _judge(lab, recorder, stored, adds)
    lab.result.figures |= {"calls of add": calls, "replies lost": dropped}
    lab.result.bounds["the producers end in good order"] = codes == [0] * PRODUCERS
    lab.say(f"{adds} adds in {calls} calls, {dropped} replies lost")


async def _stored(queue: Queue) -> list[tuple[str, int]]:
    """What stands in the queue: id and key of each job."""
    found: list[tuple[str, int]] = []
    while page := await queue.get_jobs("waiting", len(found), len(found) + PAGE - 1):
        found += [(job.id, job.data) for job in page]
    return found


async def _judge(lab: Lab, recorder: Recorder, stored: list[tuple[str, int]], adds: int) -> None:
    keys = Counter(key for _, key in stored)
    by_key = {key: id for id, key in stored}
    acknowledged = {note.key: note.id for note in recorder.read() if note.kind == "acknowledged"}
    wrong = [key for key, id in acknowledged.items() if by_key.get(key) != id]
    verdict = check(recorder.read())
    duplicates = sum(keys.values()) - len(keys)
    lab.result.figures |= {
        "adds": adds,
        "acknowledged": len(acknowledged),
        "stored": len(stored),
        "duplicates": duplicates,
        "missing": len(set(range(adds)) - set(keys)),
        "under another id": len(wrong),
        "errors shown": len(verdict.errors),
    }
    lab.result.bounds |= {
        "0 duplicates": duplicates == 0,
        "all adds stored": set(keys) == set(range(adds)),
        "each under the id that add returned": not wrong,
        "0 errors": not verdict.errors and len(acknowledged) == adds,
    }
    lab.result.offenders += verdict.errors[:5]
