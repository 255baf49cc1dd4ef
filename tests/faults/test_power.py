"""A power cut takes what was not synced, and leaves what was."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from bullrush.operations.waitaof import WaitAof
from tests.conftest import PrivateServer
from tests.faults.shims import ShimMissing
from tests.faults.shims.power import Power
from tests.servers import KINDS, Kind, Server
from tests.waiting import wait_until

KEYS = 50


@pytest.fixture
def power(tmp_path: Path) -> Power:
    try:
        return Power(tmp_path)
    except ShimMissing as missing:
        pytest.skip(str(missing))


def keep(policy: str) -> tuple[str, ...]:
    return ("--appendonly", "yes", "--appendfsync", policy)


def write(server: Server, name: str) -> None:
    with server.client() as client:
        for number in range(KEYS):
            client.set(f"{name}{number}", "x" * 100)


def size(server: Server) -> int:
    with server.client() as client:
        return client.dbsize()


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_synced_is_left_and_what_was_not_is_gone(
    private_server: PrivateServer, power: Power, kind: Kind
) -> None:
    server = private_server(kind, extra=keep("no"), environment=power.environment)
    write(server, "a")
    server.kill()
    server.start()
    assert size(server) == KEYS, "a kill alone loses nothing"
    assert power.cut(server).bytes > 0
    server.start()
    assert size(server) == 0
    with server.client() as client:
        client.config_set("appendfsync", "always")
    write(server, "b")
    assert power.cut(server).bytes == 0
    server.start()
    assert size(server) == KEYS


@pytest.mark.parametrize("kind", KINDS)
def test_a_rewrite_of_the_file_between_cuts(private_server: PrivateServer, power: Power, kind: Kind) -> None:
    """The file in several parts, with a manifest that names them: each cut leaves something that loads."""
    chance = random.Random(1)
    server = private_server(kind, extra=keep("always"), environment=power.environment)
    for number in range(3):
        write(server, f"{number} ")
        with server.client() as client:
            client.bgrewriteaof()
            if number == 1:
                wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        power.cut(server, chance)
        server.start()
        assert size(server) == KEYS * (number + 1)


@pytest.mark.parametrize("policy", ["always", "everysec"])
def test_waitaof_is_honest_or_found_out_by_its_haste(
    private_server: PrivateServer, power: Power, policy: str
) -> None:
    """Some servers answer WAITAOF before they have synced: then two answers come faster than a sync a second can."""
    server = private_server("valkey", extra=keep(policy), environment=power.environment)
    seconds: list[float] = []
    with server.client() as client:
        for key in ("first", "second"):
            began = time.perf_counter()
            client.set(key, "x" * 100)
            assert client.execute_command("WAITAOF", 1, 0, 5000) == [1, 0]  # type: ignore[no-untyped-call]
            seconds.append(time.perf_counter() - began)
    power.cut(server)
    server.start()
    is_found_out = policy == "everysec" and WaitAof(True, (1, 1), tuple(seconds)).premature
    assert size(server) == 2 or is_found_out
