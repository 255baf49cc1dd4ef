"""How each contender is installed and started. None is imported here: each has a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from benchmarks.machine import ROOT
from benchmarks.scenarios import Pace, Weight

CONTENDERS = Path(__file__).parent / "contenders"
BUILD = ROOT / "build" / "bench"
INSTALL_TIMEOUT_S = 600.0
DESCRIBE_TIMEOUT_S = 30.0


# Those whose ratio is quoted are measured most often.
OWN_ROUNDS = {Weight.HEAD: 5, Weight.REST: 5, Weight.ONCE: 1}
ROUNDS = {Weight.HEAD: 5, Weight.REST: 3, Weight.ONCE: 1}
FEWER_ROUNDS = {Weight.HEAD: 3, Weight.REST: 1, Weight.ONCE: 1}


class About(TypedDict):
    """A contender's answer to ``describe``."""

    label: str
    version: str
    notes: str
    scenarios: list[str]


class Unavailable(Exception):
    """A contender cannot run here; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Launcher:
    """A contender's command line; `prepare` installs what it needs, once, or raises `Unavailable`."""

    name: str
    pace: Pace
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    server: str = "redis"
    rounds: Mapping[Weight, int] = field(default_factory=lambda: ROUNDS)

    def environ(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def describe(self) -> About:
        """Install if necessary and ask for label, version and scenarios. Raises `Unavailable`."""
        self.prepare()
        try:
            done = subprocess.run(
                [*self.command, "describe"],
                cwd=ROOT,
                env=self.environ(),
                capture_output=True,
                text=True,
                timeout=DESCRIBE_TIMEOUT_S,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise Unavailable(_last_line(error.stderr)) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(str(error)) from error
        about: About = json.loads(done.stdout)
        return about


def _own(name: str, environment: Mapping[str, str] | None = None, server: str = "redis") -> Launcher:
    """bullrush or the floor, from the environment that runs the suite."""
    module = "floor" if name == "floor" else "bullrush"
    command = (sys.executable, "-m", f"benchmarks.contenders.{module}")
    rounds = OWN_ROUNDS if name == "bullrush" else FEWER_ROUNDS
    return Launcher(name, Pace.FAST, command, environment or {}, server=server, rounds=rounds)


def _python(name: str, *packages: str, loop: str = "") -> Launcher:
    """A Python library in an environment of its own, since they want different versions of redis-py."""
    folder = BUILD / name
    command = (str(folder / "bin" / "python"), "-m", f"benchmarks.contenders.{name}")
    prepare = lambda: _install_python(folder, packages)  # noqa: E731
    environment = {"BENCH_LOOP": loop} if loop else {}
    return Launcher(name, Pace.SLOW, command, environment, prepare, rounds=FEWER_ROUNDS)


def _node(name: str) -> Launcher:
    folder = BUILD / "node"
    command = ("node", str(CONTENDERS / f"{name}.mjs"))
    environment = {"BENCH_NODE_DIR": str(folder), "NODE_ENV": "production"}
    return Launcher(name, Pace.MEDIUM, command, environment, lambda: _install_node(folder))


def _install_node(folder: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Unavailable("node and npm are not on PATH")
    if (folder / "node_modules" / "bullmq").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).parent / "package.json", folder)
    _install([npm, "install", "--no-package-lock", "--no-audit", "--no-fund"], folder)


def _install_python(folder: Path, packages: tuple[str, ...]) -> None:
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == " ".join(packages):
        return
    _install([sys.executable, "-m", "venv", "--clear", str(folder)], ROOT)
    _install([str(folder / "bin" / "pip"), "install", "--quiet", *packages], ROOT)
    stamp.write_text(" ".join(packages))


def _install(command: list[str], folder: Path) -> None:
    print(f"installing once: {' '.join(command)}", file=sys.stderr)
    try:
        subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=True
        )
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"{command[0]} failed: {_last_line(error.stderr)}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it ended without a word"


# hiredis for everybody, because bullrush has it too.
LAUNCHERS = {
    launcher.name: launcher
    for launcher in (
        _own("bullrush"),
        _own("bullrush_valkey", {"BENCH_LABEL": "bullrush on Valkey"}, server="valkey"),
        _own("bullrush_uvloop", {"BENCH_LABEL": "bullrush on uvloop", "BENCH_LOOP": "uvloop"}),
        _own("floor"),
        _node("bullmq_node"),
        _python("bullmq_pypi", "bullmq>=3", "hiredis>=3.2"),
        _python("celery", "celery[redis]>=5.5", "hiredis>=3.2"),
        _python("rq", "rq>=2.6", "hiredis>=3.2"),
        _python("dramatiq", "dramatiq[redis]>=2", "hiredis>=3.2"),
        _python("huey", "huey>=2.5", "redis>=5", "hiredis>=3.2"),
        _python("arq", "arq>=0.26", "hiredis>=3.2"),
        _python("saq", "saq[redis,hiredis]>=0.24", "typing-extensions", "hiredis>=3.2"),
        _python("streaq", "streaq>=6", "redis>=5", "hiredis>=3.2"),
        # Its worker program runs on uvloop wherever that is installed, as its extra `uv` does.
        _python("taskiq", "taskiq-redis>=1.1", "taskiq[uv]", "hiredis>=3.2", loop="uvloop"),
        _python("docket", "pydocket>=0.15", "hiredis>=3.2"),
    )
}
# One of each kind, for a quick run that is not told whom to run.
QUICK = ("bullrush", "floor", "bullmq_node", "saq", "dramatiq")
