"""Running an example as a user does, and looking at what it left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import redis

ROOT = Path(__file__).parents[2]


def run_example(name: str, url: str, folder: Path) -> tuple[int, str]:
    """Run `python -m examples.NAME` on a server; returns the exit code and what was printed."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{name}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(folder), "BULLRUSH_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def job_keys(client: redis.Redis) -> list[bytes]:
    """All keys but those that opening a queue makes: closing it after `obliterate` opens it once more."""
    return [key for key in client.scan_iter() if not key.endswith((b":meta", b":ids", b":sessions"))]
