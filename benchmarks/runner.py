"""Runs one measurement: a fresh server, a fresh process, one JSON line."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks import network, server
from benchmarks.disturbance import Watch
from benchmarks.harness.case import Result
from benchmarks.launchers import Launcher
from benchmarks.machine import ROOT, Cores
from benchmarks.scenarios import Variant

RUN_TIMEOUT_S = 240.0


class RunFailed(Exception):
    """A contender did not deliver; the text says why."""


@dataclass(frozen=True, slots=True)
class Run:
    """A contender's answer, and which share of the machine was used by others meanwhile."""

    result: Result
    others: float


@dataclass(frozen=True, slots=True)
class Lab:
    """Where measurements are made. `binaries` are the servers that are here, by kind."""

    binaries: dict[str, str]
    cores: Cores
    quick: bool

    def measure(self, variant: Variant, launcher: Launcher) -> Run:
        """Run one contender through one case. Raises `RunFailed`."""
        scenario, watch = variant.scenario, Watch()
        pinned = self.cores if scenario.pinned else None
        with ExitStack() as stack:
            port = stack.enter_context(server.running(self.binaries[launcher.server], pinned))
            if scenario.far:
                port = stack.enter_context(network.between(port, scenario.far, pinned))
            order = variant.order(launcher.name, launcher.pace, quick=self.quick)
            command = [*launcher.command, json.dumps({**order, "port": port})]
            result = _answer(pinned.on_client_core(command) if pinned else command, launcher)
        return Run(result, watch.others())


def _answer(command: list[str], launcher: Launcher) -> Result:
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=launcher.environ(),
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=True,
        )
        result: Result = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        raise RunFailed(_last_line(error.stderr) or f"exit code {error.returncode}") from error
    except subprocess.TimeoutExpired as error:
        raise RunFailed(f"not done after {RUN_TIMEOUT_S:g} s") from error
    except (IndexError, ValueError) as error:
        raise RunFailed(f"no JSON line in its output: {done.stdout[-200:]!r}") from error
    return result


def _last_line(text: str) -> str:
    # Node ends its report with a blank line and its own version; the error is the line that names itself.
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line or "Exception" in line]
    return (named or lines or [""])[-1]
