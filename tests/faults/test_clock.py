"""The clock of a running program moves as the test says, and nobody else's does."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import PrivateServer
from tests.faults.shims import ShimMissing
from tests.faults.shims.clock import Clock
from tests.servers import KINDS, Kind, Server
from tests.waiting import wait_until

HOUR = 3600
SLACK = 20  # s, for a machine that does something else as well
PRINTS = "import time; a = time.time(); b = time.monotonic(); print(int(a), int(b))"


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    try:
        return Clock(tmp_path)
    except ShimMissing as missing:
        pytest.skip(str(missing))


def ahead(server: Server) -> float:
    """How many seconds the server's clock is ahead of ours."""
    with server.client() as client:
        seconds, _ = client.time()
    return float(seconds) - time.time()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("jump", [HOUR, -24 * HOUR])
def test_the_clock_of_a_running_server_jumps(
    private_server: PrivateServer, clock: Clock, kind: Kind, jump: float
) -> None:
    server = private_server(kind, environment=clock.environment)
    for offset in (0, jump, 0):
        clock.set(offset)
        assert clock.offset == offset
        wait_until(lambda: abs(ahead(server) - clock.offset) < SLACK, what=f"an offset of {offset}")


def test_a_key_expires_by_the_moved_clock(private_server: PrivateServer, clock: Clock) -> None:
    server = private_server("redis", environment=clock.environment)
    with server.client() as client:
        client.set("key", "value", ex=HOUR)
        clock.jump(HOUR + SLACK)
        wait_until(lambda: client.get("key") is None, what="the key to expire")


def test_a_python_program_reads_the_moved_clock_and_the_old_monotonic_one(clock: Clock) -> None:
    clock.jump(-HOUR)
    ran = subprocess.run(
        [sys.executable, "-c", PRINTS], env=clock.environment, capture_output=True, check=True, timeout=30
    )
    wall, monotonic = map(int, ran.stdout.split())
    assert abs(wall - time.time() + HOUR) < SLACK
    assert abs(monotonic - time.monotonic()) < SLACK
