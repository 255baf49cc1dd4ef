"""A server starts from what a crash has left of its files: whatever that is, the queue fits together and goes on."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bullrush import Deduplication, Job, Queue
from tests.conftest import PrivateServer
from tests.faults.seed import fresh
from tests.servers import KINDS, Kind, Server
from tests.waiting import wait_until_async

JOBS = 60
TAIL = 4096


class Disk(NamedTuple):
    """A server that was killed with a queue in full use, and what it had written."""

    server: Server
    file: Path
    written: bytes

    def cut(self, size: int) -> None:
        """Let the machine have lost everything behind so many bytes, and start the server on the rest."""
        folder = self.file.parent
        shutil.rmtree(folder)
        shutil.copytree(folder.with_name("kept"), folder)
        with self.file.open("r+b") as file:
            file.truncate(size)
        self.server.start()


async def handle(job: Job) -> object:
    if job.name == "fails":
        raise ValueError("as it is told")
    await job.log("a line")
    return job.data


async def work(url: str) -> None:
    """Everything that scripts write: jobs of all kinds, outcomes, retries, logs, results, a pause."""
    async with Queue("q", url, defaults={"remove_on_complete": 20}) as queue:
        await queue.add_bulk([("work", number) for number in range(JOBS)])
        for number in range(10):
            await queue.add("work", number, priority=1 + number % 3)
            await queue.add("work", number, delay="1h", job_id=f"later-{number}")
            await queue.add("fails", number, attempts=2, backoff="1h")
            await queue.add("work", number, deduplication=Deduplication(f"key {number % 4}"))
        async with queue.process(handle, concurrency=3, lease="1s") as worker:
            await worker.wait_idle("20s")
        await queue.pause()
        await queue.add_bulk([("work", number) for number in range(10)])
        await queue.resume()


async def a_disk(server: Server) -> Disk:
    await work(server.url)
    server.kill()
    (file,) = server.folder.glob("appendonlydir/*.incr.aof")
    shutil.copytree(file.parent, file.parent.with_name("kept"))
    return Disk(server, file, file.read_bytes())


def places(disk: Disk, chance: random.Random, count: int) -> Iterator[int]:
    """Where to cut: by chance within the last 4 KiB, each byte of it being as good as the others."""
    size = len(disk.written)
    yield from sorted(chance.sample(range(size - min(TAIL, size), size), count))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cuts", [6, pytest.param(250, marks=pytest.mark.long)])
async def test_the_append_only_file_ends_anywhere(
    private_server: PrivateServer, kind: Kind, cuts: int
) -> None:
    disk = await a_disk(private_server(kind, persistent=True))
    for size in places(disk, fresh("the cuts"), cuts):
        disk.cut(size)
        async with Queue("q", disk.server.url) as queue:
            report = await queue.fsck()
            assert report.ok, f"after {size} of {len(disk.written)} bytes: {report}"
        disk.server.kill()


@pytest.mark.parametrize("kind", KINDS)
async def test_the_queue_goes_on_with_a_torn_file(private_server: PrivateServer, kind: Kind) -> None:
    disk = await a_disk(private_server(kind, persistent=True))
    chance = fresh("the cut")
    (size,) = places(disk, chance, 1)
    disk.cut(size)
    async with Queue("q", disk.server.url) as queue:
        await queue.resume()
        added = await queue.add("work", "after the crash")
        async with queue.process(handle, concurrency=3, lease="1s") as worker:
            await worker.wait_idle("30s")
        assert await queue.get_job_counts("waiting", "active") == {"waiting": 0, "active": 0}
        job = await queue.get_job(added.id)
        assert job is not None
        assert job.state == "completed"
        assert (await queue.fsck()).ok


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=pytest.mark.long)])
async def test_snapshots_alone_lose_what_came_after_them_and_nothing_else(
    private_server: PrivateServer, kind: Kind, kills: int
) -> None:
    """Without an append-only file the last snapshot is what there is; it is a whole moment of the queue."""
    server = private_server(kind, extra=("--save", "3600 1000000"))
    async with Queue("q", server.url, request_timeout="30s") as queue:
        for number in range(kills):
            kept = await queue.add_bulk([("work", key) for key in range(50)])
            async with queue.process(handle, concurrency=3, remove_on_complete=False) as worker:
                await worker.wait_idle("20s")
            waiting = await queue.add_bulk([("work", key) for key in range(20)])
            with server.client() as client:
                client.save()
            gone = await queue.add_bulk([("work", key) for key in range(30)])
            server.kill()
            server.start()
            with server.client() as client:
                for jobs, there in ((kept, True), (waiting, True), (gone, False)):
                    found = [client.hexists(queue.keys["jobs"], job.id) for job in jobs]
                    assert found == [there] * len(jobs), f"after kill {number + 1}"
            assert (await queue.fsck()).ok
            async with queue.process(handle, concurrency=3, remove_on_complete=False) as worker:
                await wait_until_async(lambda: is_idle(queue), 20, what="what was left to be done")
                await worker.close()


async def is_idle(queue: Queue) -> bool:
    return not any((await queue.get_job_counts("waiting", "active")).values())
