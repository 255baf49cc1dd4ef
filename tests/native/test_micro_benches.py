"""The micro benches still run; what they measure is the matter of make bench-compare."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_every_micro_bench_runs_once() -> None:
    """In a process of its own: the suite's own fixtures look at servers, and these need none."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-disable"]
    done = subprocess.run(
        [*command, "benchmarks/micro"], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
