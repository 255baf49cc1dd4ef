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
from benchmarks.scenarios import Pace

CONTENDERS = Path(__file__).parent / "contenders"
BUILD = ROOT / "build" / "bench"
NODE_DIR = BUILD / "node"
PYPI_DIR = BUILD / "bullmq_pypi"
INSTALL_TIMEOUT_S = 300.0


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
                timeout=30,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise Unavailable(_last_line(error.stderr)) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(str(error)) from error
        about: About = json.loads(done.stdout)
        return about


def _install_node() -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Unavailable("node and npm are not on PATH")
    if (NODE_DIR / "node_modules" / "bullmq").exists():
        return
    NODE_DIR.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).parent / "package.json", NODE_DIR)
    _install([npm, "install", "--no-package-lock", "--no-audit", "--no-fund"], NODE_DIR)


def _install_pypi() -> None:
    # An environment of its own, because it may want another redis-py; hiredis, because bullrush has it too.
    if (PYPI_DIR / "installed").exists():
        return
    _install([sys.executable, "-m", "venv", "--clear", str(PYPI_DIR)], ROOT)
    _install([str(PYPI_DIR / "bin" / "pip"), "install", "--quiet", "bullmq>=3", "hiredis>=3.2"], ROOT)
    (PYPI_DIR / "installed").touch()


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


def _python(module: str, python: str = sys.executable) -> tuple[str, ...]:
    return (python, "-m", f"benchmarks.contenders.{module}")


LAUNCHERS = {
    launcher.name: launcher
    for launcher in (
        Launcher("bullrush", Pace.FAST, _python("bullrush")),
        Launcher("bullrush_uvloop", Pace.FAST, _python("bullrush"), {"BENCH_LOOP": "uvloop"}),
        Launcher("floor", Pace.FAST, _python("floor")),
        Launcher(
            "bullmq_node",
            Pace.MEDIUM,
            ("node", str(CONTENDERS / "bullmq_node.mjs")),
            {"BENCH_NODE_DIR": str(NODE_DIR), "NODE_ENV": "production"},
            _install_node,
        ),
        Launcher(
            "bullmq_pypi",
            Pace.SLOW,
            _python("bullmq_pypi", str(PYPI_DIR / "bin" / "python")),
            prepare=_install_pypi,
        ),
    )
}
