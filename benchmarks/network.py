"""A network between contender and server: a relay that keeps every byte back for a fixed time."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.machine import ROOT, Cores
from benchmarks.server import free_port

SOURCE = Path(__file__).parent / "delay.c"
PROGRAM = ROOT / "build" / "bench" / "delay"


def build() -> None:
    """Compile the relay, once. Raises RuntimeError without a C compiler."""
    if PROGRAM.exists() and PROGRAM.stat().st_mtime > SOURCE.stat().st_mtime:
        return
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("a C compiler (cc) is needed for the scenarios with a network in between")
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([compiler, "-O2", "-o", str(PROGRAM), str(SOURCE)], check=True, timeout=60)


@contextmanager
def between(port: int, each_way_us: int, cores: Cores | None) -> Iterator[int]:
    """Give the port of a relay to this server. It runs on the contender's core, as a network card's driver does."""
    build()
    own = free_port()
    command = [str(PROGRAM), str(own), str(port), str(each_way_us)]
    process = subprocess.Popen(
        cores.on_server_core(command) if cores else command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("the relay did not start")
        yield own
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=10)
