"""What producers and workers say of each job, written down by a process that outlives them all.

    with Recorder(tmp_path) as recorder:
        notes = Notes(recorder.address)  # in whatever process
        notes.tried(key)                 # before the add
        notes.acknowledged(key, job.id)  # after it
        notes.started(key, job.id, 1)    # before anything else in the handler
        notes.done(key, job.id, 1)       # its last word
    verdict = check(recorder.read())     # tests/faults/checker.py

A note that was sent survives the end of its sender, since it lies in the kernel or in the recorder by then. Notes of
one process stay in order; between processes their times tell. As a program, `python -m tests.faults.recorder ADDRESS
FILE`, it is the recorder, which ends when its standard input does.
"""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from tests.waiting import wait_until

CHUNK = 1 << 18


class Note(NamedTuple):
    """One line: what happened when, said by which process, about which job."""

    kind: str
    at: float  # s, of the monotonic clock that all processes of a machine share
    pid: int
    key: int = -1  # what the test calls the job; of tried and acknowledged ranges the first one
    id: str = ""  # what the queue calls it; of ranges the number of keys
    attempt: int = 0


class Notes:
    """One process's line to the recorder. Not to be used by a child after a fork: it makes its own."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(address)
        self._pid = os.getpid()

    def tried(self, key: int) -> None:
        """An add of this job is about to be called."""
        self.say("tried", key, "1")

    def acknowledged(self, key: int, id: str) -> None:
        """The add has returned."""
        self.say("acknowledged", key, id)

    def tried_range(self, first: int, count: int) -> None:
        """An add of these jobs in one go is about to be called."""
        self.say("tried", first, str(count))

    def acknowledged_range(self, first: int, count: int) -> None:
        """It has returned."""
        self.say("all acknowledged", first, str(count))

    def started(self, key: int, id: str, attempt: int) -> None:
        """A handler was called."""
        self.say("started", key, id, attempt)

    def done(self, key: int, id: str, attempt: int) -> None:
        """A handler is about to return."""
        self.say("done", key, id, attempt)

    def disturbed(self, pid: int, how: str) -> None:
        """A process was killed, frozen or cut off, or has lost its lease: it explains repeats of what it had begun."""
        self.say("disturbed", pid, how)

    def error(self, error: BaseException) -> None:
        """A user was shown this one."""
        self.say("error", -1, f"{type(error).__name__}: {error}"[:300])

    def say(self, kind: str, key: int = -1, id: str = "", attempt: int = 0) -> None:
        """Send a line; returns when the kernel has it."""
        text = " ".join(id.split("\t")).replace("\n", " ")
        line = f"{kind}\t{time.monotonic():.6f}\t{self._pid}\t{key}\t{text}\t{attempt}\n"
        self._socket.sendall(line.encode())

    def close(self) -> None:
        """Close the line; what was said stays said."""
        self._socket.close()


class Recorder:
    """The process and its file. The file can be read while it grows; at the end of the block it is whole."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notes.socket")
        self.path = folder / "notes"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.faults.recorder", self.address, str(self.path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        wait_until(self.path.exists, 20, what="the recorder to listen")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.communicate(timeout=60)
        if kind is None and self._process.returncode:
            raise RuntimeError(f"the recorder ended with {self._process.returncode}")

    def read(self) -> Iterator[Note]:
        """What was noted, as it came in: so far, in whole lines; all of it behind the block."""
        with self.path.open(encoding="utf-8") as file:
            yield from map(parse, file)

    def follow(self) -> Follower:
        """Read on from here while others write."""
        return Follower(self.path)


class Follower:
    """A reader of a growing file: each `new` has what came in since the last one, in whole lines."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("rb")
        self._file.seek(0, os.SEEK_END)
        self._rest = b""

    def new(self) -> list[Note]:
        """What was written since."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [parse(line.decode()) for line in lines]

    def close(self) -> None:
        self._file.close()


def parse(line: str) -> Note:
    """Read one line."""
    kind, at, pid, key, id, attempt = line.rstrip("\n").split("\t")
    return Note(kind, float(at), int(pid), int(key), id, int(attempt))


def record(address: str, path: str) -> None:
    """Write down whatever comes over any connection, whole lines only, until standard input ends."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(512)
    listener.setblocking(False)
    rests: dict[socket.socket, bytes] = {}
    with selectors.DefaultSelector() as selector, Path(path).open("ab", buffering=0) as file:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        ending = False
        while True:
            ready = [key.fileobj for key, _ in selector.select(0 if ending else None)]
            if ending and set(ready) <= {sys.stdin}:
                return
            ending |= sys.stdin in ready
            for source in ready:
                if source is listener:
                    _accept(listener, selector, rests)
                elif isinstance(source, socket.socket):
                    _take(source, selector, rests, file)


def _accept(
    listener: socket.socket, selector: selectors.BaseSelector, rests: dict[socket.socket, bytes]
) -> None:
    connection, _ = listener.accept()
    connection.setblocking(False)
    rests[connection] = b""
    selector.register(connection, selectors.EVENT_READ)


def _take(
    connection: socket.socket,
    selector: selectors.BaseSelector,
    rests: dict[socket.socket, bytes],
    file: IO[bytes],
) -> None:
    try:
        data = connection.recv(CHUNK)
    except ConnectionResetError:
        data = b""
    if not data:
        selector.unregister(connection)
        connection.close()
        del rests[connection]
        return
    whole, newline, rests[connection] = (rests[connection] + data).rpartition(b"\n")
    file.write(whole + newline)


if __name__ == "__main__":
    record(*sys.argv[1:])
