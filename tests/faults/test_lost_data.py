"""The server forgets: old files are put back, keys are evicted, events are trimmed. It is noticed and told."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from bullrush import Job, Queue
from tests.conftest import PrivateServer
from tests.faults.traffic import Traffic
from tests.servers import KINDS, Kind
from tests.waiting import wait_until_async

READER = """
import asyncio, sys
from bullrush import Queue
from bullrush.events import Completed, Gap

async def follow(queue):
    async with queue.events(kinds=[Completed, Gap]) as events:
        print("ready", flush=True)
        while True:
            event = await events.get("1m")
            print(event.name, getattr(event, "missed", event.job_id if event.name != "gap" else ""), flush=True)

async def main():
    async with Queue("q", sys.argv[1], prefix=sys.argv[2]) as queue:
        waits = [asyncio.create_task(queue.get_result(id, timeout="1m")) for id in sys.argv[3:]]
        following = asyncio.create_task(follow(queue))
        print("results", await asyncio.gather(*waits), flush=True)
        await following

asyncio.run(main())
"""


# T52


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", ["rdb", "aof"])
async def test_old_files_are_put_back(
    private_server: PrivateServer, tmp_path: Path, kind: Kind, format: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Both sides live through it; what the files knew is done to the end, what came later is gone."""
    server = private_server(kind, persistent=format == "aof")
    kept = tmp_path / "kept"
    async with Queue("q", server.url, request_timeout="30s") as queue:
        async with Traffic(queue, queue, lease="1s", ids_are_new=False) as traffic:
            await traffic.flows()
            await queue.add_bulk([("work", -i) for i in range(1, 200)])
            before = set(traffic.acknowledged)
            with server.client() as admin:
                admin.save()
            if format == "aof":
                await asyncio.to_thread(server.stop)
            shutil.copytree(server.folder, kept, ignore=lambda _, names: [n for n in names if n == "socket"])
            if format == "aof":
                await asyncio.to_thread(server.start)
            await traffic.flows()
            await asyncio.to_thread(server.kill)
            put_back(kept, server.folder)
            await asyncio.to_thread(server.start)
            await traffic.flows()
            await traffic.finish()
        assert before <= set(traffic.runs)
        assert traffic.refused == []
        assert "acknowledged jobs are missing on the server" in caplog.text
        counts = await queue.get_job_counts()
        assert counts == {**dict.fromkeys(counts, 0), "completed": counts["completed"]}
        report = await queue.fsck()
        assert report.ok, str(report)


def put_back(kept: Path, folder: Path) -> None:
    """Replace the server's files by those of before."""
    for name in ("dump.rdb", "appendonlydir"):
        old, new = kept / name, folder / name
        if new.is_dir():
            shutil.rmtree(new)
        if old.is_dir():
            shutil.copytree(old, new)
        elif old.exists():
            shutil.copy(old, new)


# T32


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
async def test_a_server_that_evicts_keys(private_server: PrivateServer, kind: Kind, policy: str) -> None:
    """Jobs go with their keys, which no client can help. Nothing crashes, fsck tells, and new jobs are done."""
    server = private_server(kind)
    async with Queue("q", server.url, request_timeout="20s") as queue:
        await queue.add_bulk([("work", "x" * 3_000) for _ in range(2_000)])
        with server.client() as admin:
            evict(admin, policy)
            assert int(admin.info("stats")["evicted_keys"]) > 0
        await queue.fsck()  # whatever it finds, it reads to the end
        async with Traffic(queue, queue, ids_are_new=False) as traffic:
            await traffic.flows()
            await traffic.stop_adding()
            await wait_until_async(lambda: set(traffic.acknowledged) <= set(traffic.runs), 20)
        report = await queue.fsck(repair=True)
        assert report.ok, str(report)
        assert (await queue.fsck()).problems == ()


async def test_fsck_names_what_was_evicted(queue: Queue, redis_client: redis.Redis) -> None:
    """The records of jobs in line are gone: they are called corrupt, and a worker drops them and goes on."""
    await queue.add_bulk([("work", i) for i in range(300)])
    redis_client.delete(queue.keys["jobs"])
    report = await queue.fsck()
    assert {problem.kind for problem in report.problems} == {"corrupt"}
    assert len(report.problems) == 300
    done = list[object]()

    async def handle(job: Job) -> None:
        done.append(job.data)

    async with queue.process(handle) as worker:
        await queue.add("work", "new")
        await wait_until_async(lambda: done == ["new"], 20)
        await worker.wait_idle("20s")
    assert (await queue.fsck()).ok


def evict(admin: redis.Redis, policy: str) -> None:
    """Let memory be short by a little until the server has thrown something away."""
    admin.config_set("maxmemory-policy", policy)
    admin.config_set("maxmemory", admin.info("memory")["used_memory"] - 1_000_000)
    admin.set("foreign", "x")
    admin.config_set("maxmemory", 0)
    admin.config_set("maxmemory-policy", "noeviction")


# T45


@contextmanager
def reader(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", READER, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


async def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 30)).strip()


@pytest.mark.parametrize("waits", [20, pytest.param(1_000, marks=pytest.mark.long)])
async def test_a_reader_that_was_stopped_is_told_what_it_missed(
    queue: Queue, redis_client: redis.Redis, url: str, prefix: str, waits: int
) -> None:
    """Its waits for results end all the same, with the results."""

    async def handle(job: Job) -> int:
        return job.data

    jobs = await queue.add_bulk([("work", i) for i in range(waits)])
    with reader(url, prefix, *[job.id for job in jobs]) as process:
        assert await line_of(process) == "ready"
        await wait_until_async(lambda: redis_client.hexists(queue.keys["meta"], "listen"), 20)
        process.send_signal(signal.SIGSTOP)
        async with queue.process(handle, concurrency=10, remove_on_complete=False) as worker:
            await worker.wait_idle("30s")
        await queue.trim_events(0)
        late = await queue.add("work", -1)
        process.send_signal(signal.SIGCONT)
        async with queue.process(handle, remove_on_complete=False):
            found = sorted([await line_of(process) for _ in range(3)])
    assert found[0] == f"completed {late.id}"
    assert found[1].startswith("gap ")
    assert int(found[1].split()[1]) > 0, "it is told how many entries are missing"
    assert found[2] == f"results {list(range(waits))}"
