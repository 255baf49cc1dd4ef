"""What every Python contender shares: the case it is given, the clock, and the JSON line it prints."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypedDict

import redis


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement: a scenario, its size, and the server to use."""

    scenario: str
    count: int
    port: int
    host: str = "127.0.0.1"
    concurrency: int = 1
    batch: int = 1_000
    role: str = "worker"

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    @property
    def share(self) -> int:
        """Jobs of each of `concurrency` callers."""
        return self.count // self.concurrency


class Result(TypedDict):
    """What a contender prints: one JSON line."""

    jobs: int
    seconds: float
    redis_s: float
    client_s: list[float]
    commands: int
    reads: int
    extra: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Server:
    cpu: float
    commands: int
    reads: int


class Meter:
    """Wall time, CPU of this process and CPU of the server between `start` and `stop`."""

    def __init__(self, case: Case) -> None:
        self._redis: redis.Redis = redis.Redis(host=case.host, port=case.port, decode_responses=True)
        self._redis.ping()
        self._before = _Server(0.0, 0, 0)
        self._cpu = self._wall = 0.0
        self.seconds = self.redis_s = self.client_s = 0.0
        self.commands = self.reads = 0

    def start(self) -> None:
        self._before = self._server()
        self._cpu = time.process_time()
        self._wall = time.monotonic()

    def stop(self) -> None:
        """Add what passed since `start`; a meter may be started again."""
        self.seconds += time.monotonic() - self._wall
        self.client_s += time.process_time() - self._cpu
        after = self._server()
        self.redis_s += after.cpu - self._before.cpu
        self.commands += after.commands - self._before.commands
        self.reads += after.reads - self._before.reads

    def memory(self) -> int:
        """Bytes the server uses for data, without the buffers of its clients."""
        info = self._info("memory")
        return int(info["used_memory"]) - int(info["mem_clients_normal"])

    def result(
        self, jobs: int, extra: Mapping[str, float] | None = None, *, others: Sequence[float] = ()
    ) -> Result:
        """The figures of `jobs` jobs; `others` is the CPU of helper processes in seconds."""
        return Result(
            jobs=jobs,
            seconds=self.seconds,
            redis_s=self.redis_s,
            client_s=[self.client_s, *others],
            commands=self.commands,
            reads=self.reads,
            extra=dict(extra or {}),
        )

    def _info(self, section: str) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = self._redis.info(section)
        return answer

    def _server(self) -> _Server:
        cpu, stats = self._info("cpu"), self._info("stats")
        return _Server(
            cpu=float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]),
            commands=int(stats["total_commands_processed"]),
            reads=int(stats.get("total_reads_processed", 0)),
        )


def payload(i: int) -> dict[str, Any]:
    """The data of job `i`: 41 bytes in msgpack, 49 in JSON, the same length for every job."""
    n = i % 100_000
    return {"to": f"user{n:06d}@mail.example.com", "uid": 100_000 + n}


def package_version(name: str) -> str:
    """The installed version, or that it runs from a checkout."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "from a checkout"


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and true maximum in ms."""
    ordered = sorted(seconds)
    at = len(ordered) - 1
    return {
        "p50_ms": ordered[at // 2] * 1e3,
        "p99_ms": ordered[int(at * 0.99)] * 1e3,
        "max_ms": ordered[-1] * 1e3,
    }


@dataclass(slots=True)
class Countdown:
    """Set once `left` handlers have run; `hit` is all that a no-op handler does."""

    left: int
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def hit(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.done.set()

    async def finished(self, settled: Callable[[], Awaitable[bool]]) -> None:
        """Return once every handler ran and `settled` says that the queue knows it.

        Raises RuntimeError when a job ran twice: its figure would not count the same work.
        """
        await self.done.wait()
        await until(settled)
        if self.left:
            raise RuntimeError(f"{-self.left} jobs ran more than once")


async def until(settled: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so: there is no event for "all settled". 1 ms is less than 1 % of any run."""
    while not await settled():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def memory_result(meter: Meter, jobs: int, before: int, payload_bytes: int) -> Result:
    """Bytes per waiting job, and how many of them are not the payload as it is stored."""
    each = (meter.memory() - before) / jobs
    extra = {"bytes_per_job": each, "payload_bytes": payload_bytes, "overhead_bytes": each - payload_bytes}
    return meter.result(jobs, extra)


def redis_cpu_result(jobs: int, adding: Meter, processing: Meter) -> Result:
    """Server CPU of the two halves of a job's life; `seconds` is their sum."""
    result = adding.result(
        jobs,
        {
            "add_redis_us": adding.redis_s / jobs * 1e6,
            "process_redis_us": processing.redis_s / jobs * 1e6,
            "jobs_per_read": 2 * jobs / (adding.reads + processing.reads),
        },
    )
    result["seconds"] += processing.seconds
    result["redis_s"] += processing.redis_s
    result["client_s"] = [adding.client_s + processing.client_s]
    result["commands"] += processing.commands
    result["reads"] += processing.reads
    return result


Scenario = Callable[[Case], Coroutine[Any, Any, Result]]
ProducerScenario = Callable[[Case], Coroutine[Any, Any, None]]


def main(
    label: str,
    contender_version: str,
    notes: str,
    scenarios: Mapping[str, Scenario],
    producers: Mapping[str, ProducerScenario],
    warm_up: Callable[[Case], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Run as a program: ``describe``, or a case in JSON; answer with one JSON line.

    `warm_up` runs before the case, unmeasured: what is measured is a process that has been at work.
    """
    loop_factory = _loop_factory()
    if sys.argv[1] == "describe":
        python = f"Python {platform.python_version()}"
        about = {
            "label": label,
            "version": f"{contender_version}, {python}",
            "notes": notes,
            "scenarios": list(scenarios),
        }
        print(json.dumps(about))
        return
    case = Case(**json.loads(sys.argv[1]))
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        if warm_up is not None:
            runner.run(warm_up(case))
        if case.role == "producer":
            runner.run(producers[case.scenario](case))
        else:
            print(json.dumps(runner.run(scenarios[case.scenario](case))), flush=True)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if os.environ.get("BENCH_LOOP") != "uvloop":
        return None
    import uvloop

    return uvloop.new_event_loop
