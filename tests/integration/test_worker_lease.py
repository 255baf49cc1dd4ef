"""A worker that is slow, frozen or dead: its jobs are neither lost nor settled by two."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis

from bullrush import Job, LeaseLost, Queue, sync
from tests.conftest import PrivateServer
from tests.faults.crew import Crew, Settings, crew
from tests.servers import Server
from tests.waiting import wait_until, wait_until_async

LEASE = 1.0
RECOVERED_WITHIN = 1.75 * LEASE
SLACK = 4.0


@pytest.fixture
async def queue(url: str, prefix: str) -> AsyncIterator[Queue]:
    async with Queue("q", url, prefix=prefix, defaults={"remove_on_complete": False}) as queue:
        yield queue


class Runs:
    """A handler that counts the runs of each job."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.runs: Counter[str] = Counter()
        self._seconds = seconds

    async def __call__(self, job: Job) -> str:
        self.runs[job.id] += 1
        await asyncio.sleep(self._seconds)  # time is the subject
        return "other"


@pytest.mark.parametrize("unstarted", [0, pytest.param(5, marks=pytest.mark.long)])
async def test_a_handler_that_blocks_the_loop_keeps_its_job(queue: Queue, unstarted: int) -> None:
    blocked = Counter[str]()

    async def block(job: Job) -> str:
        blocked[job.id] += 1
        time.sleep(3 * LEASE)  # noqa: ASYNC251  # time is the subject
        return "blocker"

    job = await queue.add("work", 0)
    errors = list[Exception]()
    worker = queue.process(block, lease="1s", prefetch=unstarted)
    worker.on("error", errors.append)
    waiting = [await queue.add("work", i) for i in range(unstarted)]
    others = Runs()
    async with worker:
        await wait_until_async(lambda: blocked, 10)
        await wait_until_async(lambda: not worker.jobs, 10)
        await worker.pause()
        async with queue.process(others, lease="1s") as other:
            await other.wait_idle("10s")
    await job.refresh()
    assert (job.state, job.returnvalue, job.attempts_started) == ("completed", "blocker", 1)
    assert errors == []
    assert not (set(blocked) & set(others.runs))
    assert set(blocked) | set(others.runs) == {job.id, *(job.id for job in waiting)}


async def test_another_worker_does_not_take_the_job_of_one_that_blocks(
    server: Server, queue: Queue, prefix: str, tmp_path: Path
) -> None:
    """The blocked loop is in another process, and a second worker looks for dead ones all the time."""
    settings = Settings(
        url=server.url,
        prefix=prefix,
        queue="q",
        log=str(tmp_path / "starts"),
        concurrency=1,
        seconds=3 * LEASE,
        style="block",
    )
    jobs = [await queue.add("work", 0)]
    others = Runs()
    with crew(settings) as workers:
        workers.add()
        await wait_until_async(lambda: workers.starts(), 30)
        async with queue.process(others, lease="1s") as other:
            await other.wait_idle("20s")
        assert workers.stop() == [0]
    assert others.runs == {}
    assert (await jobs[0].refresh()).attempts_started == 1


@pytest.mark.parametrize("style", ["async", "thread"])
async def test_a_frozen_worker_cannot_settle_when_it_wakes(
    server: Server, queue: Queue, redis_client: redis.Redis, prefix: str, tmp_path: Path, style: str
) -> None:
    settings = Settings(
        url=server.url,
        prefix=prefix,
        queue="q",
        log=str(tmp_path / "starts"),
        concurrency=4,
        seconds=0.2,
        style=style,
    )
    jobs = await queue.add_bulk([("work", i) for i in range(200)])
    others = Runs(0.001)
    stalled = list[str]()
    with crew(settings) as workers:
        process = workers.add()
        await wait_until_async(lambda: len(workers.starts()) >= 12, 30)
        process.send_signal(signal.SIGSTOP)
        frozen_at = time.monotonic()
        try:
            began = [start.job_id for start in workers.starts()]
            other = queue.process(others, lease="1s", concurrency=10)
            other.on("stalled", stalled.append)
            async with other:
                await wait_until_async(lambda: stalled, 20, what="the frozen worker to be given up")
                assert time.monotonic() - frozen_at < RECOVERED_WITHIN + LEASE + SLACK
                await other.wait_idle("20s")
                done = {job.id: job.returnvalue for job in await queue.get_jobs("completed", 0, -1)}
                assert len(done) == 200
                process.send_signal(signal.SIGCONT)
                await wait_until_async(
                    lambda: registered_again(redis_client, queue, process.pid), 20, what="it to register anew"
                )
                late = await queue.add("work", "late")
                await wait_until_async(lambda: others.runs[late.id] or has_run(workers, late.id), 20)
                await other.wait_idle("20s")
        finally:
            process.send_signal(signal.SIGCONT)
        assert workers.stop() == [0]
        starts = workers.starts()
    after = {job.id: job.returnvalue for job in await queue.get_jobs("completed", 0, -1)}
    assert {id: value for id, value in after.items() if id != late.id} == done, "an outcome was overwritten"
    assert {id: value for id, value in done.items() if value == "other"}.keys() == set(others.runs) - {
        late.id
    }
    assert [start.job_id for start in starts if start.job_id != late.id] == began, (
        "it started a job of others"
    )
    assert set(others.runs.values()) == {1}
    assert set(stalled) >= set(began[-4:]) & set(others.runs)
    counts = await queue.get_job_counts()
    assert counts == {**dict.fromkeys(counts, 0), "completed": 201}
    assert len(jobs) == 200


def registered_again(client: redis.Redis, queue: Queue, pid: int) -> bool:
    hosts = client.hgetall(queue.keys["hosts"])
    return any(f'"pid": {pid},'.encode() in host for host in hosts.values())  # type: ignore[union-attr]


def has_run(workers: Crew, job_id: str) -> bool:
    return any(start.job_id == job_id for start in workers.starts())


async def test_after_a_pause_of_the_server_longer_than_the_lease_nobody_is_reaped(
    private_server: PrivateServer,
) -> None:
    server = private_server()
    runs, stalled = Runs(0.3), list[str]()
    async with Queue("q", server.url, request_timeout="30s") as queue:
        first, second = (queue.process(runs, lease="1s", concurrency=5) for _ in range(2))
        for worker in (first, second):
            worker.on("stalled", stalled.append)
        async with first, second:
            await queue.add_bulk([("work", i) for i in range(100)])
            await wait_until_async(lambda: len(runs.runs) > 10, 20)
            with server.frozen():
                frozen = time.monotonic()
                await wait_until_async(lambda: time.monotonic() - frozen > 2.5 * LEASE, 20)
            await first.wait_idle("20s")
    assert stalled == []
    assert set(runs.runs.values()) == {1}


# A poison job.


def keep_alive(workers: Crew, size: int) -> int:
    """Replace the processes that died; returns how many did."""
    dead = [process for process in workers.processes if process.poll() is not None]
    for process in dead:
        workers.processes.remove(process)
        workers.add()
    return len(dead)


def test_a_poison_job_fails_alone(
    server: Server, redis_client: redis.Redis, prefix: str, tmp_path: Path
) -> None:
    """Every run of it kills its process. The jobs that were held beside it are not charged for that."""
    settings = Settings(
        url=server.url, prefix=prefix, queue="q", log=str(tmp_path / "starts"), concurrency=5, seconds=0.002
    )
    deaths = 0
    with sync.Queue("q", server.url, prefix=prefix, defaults={"remove_on_complete": False}) as queue:
        jobs = queue.add_bulk([("poison" if i == 50 else "work", i) for i in range(101)])
        poison = jobs[50]
        with crew(settings) as workers:
            workers.add()

            def all_ended() -> bool:
                nonlocal deaths
                deaths += keep_alive(workers, 1)
                counts = queue.get_job_counts("completed", "failed")
                return counts["completed"] + counts["failed"] == 101

            wait_until(all_ended, 50, what="all jobs to end")
            starts = Counter(start.job_id for start in workers.starts())
            assert workers.stop() == [0]
        counts = queue.get_job_counts()
        assert counts == {**dict.fromkeys(counts, 0), "completed": 100, "failed": 1}
        poison.refresh()
        assert (poison.state, poison.error_type) == ("failed", "JobCrashed")
        assert "died" in str(poison.failed_reason)
    assert deaths == starts[poison.id] == 3
    assert all(runs <= 2 for id, runs in starts.items() if id != poison.id)
    assert redis_client.hget(queue.keys["meta"], "held") == b"0"
    assert redis_client.hlen(queue.keys["attempts"]) == 0


async def test_a_worker_whose_number_was_reaped_starts_over(queue: Queue, redis_client: redis.Redis) -> None:
    """As if others had taken it for dead: what it holds is theirs, its own outcomes no longer count."""
    started, cancelled, errors = list[str](), list[str](), list[Exception]()

    async def wait(job: Job) -> str:
        started.append(job.id)
        if len(started) > 1:
            return "second"
        try:
            await asyncio.sleep(60)  # time is the subject
        except asyncio.CancelledError:
            cancelled.append(job.id)
            raise
        return "first"

    job = await queue.add("work", 1)
    worker = queue.process(wait, lease="1s")
    worker.on("error", errors.append)
    async with worker:
        await wait_until_async(lambda: started)
        [number] = redis_client.zrange(queue.keys["workers"], 0, -1)  # type: ignore[misc]
        redis_client.zadd(queue.keys["workers"], {number: 0})  # condemned, as the first page of a reaper does
        await wait_until_async(lambda: cancelled, 10, what="the worker to notice")
        await wait_until_async(
            lambda: len(started) == 2, 20, what="it to reap the old number and run the job again"
        )
        await worker.wait_idle("10s")
    assert [type(error) for error in errors] == [LeaseLost]
    await job.refresh()
    assert (job.state, job.returnvalue, job.attempts_started) == ("completed", "second", 2)
    assert redis_client.zcard(queue.keys["workers"]) == 0
