"""Processes that come and go: forks, workers of two versions side by side, stops under load."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from bullrush import Job, Queue
from tests.faults.crew import Crew, Settings, crew
from tests.faults.traffic import check_books
from tests.servers import Server
from tests.waiting import wait_until_async

# T17


def fork_worker(url: str, prefix: str, queue: Queue) -> int:
    """A child of this process, which has used the queue, works until nothing is left."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        asyncio.run(work_as_child(queue))
        code = 0
    finally:
        os._exit(code)


async def work_as_child(queue: Queue) -> None:
    async def handle(job: Job) -> int:
        await asyncio.sleep(0.02)  # time is the subject
        return os.getpid()

    async with queue.process(handle, concurrency=4, remove_on_complete=False) as worker:
        await worker.wait_idle("30s")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_children_are_workers_of_their_own(url: str, prefix: str) -> None:
    """Each has a connection, a session and a number of its own; each job is run by one of them."""
    queue = Queue("q", url, prefix=prefix)

    async def prepare() -> list[Job]:
        return await queue.add_bulk([("work", i) for i in range(200)])

    async def look() -> tuple[set[str], set[int | None]]:
        async with Queue("q", url, prefix=prefix) as other:
            await wait_until_async(lambda: has_workers(other, 3), 20)
            workers = await other.get_workers()
            return {worker.number for worker in workers}, {worker.pid for worker in workers}

    async def check(children: list[int]) -> None:
        jobs = await queue.get_jobs("completed", 0, -1)
        assert Counter(job.data for job in jobs) == Counter(range(200))
        assert {job.returnvalue for job in jobs} == set(children)
        assert {job.attempts_started for job in jobs} == {1}
        await queue.add("work", "the parent goes on")
        await queue.close()

    asyncio.run(prepare())
    children = [fork_worker(url, prefix, queue) for _ in range(3)]
    numbers, pids = asyncio.run(look())
    assert len(numbers) == 3
    assert pids == set(children)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]
    asyncio.run(check(children))


async def has_workers(queue: Queue, count: int) -> bool:
    return await queue.get_workers_count() == count


# T42


@pytest.mark.parametrize("jobs", [100, pytest.param(5_000, marks=pytest.mark.long)])
async def test_a_name_that_only_the_new_version_knows_is_never_failed_by_the_old_one(
    queue: Queue, jobs: int
) -> None:
    """The old worker gives it back untouched, without an attempt, and goes on with what it knows."""
    done: Counter[str] = Counter()
    failed = list[str]()

    async def handle(job: Job) -> None:
        done[job.name] += 1

    added = await queue.add_bulk(
        [("old" if i % 2 else "new", i, {"attempts": 1 + i % 3, "priority": i % 4}) for i in range(jobs)]
    )
    old = queue.process({"old": handle}, concurrency=10, remove_on_complete=False)
    old.on("failed", lambda job, _: failed.append(job.id))
    async with old:
        await wait_until_async(lambda: done["old"] == jobs // 2, 30)
        assert done["new"] == 0
        new = queue.process({"old": handle, "new": handle}, concurrency=10, remove_on_complete=False)
        async with new:
            await wait_until_async(lambda: done["new"] == jobs // 2, 60)
            await new.wait_idle("20s")
    assert failed == []
    for job in added[:100]:
        await job.refresh()
        assert (job.state, job.attempts_made, job.attempts_started, job.crashes) == ("completed", 0, 1, 0)
    await check_books(queue, completed=jobs)


# T49


@pytest.mark.timeout(600)
@pytest.mark.parametrize("stops", [3, pytest.param(60, marks=pytest.mark.long)])
async def test_what_had_not_started_when_a_worker_was_told_to_stop_is_not_charged(
    server: Server, url: str, prefix: str, tmp_path: Path, stops: int
) -> None:
    """SIGTERM, and SIGKILL while its last jobs still run: only these have a start to their account."""
    settings = Settings(
        url=url, prefix=prefix, queue="q", log=str(tmp_path / "starts"), concurrency=3, seconds=0.3
    )
    async with Queue("q", url, prefix=prefix, defaults={"remove_on_complete": False}) as queue:
        with crew(settings) as workers:
            await queue.add_bulk([("work", i) for i in range(40 * stops)])
            killed: set[str] = set()
            for _ in range(stops):
                killed |= await stop_one(queue, workers)
            runs: Counter[str] = Counter()

            async def handle(job: Job) -> None:
                runs[job.id] += 1
                assert job.attempts_made == 0
                earlier = sum(start.job_id == job.id for start in workers.starts())
                assert job.attempts_started <= 1 + earlier, "charged for a start that never was"

            async with queue.process(
                handle, concurrency=20, lease="1s", remove_on_complete=False, remove_on_fail=False
            ) as last:
                await last.wait_idle("60s")
            assert set(runs.values()) == {1}
            assert killed <= set(runs)
            await check_books(queue, completed=40 * stops)


async def stop_one(queue: Queue, workers: Crew) -> set[str]:
    """Start a worker, tell it to stop, kill it before its last jobs end; returns the ids of these."""
    process = workers.add()
    before = len(workers.starts())
    await wait_until_async(lambda: len(workers.starts()) >= before + 3, 30)
    process.send_signal(signal.SIGTERM)
    await wait_until_async(lambda: holds_only_what_runs(queue, process.pid), 10)
    running = set(await held(queue, process.pid))
    workers.kill(process)
    return running


async def held(queue: Queue, pid: int) -> list[str]:
    return [id for worker in await queue.get_workers() if worker.pid == pid for id in worker.jobs]


async def holds_only_what_runs(queue: Queue, pid: int) -> bool:
    """Whether it has given back what it had claimed beyond its three slots."""
    return len(await held(queue, pid)) <= 3
