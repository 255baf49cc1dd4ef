"""The network slices, half-closes, resets and swallows: work goes on, and a worker that was cut off settles nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from pathlib import Path

import pytest

from bullrush import Job, Queue
from bullrush.events import Completed
from tests.conftest import MakeProxy
from tests.faults.link import Direction
from tests.faults.proxy import FaultProxy
from tests.faults.tour import picture, tour
from tests.faults.traffic import Traffic
from tests.servers import Server
from tests.waiting import wait_until_async

LEASE = 1.0


@pytest.fixture
def proxy(server: Server, make_proxy: MakeProxy) -> FaultProxy:
    return make_proxy(server)


def descriptors() -> int:
    """How many files and sockets this process, the proxy included, has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


# T9


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_bytes_come_one_by_one(
    server: Server, proxy: FaultProxy, prefix: str, direction: Direction
) -> None:
    """A tour through all scripts, every request or every reply sliced."""
    async with Queue("plain", proxy.url, prefix=prefix) as queue:
        answers = await tour(queue, many=20)
        plain = await picture(queue)
    proxy.slice(1, direction)
    async with Queue("sliced", proxy.url, prefix=prefix) as queue:
        assert await tour(queue, many=20) == answers
    async with Queue("sliced", server.url, prefix=prefix) as queue:
        assert await picture(queue) == plain


# T10


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("times", [10, pytest.param(500, marks=pytest.mark.long)])
async def test_a_half_closed_connection_is_replaced_and_nothing_is_left_of_it(
    server: Server, proxy: FaultProxy, url: str, prefix: str, direction: Direction, times: int
) -> None:
    async with Queue("q", proxy.url, prefix=prefix) as queue, Traffic(queue, queue) as traffic:
        await traffic.flows()
        files, tasks = descriptors(), len(asyncio.all_tasks())
        for _ in range(times):
            proxy.half_close(direction)
            closed_at = time.monotonic()
            await traffic.flows(2)
            assert traffic.last_run - closed_at < 5
        await wait_until_async(lambda: descriptors() <= files + 2, what="sockets to be closed")
        await wait_until_async(lambda: len(asyncio.all_tasks()) <= tasks + 2, what="tasks to end")
        await traffic.finish()
    assert traffic.refused == []
    async with Queue("q", server.url, prefix=prefix) as straight:
        await traffic.check(straight)


# T11


class Side:
    """A handler of one of two workers, with the moments of its starts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.starts: list[tuple[float, str]] = []

    async def __call__(self, job: Job) -> str:
        self.starts.append((time.monotonic(), job.id))
        await asyncio.sleep(0.05)  # time is the subject
        return self.name


@pytest.mark.parametrize("holes", [1, pytest.param(20, marks=pytest.mark.long)])
async def test_a_worker_in_a_black_hole_stops_by_its_own_clock_and_settles_nothing_late(
    server: Server, proxy: FaultProxy, url: str, prefix: str, holes: int
) -> None:
    """It starts nothing once its lease may have lapsed; others do its jobs; what it says later is refused."""
    async with Queue("q", server.url, prefix=prefix, defaults={"remove_on_complete": False}) as queue:
        events: Counter[str] = Counter()
        both = 0
        async with queue.events(kinds=[Completed]) as seen:
            seen.on(Completed, lambda event: events.update([event.job_id]))
            for hole in range(holes):
                both += await one_hole(queue, proxy, prefix, hole)
            jobs = await queue.get_jobs("completed", 0, -1)
            await wait_until_async(lambda: len(events) == len(jobs), what="an event for each job")
        assert both > 0, "no job was in the hands of the one that was cut off"
        assert set(events.values()) == {1}


async def one_hole(queue: Queue, proxy: FaultProxy, prefix: str, hole: int) -> int:
    """Cut one worker off until another has done its jobs; returns how many jobs both have run."""
    cut_off, other = Side("cut off"), Side("other")
    jobs = await queue.add_bulk([("work", i) for i in range(60)])
    behind = Queue("q", proxy.url, prefix=prefix)
    first = behind.process(cut_off, lease="1s", concurrency=4, prefetch=20, remove_on_complete=False)
    async with behind, first:
        await wait_until_async(lambda: len(cut_off.starts) >= 8)
        proxy.black_hole()
        swallowed_at = time.monotonic()
        async with queue.process(other, lease="1s", concurrency=10, remove_on_complete=False) as second:
            await second.wait_idle("30s")
            last_start = cut_off.starts[-1][0]
            assert last_start < swallowed_at + LEASE, "it started a job after its lease"
            proxy.heal()
            last = await queue.add("work", "after")
            assert await last.result("20s") in ("cut off", "other")
            await second.wait_idle("20s")
    ran = ({id for _, id in cut_off.starts}, {id for _, id in other.starts})
    for job in jobs:
        await job.refresh()
        assert job.state == "completed"
        if job.id in ran[1]:
            assert job.returnvalue == "other", f"hole {hole}: a late outcome of {job.id} was taken"
    assert ran[0] | ran[1] >= {job.id for job in jobs}
    return len(ran[0] & ran[1])


# T12


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.long)])
async def test_connections_that_are_reset_five_times_a_second(
    server: Server, proxy: FaultProxy, url: str, prefix: str, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Work goes on, without a hot loop and without a flood of lines in the log."""
    caplog.set_level(logging.INFO)
    async with Queue("q", proxy.url, prefix=prefix) as queue, Traffic(queue, queue, tasks=1) as traffic:
        await traffic.flows(10)
        begun, busy, done = time.monotonic(), time.process_time(), traffic.runs.total()
        resets = 0
        while time.monotonic() < begun + seconds:
            proxy.reset()
            resets += 1
            await asyncio.sleep(0.2)  # time is the subject
        busy = (time.process_time() - busy) / (time.monotonic() - begun)
        done = traffic.runs.total() - done
        await traffic.finish()
    assert done > 5 * seconds
    assert busy < 0.4, "it spins: producer, worker and proxy took more than 40 % of a core"
    assert len(caplog.records) <= 2 * resets
    assert traffic.refused == []
    async with Queue("q", server.url, prefix=prefix) as straight:
        await traffic.check(straight)
