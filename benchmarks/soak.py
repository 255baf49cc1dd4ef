"""``python -m benchmarks.soak [SECONDS]``: producer, worker and server at full speed; their memory has to stay flat.

Samples the resident memory of the producer's and the worker's process and the server's used memory. The first third is warm-up:
retention and the event stream fill. Exit code 1 when any of them grows by more than 10 % after it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import redis

from benchmarks.server import find, running
from bullrush import Job, Queue, Worker

TICKS = 12
ALLOWED = 1.10


async def produce(url: str) -> None:
    """Add for ever, with at most 50,000 jobs waiting."""
    async with Queue("soak", url) as queue:
        await queue.add_stream(_endless(), max_waiting=50_000)


def _endless() -> Iterator[tuple[str, object]]:
    number = 0
    while True:
        number += 1
        yield "mail", {"to": f"user{number}@mail.example.com", "uid": number}


async def work(url: str) -> None:
    """Process for ever."""

    async def handle(job: Job) -> int:
        return len(job.data)

    async with Worker("soak", handle, url, concurrency=100) as worker:
        await worker.run()


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def sample(client: redis.Redis, pids: list[int]) -> list[float]:
    """Return the memory of server and processes in MB."""
    server = client.info("memory")["used_memory"] / 2**20
    return [server, *map(resident_mb, pids)]


def main(seconds: float) -> int:
    """Run, print a line a sample, and judge."""
    with running(find("redis"), None) as port:
        url = f"redis://127.0.0.1:{port}"
        command = [sys.executable, "-m", "benchmarks.soak"]
        processes = [subprocess.Popen([*command, role, url]) for role in ("produce", "work")]
        try:
            return watch(redis.Redis.from_url(url), [process.pid for process in processes], seconds)
        finally:
            for process in processes:
                process.terminate()
                process.wait()


def watch(client: redis.Redis, pids: list[int], seconds: float) -> int:
    """Sample until the time is over."""
    print("seconds   server MB   producer MB   worker MB")
    samples: list[list[float]] = []
    for tick in range(1, TICKS + 1):
        time.sleep(seconds / TICKS)
        samples.append(sample(client, pids))
        print(
            f"{seconds / TICKS * tick:7.0f}" + "".join(f"{value:12.1f}" for value in samples[-1]), flush=True
        )
    before = [max(column) for column in zip(*samples[TICKS // 3 - 1 : TICKS // 3 + 2], strict=True)]
    grown = [after / base for after, base in zip(samples[-1], before, strict=True)]
    jobs = int(client.get("{bullrush:soak}:ids") or 0)
    print(
        f"about {jobs / seconds:,.0f} jobs/s; growth after the warm-up: "
        + ", ".join(f"{ratio:.2f}" for ratio in grown)
    )
    return int(any(ratio > ALLOWED for ratio in grown))


if __name__ == "__main__":
    if sys.argv[1:2] in (["produce"], ["work"]):
        asyncio.run({"produce": produce, "work": work}[sys.argv[1]](sys.argv[2]))
    else:
        sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))
