"""The server stops under load and comes back: both sides go on, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from bullrush import Job, Queue
from tests.conftest import PrivateServer
from tests.faults.crew import Settings, crew
from tests.servers import Kind, Server
from tests.waiting import wait_until_async

RETURNS_WITHIN = 2.0
SLACK = 3.0  # for a machine that does something else as well


class Producer:
    """Adds one job after the other from several tasks, and remembers which were acknowledged, and when."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._stopping = False
        self.acknowledged: dict[str, int] = {}
        self.last_at = 0.0

    async def run(self, tasks: int = 4) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(tasks):
                group.create_task(self._add(number * 1_000_000))

    async def _add(self, number: int) -> None:
        while not self._stopping:
            job = await self._queue.add("work", number)
            assert job.id not in self.acknowledged
            self.acknowledged[job.id] = number
            self.last_at = time.monotonic()
            number += 1
            await asyncio.sleep(0.002)  # time is the subject

    def stop(self) -> None:
        self._stopping = True


class Handler:
    """Counts runs, and remembers which jobs run right now."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.running: set[str] = set()
        self.last_at = 0.0

    async def __call__(self, job: Job) -> None:
        self.runs[job.id] += 1
        self.running.add(job.id)
        await asyncio.sleep(0.005)  # time is the subject
        self.running.discard(job.id)
        self.last_at = time.monotonic()


async def stop_and_start(server: Server, seconds: float) -> float:
    """Stop the server for a while, with the loop running, and return when it answered again."""
    await asyncio.to_thread(server.kill)
    stopped = time.monotonic()
    await wait_until_async(lambda: time.monotonic() - stopped >= seconds, seconds + 10)
    await asyncio.to_thread(server.start)
    return time.monotonic()


@pytest.mark.parametrize(
    ("kind", "lease", "seconds"),
    [
        ("redis", "1s", 1.5),
        ("valkey", "30s", 1.5),
        pytest.param("redis", "30s", 10, marks=pytest.mark.long),
        pytest.param("valkey", "1s", 10, marks=pytest.mark.long),
    ],
)
async def test_both_go_on_and_nothing_acknowledged_is_lost(
    private_server: PrivateServer, kind: Kind, lease: str, seconds: float
) -> None:
    server = private_server(kind, persistent=True)
    handler = Handler()
    async with Queue("q", server.url, request_timeout="30s", defaults={"remove_on_complete": False}) as queue:
        producer = Producer(queue)
        async with queue.process(handler, concurrency=5, lease=lease) as worker:
            adding = asyncio.create_task(producer.run())
            await wait_until_async(lambda: sum(handler.runs.values()) > 200, 20)
            in_flight = set(handler.running)
            back_at = await stop_and_start(server, seconds)
            in_flight |= {id for id, runs in handler.runs.items() if runs > 1}

            await wait_until_async(lambda: producer.last_at > back_at, 20, what="the producer to go on")
            await wait_until_async(lambda: handler.last_at > back_at, 20, what="the worker to go on")
            assert time.monotonic() - back_at < RETURNS_WITHIN + SLACK

            done = sum(handler.runs.values())
            await wait_until_async(lambda: sum(handler.runs.values()) > done + 200, 20)
            producer.stop()
            await adding
            await worker.wait_idle("20s")
        counts = await queue.get_job_counts()
        assert set(producer.acknowledged) <= set(handler.runs)
        assert counts == {**dict.fromkeys(counts, 0), "completed": len(handler.runs)}
        for job_id, number in list(producer.acknowledged.items())[:: len(producer.acknowledged) // 50]:
            job = await queue.get_job(job_id)
            assert job is not None
            assert (job.data, job.state) == (number, "completed")


async def test_worker_processes_run_nothing_twice_but_what_was_in_flight(
    private_server: PrivateServer, tmp_path: Path
) -> None:
    """With everysec the last second may be lost as a whole; what was acknowledged before is there."""
    server = private_server(persistent=True)
    settings = Settings(
        url=server.url, prefix="p", queue="q", log=str(tmp_path / "starts"), seconds=0.005, lease_ms=30_000
    )
    async with Queue("q", server.url, prefix="p", request_timeout="30s") as queue:
        with crew(settings) as workers:
            for _ in range(2):
                workers.add()
            added = await queue.add_bulk([("work", i) for i in range(4_000)])
            await wait_until_async(lambda: len(workers.starts()) > 500, 30)
            before = {start.job_id for start in workers.starts()}
            await stop_and_start(server, 1)
            await wait_until_async(lambda: len({s.job_id for s in workers.starts()}) == 4_000, 30)

            async def is_idle() -> bool:
                return not any((await queue.get_job_counts("waiting", "active")).values())

            await wait_until_async(is_idle, 20)
            starts = workers.starts()
            assert workers.stop() == [0, 0]
    times = Counter(start.job_id for start in starts)
    assert set(times) == {job.id for job in added}
    assert all(id in before for id, n in times.items() if n > 1)
    assert sum(n - 1 for n in times.values()) <= 2 * settings.concurrency
