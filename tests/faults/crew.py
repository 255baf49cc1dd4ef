"""Worker processes for tests that kill, freeze and stop them; each start of a job outlives its process.

As a program, `python -m tests.faults.crew SETTINGS`, it is one worker, run with `run_forever`.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from bullrush import Job, JobBase, Queue, Worker, sync

Style = Literal["async", "thread", "block", "hold", "hold_in_thread"]
AnyHandler = Callable[[Job], Awaitable[str]] | Callable[[sync.Job], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a worker process is told: where its jobs are, where it notes their starts, how it runs them."""

    url: str
    prefix: str
    queue: str
    log: str
    concurrency: int = 10
    lease_ms: int = 1000
    seconds: float = 0.02  # how long a job takes
    style: Style = "async"
    hang_limit_ms: int | None = None  # 10 leases
    until_idle: bool = False


class Start(NamedTuple):
    """One start of a job, as its process noted it."""

    job_id: str
    pid: int
    attempts_started: int


class Crew:
    """Worker processes with the same settings. Whatever still runs at the end is killed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.processes: list[subprocess.Popen[bytes]] = []

    def add(self, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start one more process; it works when its first start is noted."""
        command = [sys.executable, "-m", "tests.faults.crew", json.dumps(asdict(self.settings))]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
        )
        self.processes.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End one as a crash would, and wait until it is gone."""
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(10)
        self.processes.remove(process)

    def stop(self, timeout: float = 20) -> list[int]:
        """Ask all to close in good order, and return their exit codes."""
        for process in self.processes:
            process.terminate()
        codes = [process.wait(timeout) for process in self.processes]
        self.processes.clear()
        return codes

    def starts(self) -> list[Start]:
        """Return what was noted so far. A line is written whole or not at all."""
        lines = Path(self.settings.log).read_text().splitlines()
        return [Start(id, int(pid), int(count)) for id, pid, count in map(str.split, lines)]


@contextmanager
def crew(settings: Settings) -> Iterator[Crew]:
    """Make a crew without members; at the end of the block all it has are killed."""
    Path(settings.log).touch()
    made = Crew(settings)
    try:
        yield made
    finally:
        for process in list(made.processes):
            made.kill(process)


def recorder(path: str) -> Callable[[JobBase], None]:
    """Return what notes the start of a job: one write to a file opened for appending survives a kill."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(job: JobBase) -> None:
        os.write(file, f"{job.id} {os.getpid()} {job.attempts_started}\n".encode())

    return note


def async_handler(settings: Settings) -> Callable[[Job], Awaitable[str]]:
    """Return a handler that notes the start, takes its time, and dies with its process on "poison"."""
    note = recorder(settings.log)

    async def handle(job: Job) -> str:
        note(job)
        if job.name == "poison":
            os._exit(13)
        await asyncio.sleep(settings.seconds)  # time is the subject
        return job.id

    return handle


def blocking_handler(settings: Settings) -> Callable[[Job], Awaitable[str]]:
    """Return a coroutine function that does not let the loop turn."""
    note = recorder(settings.log)

    async def handle(job: Job) -> str:
        note(job)
        if job.name != "quick":
            time.sleep(settings.seconds)  # noqa: ASYNC251  # time is the subject
        return job.id

    return handle


def holding_handler(settings: Settings) -> Callable[[Job], Awaitable[str]]:
    """Return a coroutine function that stays in C code and keeps the interpreter's lock there."""
    note, hold = recorder(settings.log), keep_the_lock(settings.seconds)

    async def handle(job: Job) -> str:
        note(job)
        if job.name != "quick":
            hold()
        return job.id

    return handle


def holding_in_thread_handler(settings: Settings) -> Callable[[sync.Job], str]:
    """Return the same as a plain function."""
    note, hold = recorder(settings.log), keep_the_lock(settings.seconds)

    def handle(job: sync.Job) -> str:
        note(job)
        if job.name != "quick":
            hold()
        return job.id

    return handle


def keep_the_lock(seconds: float) -> Callable[[], object]:
    """Return what sleeps in C without giving the interpreter's lock to anybody."""
    usleep = ctypes.PyDLL(None).usleep
    return lambda: usleep(int(seconds * 1_000_000))


def thread_handler(settings: Settings) -> Callable[[sync.Job], str]:
    """Return the same as a plain function."""
    note = recorder(settings.log)

    def handle(job: sync.Job) -> str:
        note(job)
        if job.name == "poison":
            os._exit(13)
        time.sleep(settings.seconds)  # time is the subject
        return job.id

    return handle


def main(text: str) -> None:
    """Work until a signal comes, or until nothing is left."""
    settings = Settings(**json.loads(text))
    make: dict[Style, Callable[[Settings], AnyHandler]] = {
        "async": async_handler,
        "thread": thread_handler,
        "block": blocking_handler,
        "hold": holding_handler,
        "hold_in_thread": holding_in_thread_handler,
    }
    queue = Queue(settings.queue, settings.url, prefix=settings.prefix)
    worker = Worker(
        queue,
        make[settings.style](settings),
        concurrency=settings.concurrency,
        lease=settings.lease_ms,
        hang_limit=settings.hang_limit_ms,
    )
    worker.run_forever(until_idle=settings.until_idle)


if __name__ == "__main__":
    main(sys.argv[1])
