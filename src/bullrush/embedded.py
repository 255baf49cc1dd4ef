"""The server behind ``embedded://[PATH]``: one per directory, shared by all processes that use it.

Without PATH the directory is ``$XDG_STATE_HOME/bullrush``, or ``~/.local/state/bullrush``. It has to be on
a local file system, belong to the user and be closed to everybody else (mode 0700). It holds:

    appendonlydir/  the data, synced once a second and when the server ends
    server.log      what the server prints; emptied at a start once it is above 1 MiB
    lock            held while a process starts or joins the server
    users           a FIFO: whoever has it open for writing uses the server
    s               the socket; of a directory too long for one it is /tmp/bullrush-UID/HASH.s

The server starts with its first user and ends with its last one, however that one ends, and keeps
everything that was written. Ctrl-C in a terminal does not reach it.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from bullrush.errors import ConnectionLost, InvalidOption, NotConfigured
from bullrush.launcher import Launcher, ask, close_all_private, close_private

LONGEST_SOCKET_PATH = 100  # bytes; macOS allows 103, Linux 107
SHORT_DIRECTORY = f"/tmp/bullrush-{os.geteuid()}"  # TMPDIR may differ between processes that have to agree


class EmbeddedServer:
    """A hold on the server of one directory, made by ``start``; one object a directory and process.

    ``socket_path`` and ``url`` stay the same when the server is restarted. As a context manager it gives
    back one hold at the end.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket_path = str(_socket_path(directory))
        self.holds = 0
        self.is_kept = False
        self._joining = threading.Lock()
        self._fifo: int | None = None

    @property
    def url(self) -> str:
        """What other clients connect to: ``unix://`` and the path of the socket."""
        return f"unix://{self.socket_path}"

    def release(self) -> None:
        """Give back what one ``start`` took; the last one lets the server go. One too many does nothing."""
        with _registry_lock:
            if self.holds == 0:
                return
            self.holds -= 1
            if self.holds:
                return
            _registry.pop(self.directory, None)
        with self._joining:
            self._leave()

    def ensure(self, timeout: float) -> None:
        """Join the server or start it, unless this process has joined it and it answers."""
        with self._joining:
            if self._is_joined():
                return
            socket_path = Path(self.socket_path)
            if socket_path.parent != self.directory:
                _make_room_for(socket_path)
            joined = Launcher(self.directory, socket_path, time.monotonic() + timeout).join_or_start()
            self._leave()
            self._fifo = joined

    def forget(self) -> None:
        """Let go in a forked child, which is no user until it starts the server itself."""
        self.holds = 0
        self.is_kept = False
        self._joining = threading.Lock()
        self._fifo = None

    def _is_joined(self) -> bool:
        if self._fifo is None:
            return False
        try:
            current = (self.directory / "users").stat()
        except FileNotFoundError:
            return False
        same = os.path.samestat(os.fstat(self._fifo), current)
        return same and ask(Path(self.socket_path), b"PING") == b"+PONG"

    def _leave(self) -> None:
        if self._fifo is not None:
            close_private(self._fifo)
            self._fifo = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


_registry_lock = threading.Lock()
_registry: dict[Path, EmbeddedServer] = {}


def start(path: str | None = None, *, timeout: float = 120.0) -> EmbeddedServer:
    """Start the server of a directory, or join the one that runs, and wait until it answers.

    Blocks; from a coroutine call it by ``asyncio.to_thread``. Each call is one hold, given back by
    ``release()`` or at the end of the process. ``timeout`` (s) bounds the wait; a server with much data
    needs a while to load it. Raises InvalidOption for a directory that is not private, NotConfigured
    where there is no server to run, ConnectionLost, with the end of its log, when it does not answer.
    """
    directory = _private_directory(Path(path) if path else default_directory())
    with _registry_lock:
        server = _registry.setdefault(directory, EmbeddedServer(directory))
        server.holds += 1
    try:
        server.ensure(timeout)
    except OSError as error:
        server.release()
        raise ConnectionLost(
            f"the embedded server in {directory} could not be started: {error}; nothing was sent",
            took_effect=False,
        ) from error
    except BaseException:
        server.release()
        raise
    return server


def keep(path: str | None = None) -> EmbeddedServer:
    """Start or join the server and hold it until the process ends; further calls check that it answers.

    What connections call: a server that died is started again by the next one that connects. Raises as
    ``start`` does.
    """
    server = start(path)
    with _registry_lock:
        if server.is_kept:
            server.holds -= 1
        server.is_kept = True
    return server


def default_directory() -> Path:
    """The directory of ``embedded://``: below ``$XDG_STATE_HOME``, else below ``~/.local/state``."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if Path(state).is_absolute():
        return Path(state, "bullrush")
    try:
        return Path.home() / ".local/state/bullrush"
    except RuntimeError:
        raise NotConfigured(
            "embedded:// needs a home directory and this user has none; name a directory: embedded:///PATH"
        ) from None


def _private_directory(path: Path) -> Path:
    """Make the directory if there is none; refuse one that others own or can enter."""
    try:
        directory = path.expanduser().resolve()
        directory.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        found = directory.stat()
    except (OSError, RuntimeError) as error:
        raise InvalidOption(f"embedded://{path} cannot be made: {error}; nothing was started") from error
    if not directory.is_dir():
        raise InvalidOption(f"embedded://{path} is no directory; nothing was started")
    _check_private(directory, found)
    return directory


def _make_room_for(socket_path: Path) -> None:
    """/tmp is open to all: what is there under our name must be a directory of ours, not a link to one."""
    with suppress(FileExistsError):
        socket_path.parent.mkdir(mode=0o700)
    _check_private(socket_path.parent, socket_path.parent.lstat())


def _check_private(directory: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise InvalidOption(
            f"{directory} belongs to user id {found.st_uid}, not to {os.geteuid()} who runs this; "
            "nothing was started. Name a directory of your own: embedded:///PATH"
        )
    if found.st_mode & 0o077:
        raise InvalidOption(
            f"{directory} has mode {found.st_mode & 0o777:04o}, so that others can reach the jobs in it; "
            f"nothing was started. Run: chmod 700 {directory}"
        )


def _socket_path(directory: Path) -> Path:
    """Where the socket of a directory is, for every process the same."""
    path = directory / "s"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:32]
    return Path(SHORT_DIRECTORY, f"{name}.s")


def _forget_all() -> None:
    global _registry_lock
    _registry_lock = threading.Lock()
    for server in _registry.values():
        server.forget()
    _registry.clear()
    close_all_private()


os.register_at_fork(after_in_child=_forget_all)
