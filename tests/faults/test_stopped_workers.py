"""A process that was stopped past its lease wakes up and tries everything: it changes nothing."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from bullrush import Completed, Delayed, Event, Failed, Job, Progress, Queue
from bullrush.options import JobOptions
from bullrush.scripts import load
from tests.faults.sleeper import ACTS, Settings
from tests.hearing import heard
from tests.servers import Server
from tests.waiting import wait_until_async

KEPT: JobOptions = {"remove_on_complete": False}
KINDS: tuple[type[Event], ...] = (Completed, Failed, Delayed, Progress)


@contextmanager
def sleeper(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Run one; it is ended at the end of the block."""
    Path(settings.starts).touch()
    command = [sys.executable, "-m", "tests.faults.sleeper", json.dumps(asdict(settings))]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(10)


def noted(settings: Settings) -> list[str]:
    return [line.split()[0] for line in Path(settings.starts).read_text().splitlines()]


def registered(client: redis.Redis, queue: Queue, pid: int) -> set[bytes]:
    """The numbers under which a process is registered."""
    hosts = cast("dict[bytes, bytes]", client.hgetall(queue.keys["hosts"]))
    return {number for number, host in hosts.items() if json.loads(host)["pid"] == pid}


async def second(job: Job) -> str:
    return "second"


async def stop_past_the_lease(
    client: redis.Redis, queue: Queue, settings: Settings, process: subprocess.Popen[bytes], jobs: list[Job]
) -> None:
    """Others do all its jobs while it is stopped; then it wakes, tries everything, and works on."""
    await wait_until_async(lambda: len(noted(settings)) == len(ACTS), 30)
    [number] = registered(client, queue, process.pid)
    process.send_signal(signal.SIGSTOP)
    async with queue.process(second, lease="1s", concurrency=10) as other:
        await other.wait_idle("60s")
        await wait_until_async(lambda: not registered(client, queue, process.pid), 20)
    Path(settings.go).touch()
    process.send_signal(signal.SIGCONT)
    await wait_until_async(lambda: registered(client, queue, process.pid) - {number}, 20)
    with pytest.raises(redis.ResponseError, match="LEASE lost"):
        run_renew(client, queue, number)
    late = await queue.add("work", "late")
    await wait_until_async(lambda: process.poll() is not None, 20, what="it to work on, and to end")
    assert process.returncode == 0
    assert (await late.refresh()).returnvalue == "awake"
    assert client.zscore(queue.keys["workers"], number) is None


def run_renew(client: redis.Redis, queue: Queue, number: bytes) -> None:
    """As the process that had this number would."""
    script = load("renew")
    keys = script.names(queue.keys)
    client.eval(script.source.decode(), len(keys), *keys, number, 1000)


async def changes_nothing(client: redis.Redis, settings: Settings) -> None:
    async with Queue(settings.queue, settings.url, prefix=settings.prefix, defaults=KEPT) as queue:
        jobs = await queue.add_bulk([("work", i) for i in range(len(ACTS))])
        with sleeper(settings) as process:
            events: list[Any] = await heard(
                queue, KINDS, lambda: stop_past_the_lease(client, queue, settings, process, jobs)
            )
        assert noted(settings)[:-1] == [job.id for job in jobs]
        for job in jobs:
            await job.refresh()
            assert (job.state, job.returnvalue, job.progress) == ("completed", "second", None)
            assert (job.attempts_made, job.attempts_started) == (0, 2)
            assert await job.get_logs() == ([], 0)
        assert Counter((type(event), event.job_id) for event in events) == {
            (Completed, id): 1 for id in noted(settings)
        }
        counts = await queue.get_job_counts()
        assert counts == {**dict.fromkeys(counts, 0), "completed": len(jobs) + 1}
        assert client.hget(queue.keys["meta"], "held") == b"0"
        report = await queue.fsck()
        assert report.ok, str(report)


@pytest.mark.parametrize(
    ("processes", "rounds"),
    [(1, 1), pytest.param(10, 6, marks=[pytest.mark.long, pytest.mark.timeout(600)])],
)
async def test_a_process_that_was_stopped_past_its_lease_changes_nothing(
    server: Server, redis_client: redis.Redis, prefix: str, tmp_path: Path, processes: int, rounds: int
) -> None:
    for round in range(rounds):
        settings = [
            Settings(
                url=server.url,
                prefix=prefix,
                queue=f"q{n}-{round}",
                starts=str(tmp_path / f"starts{n}-{round}"),
                go=str(tmp_path / f"go{n}-{round}"),
            )
            for n in range(processes)
        ]
        await asyncio.gather(*(changes_nothing(redis_client, each) for each in settings))
