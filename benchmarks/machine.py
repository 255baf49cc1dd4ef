"""The machine: which cores to use, and what stands in the head of every report."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the server and the contender run; None on a machine that cannot keep them apart."""

    server: int | None
    client: int | None
    available: int
    why_not: str = ""

    @classmethod
    def of_this_machine(cls, *, pin: bool) -> Cores:
        """Pin when there are two cores and taskset; say why not otherwise."""
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if not pin:
            return cls(None, None, len(cores) or os.cpu_count() or 1, "--no-pin was given")
        if shutil.which("taskset") is None:
            return cls(None, None, len(cores) or os.cpu_count() or 1, "taskset is missing")
        if len(cores) < 2:
            return cls(None, None, len(cores), "there is one core only")
        return cls(cores[0], cores[1], len(cores))

    def on_server_core(self, command: list[str]) -> list[str]:
        return _pin(command, self.server)

    def on_client_core(self, command: list[str]) -> list[str]:
        return _pin(command, self.client)

    def describe(self) -> str:
        if self.server is None:
            return f"NOT pinned: {self.why_not}; figures are noisier and ratios less sure"
        return f"server on core {self.server}, contender on core {self.client}"


def _pin(command: list[str], core: int | None) -> list[str]:
    return command if core is None else ["taskset", "-c", str(core), *command]


@dataclass(frozen=True, slots=True)
class Machine:
    """What the figures were measured on."""

    date: str
    commit: str
    python: str
    server: str
    redis_py: str
    hiredis: str
    uvloop: str
    node: str
    cpu: str
    cores: int
    memory: str
    kernel: str
    pinning: str

    @classmethod
    def now(cls, server: str, cores: Cores) -> Machine:
        return cls(
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            commit=_commit(),
            python=f"{platform.python_implementation()} {platform.python_version()}",
            server=server,
            redis_py=_version("redis"),
            hiredis=_version("hiredis"),
            uvloop=_version("uvloop"),
            node=_output("node", "--version") or "none",
            cpu=_cpu_model(),
            cores=cores.available,
            memory=_memory(),
            kernel=f"{platform.system()} {platform.release()}",
            pinning=cores.describe(),
        )

    def lines(self) -> list[str]:
        return [f"{name.replace('_', '-')}: {value}" for name, value in asdict(self).items()]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _commit() -> str:
    commit = _output("git", "rev-parse", "--short", "HEAD") or "none"
    changed = _output("git", "status", "--porcelain", "--untracked-files=no")
    return f"{commit} with changes" if changed else commit


def _memory() -> str:
    info = Path("/proc/meminfo")
    if not info.exists():
        return "unknown"
    kilobytes = int(info.read_text().split("MemTotal:")[1].split()[0])
    return f"{kilobytes / 2**20:.1f} GiB"


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
