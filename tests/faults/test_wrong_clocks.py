"""The clock of the server jumps, or those of its clients are wrong: nobody counts as dead because of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from bullrush import Job, Queue
from tests.conftest import PrivateServer
from tests.faults.crew import Settings, crew
from tests.faults.shims import ShimMissing
from tests.faults.shims.clock import Clock
from tests.faults.traffic import Traffic, check_books, holding
from tests.servers import KINDS, Kind, Server
from tests.waiting import wait_until_async

HOUR = 3600.0
DAY = 24 * HOUR
JUMPS = (HOUR, -HOUR, HOUR, HOUR, -DAY, DAY)
MORE_JUMPS = (*JUMPS, -HOUR, -HOUR, 0.5, -0.5, 5.0, -5.0)
ADDS = """
import asyncio, sys
from bullrush import Queue
async def main():
    async with Queue("q", sys.argv[1]) as queue:
        await queue.add_bulk([("work", i) for i in range(200)])
        for i in range(20):
            await queue.add("late", i, delay=300)
asyncio.run(main())
"""


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return make_clock(tmp_path)


def make_clock(folder: Path) -> Clock:
    folder.mkdir(exist_ok=True)
    try:
        return Clock(folder)
    except ShimMissing as missing:
        pytest.skip(str(missing))


def ahead(server: Server) -> float:
    """How many seconds the server's clock is ahead of ours."""
    with server.client() as client:
        seconds, micros = client.time()
    return float(seconds) + micros / 1e6 - time.time()


# T38


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("jumps", [JUMPS, pytest.param(8 * MORE_JUMPS, marks=pytest.mark.long)], ids=len)
async def test_the_servers_clock_jumps(
    private_server: PrivateServer, clock: Clock, kind: Kind, jumps: tuple[float, ...]
) -> None:
    """Workers look for dead ones all the time and find none; what is delayed stays until its time."""
    server = private_server(kind, environment=clock.environment)
    stalled = list[str]()
    async with Queue("q", server.url) as queue:
        far = await queue.add("work", -1, delay="3d")
        async with holding(queue, stalled), Traffic(queue, queue, lease="1s") as traffic:
            traffic.worker.on("stalled", stalled.append)
            await traffic.flows()
            for jump in jumps:
                clock.jump(jump)
                jumped_at = time.monotonic()
                await wait_until_async(lambda: abs(ahead(server) - clock.offset) < 0.2)
                await traffic.flows(20)
                assert time.monotonic() - jumped_at < 5
                # A quarter of a lease: whoever looks for dead ones has looked once by then.
                await asyncio.sleep(0.3)  # time is the subject
            # Longer than a lease and a look: whoever is to be found dead would be found now.
            await asyncio.sleep(1.5)  # time is the subject
            await traffic.flows(20)
            await traffic.stop_adding()
            await wait_until_async(lambda: traffic.runs.total() == len(traffic.acknowledged))
        assert await far.get_state() == "delayed"
        assert stalled == traffic.errors == traffic.refused == []
        assert set(traffic.runs.values()) == {1}
        await check_books(queue, completed=len(traffic.runs) + 1, delayed=1)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_delayed_job_is_never_early_after_a_jump_back(
    private_server: PrivateServer, clock: Clock, kind: Kind
) -> None:
    """And comes at once when the clock has jumped ahead of its time."""
    server = private_server(kind, environment=clock.environment)
    ran = Counter[str]()

    async def handle(job: Job) -> None:
        ran[job.name] += 1

    async with Queue("q", server.url) as queue, queue.process(handle, lease="1s"):
        await queue.add("late", delay=500)
        clock.jump(-HOUR)
        await wait_until_async(lambda: abs(ahead(server) - clock.offset) < 0.2)
        await queue.add("now")
        await wait_until_async(lambda: ran["now"])
        await asyncio.sleep(3)  # time is the subject
        assert ran["late"] == 0
        clock.jump(HOUR)
        await wait_until_async(lambda: ran["late"] == 1, 10)


# T39


@pytest.mark.parametrize("kind", KINDS)
async def test_the_clocks_of_clients_are_wrong(
    private_server: PrivateServer, tmp_path: Path, kind: Kind
) -> None:
    """Workers an hour ahead and an hour behind, and a producer a day ahead: leases, delays and order hold."""
    server = private_server(kind)
    settings = Settings(
        url=server.url,
        prefix="bullrush",
        queue="q",
        log=str(tmp_path / "starts"),
        concurrency=4,
        seconds=0.01,
    )
    async with Queue("q", server.url, defaults={"remove_on_complete": False}) as queue:
        with crew(settings) as workers:
            for name, offset in (("ahead", HOUR), ("behind", -HOUR)):
                clock = make_clock(tmp_path / name)
                clock.set(offset)
                workers.add(clock.environment)
            await wait_until_async(lambda: workers_of(queue, 2), 20)
            clock = make_clock(tmp_path / "producer")
            clock.set(DAY)
            producer = [sys.executable, "-c", ADDS, server.url]
            added = await asyncio.to_thread(subprocess.run, producer, env=environment(clock), timeout=30)
            assert added.returncode == 0
            await wait_until_async(lambda: completed(queue, 220), 20)
            # A lease is 1 s: whoever counts as dead wrongly would by now.
            await asyncio.sleep(2.5)  # time is the subject
            assert await queue.get_workers_count() == 2
            assert workers.stop() == [0, 0]
            starts = workers.starts()
        assert Counter(start.job_id for start in starts) == dict.fromkeys({s.job_id for s in starts}, 1)
        for job in await queue.get_jobs("completed", 0, -1):
            if job.name == "late":
                assert job.processed_on is not None
                assert job.processed_on >= job.timestamp + 299, "by the clocks of the clients"


def environment(clock: Clock) -> dict[str, str]:
    import os

    return {**os.environ, **clock.environment}


async def workers_of(queue: Queue, count: int) -> bool:
    return await queue.get_workers_count() == count


async def completed(queue: Queue, count: int) -> bool:
    return (await queue.get_job_counts("completed"))["completed"] == count
