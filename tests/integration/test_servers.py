"""The servers that tests start: what a restart keeps, what a kill leaves, and that nothing stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.conftest import PrivateServer
from tests.servers import KINDS, Kind, Server
from tests.waiting import wait_until

ORPHAN = """
import os, signal
from tests.servers import Server
server = Server({kind!r})
server.start()
print(server.pid, server.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

pytestmark = pytest.mark.parametrize("kind", KINDS)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def get(server: Server, key: str) -> object:
    with server.client(decode_responses=True) as client:
        return client.get(key)


def test_a_persistent_server_keeps_what_it_acknowledged_when_killed(
    private_server: PrivateServer, kind: Kind
) -> None:
    server = private_server(kind, persistent=True)
    with server.client() as client:
        client.set("key", "value")
    port = server.port
    server.kill()
    assert not server.is_running
    server.start()
    assert server.port == port
    assert get(server, "key") == "value"


def test_any_other_server_restarts_empty(private_server: PrivateServer, kind: Kind) -> None:
    server = private_server(kind)
    with server.client() as client:
        client.set("key", "value")
    server.restart()
    assert get(server, "key") is None


def test_extra_options_hold_over_restarts(private_server: PrivateServer, kind: Kind) -> None:
    server = private_server(kind, extra=("--maxmemory", "64mb"))
    server.restart()
    with server.client() as client:
        assert client.config_get("maxmemory") == {"maxmemory": "67108864"}


def test_it_listens_on_a_unix_socket_too(private_server: PrivateServer, kind: Kind) -> None:
    with redis.Redis.from_url(private_server(kind).unix_url) as client:
        assert client.ping()


def test_a_frozen_server_answers_when_it_thaws(private_server: PrivateServer, kind: Kind) -> None:
    server = private_server(kind)
    with server.client(timeout=0.1) as client, server.frozen(), pytest.raises(redis.TimeoutError):
        client.ping()
    assert get(server, "key") is None


def test_wrong_options_are_reported_in_its_own_words(private_server: PrivateServer, kind: Kind) -> None:
    with pytest.raises(RuntimeError, match="no-such-option"):
        private_server(kind, extra=("--no-such-option", "1"))


def test_a_killed_test_run_leaves_no_server(kind: Kind, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", ORPHAN.format(kind=kind)], stdout=subprocess.PIPE, text=True, check=False
    )
    pid, folder = run.stdout.split()
    wait_until(lambda: not is_alive(int(pid)))
    wait_until(lambda: not Path(folder).exists())
