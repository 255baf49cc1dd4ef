"""The clock: wall time, CPU of the contender's process, CPU and commands of the server."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from benchmarks.harness.case import Case, Result


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
        self._cpu = _cpu_of_this_process()
        self._wall = time.monotonic()

    def stop(self) -> None:
        """Add what passed since `start`; a meter may be started again."""
        self.seconds += time.monotonic() - self._wall
        self.client_s += _cpu_of_this_process() - self._cpu
        after = self._server()
        self.redis_s += after.cpu - self._before.cpu
        self.commands += after.commands - self._before.commands
        self.reads += after.reads - self._before.reads

    def memory(self) -> int:
        """Bytes the server uses for data, without the buffers of its clients."""
        info = self._info("memory")
        return int(info["used_memory"]) - int(info["mem_clients_normal"])

    def commands_so_far(self) -> int:
        return self._server().commands

    def slowest_call_ms(self) -> float:
        """The longest command of those that the server noted, since `note_slow_calls`."""
        return max((entry["duration"] for entry in self._redis.slowlog_get(1_000)), default=0) / 1e3

    def note_slow_calls(self, from_us: int = 500) -> None:
        self._redis.config_set("slowlog-log-slower-than", from_us)
        self._redis.config_set("slowlog-max-len", 1_000)
        self._redis.slowlog_reset()

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


def both(first: Meter, second: Meter, jobs: int, extra: Mapping[str, float] | None = None) -> Result:
    """The figures of two stages of the same jobs, added up."""
    result = first.result(jobs, extra)
    result["seconds"] += second.seconds
    result["redis_s"] += second.redis_s
    result["client_s"] = [first.client_s + second.client_s]
    result["commands"] += second.commands
    result["reads"] += second.reads
    return result


def resident_mb(pid: int | None = None) -> float:
    """Resident memory of a process, this one by default; 0.0 where the system does not tell."""
    status = Path(f"/proc/{pid or os.getpid()}/status")
    if not status.exists():
        return 0.0
    for line in status.read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _cpu_of_this_process() -> float:
    """With its children that have ended: some contenders run handlers in processes."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
