"""Workers are killed at random: every job is done, and only jobs in flight at a kill are started twice."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import cast

import pytest
import redis

from bullrush import Queue
from bullrush.keys import Keys
from tests.faults.crew import Crew, Settings, crew
from tests.servers import Server
from tests.waiting import wait_until, wait_until_async

LEASE_MS = 1000


def hosts(client: redis.Redis, keys: Keys) -> dict[int, str]:
    """The numbers of workers by the process ids that they registered with."""
    registered = cast("dict[bytes, bytes]", client.hgetall(keys["hosts"]))
    return {int(json.loads(host)["pid"]): number.decode() for number, host in registered.items()}


def held_by(client: redis.Redis, keys: Keys, pid: int) -> set[str]:
    members = cast("set[bytes]", client.smembers(keys.held(hosts(client, keys)[pid])))
    return {id.decode() for id in members}


async def kill_at_random(client: redis.Redis, keys: Keys, workers: Crew, kills: int) -> Counter[str]:
    """Kill one after the other while all work; returns how often each job was in flight at a kill."""
    chance = random.Random(20_000)
    in_flight: Counter[str] = Counter()
    for _ in range(kills):
        victim = chance.choice(workers.processes)
        wait_for_starts(workers, victim.pid, 1 + chance.randrange(100))
        workers.kill(victim)
        in_flight.update(held_by(client, keys, victim.pid))
        workers.add()
    return in_flight


def wait_for_starts(workers: Crew, pid: int, count: int) -> None:
    """Wait until the crew has started that many more jobs, and this process one at least."""
    before = len(workers.starts())

    def come() -> bool:
        starts = workers.starts()
        return len(starts) >= before + count and any(start.pid == pid for start in starts)

    wait_until(come, 30, what=f"{count} more starts")


@pytest.mark.parametrize(("jobs", "kills"), [(4_000, 5), pytest.param(20_000, 20, marks=pytest.mark.long)])
async def test_every_job_is_done_and_only_those_in_flight_at_a_kill_start_twice(
    server: Server, redis_client: redis.Redis, prefix: str, tmp_path: Path, jobs: int, kills: int
) -> None:
    settings = Settings(
        url=server.url, prefix=prefix, queue="q", log=str(tmp_path / "starts"), lease_ms=LEASE_MS
    )
    async with Queue("q", server.url, prefix=prefix, defaults={"remove_on_complete": False}) as queue:
        keys = queue.keys
        with crew(settings) as workers:
            for _ in range(3):
                workers.add()
            added = await queue.add_bulk([("work", i) for i in range(jobs)])
            in_flight = await kill_at_random(redis_client, keys, workers, kills)
            assert await queue.count() > 0, "all was done before the last kill"

            async def all_done() -> bool:
                return (await queue.get_job_counts("completed"))["completed"] == jobs

            await wait_until_async(all_done, 90, what="all jobs to be completed")
            await wait_until_async(
                lambda: set(hosts(redis_client, keys)) == {process.pid for process in workers.processes},
                20,
                what="the dead to be forgotten",
            )
            counts = await queue.get_job_counts()
            assert counts == {**dict.fromkeys(counts, 0), "completed": jobs}
            assert redis_client.hget(keys["meta"], "held") == b"0"
            assert redis_client.keys(keys.held("*")) == []
            assert redis_client.zcard(keys["workers"]) == 3
            starts = workers.starts()
            assert workers.stop() == [0, 0, 0]

    times = Counter(start.job_id for start in starts)
    assert set(times) == {job.id for job in added}
    unexpected = {id: n for id, n in times.items() if n - 1 > in_flight[id]}
    assert not unexpected, "started more often than they were in flight at a kill"
    seen: set[str] = set()
    for start in starts:
        assert start.attempts_started == 1 or in_flight[start.job_id]
        assert start.attempts_started > 1 or start.job_id not in seen
        seen.add(start.job_id)
