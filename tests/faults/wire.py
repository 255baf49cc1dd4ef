"""What random schedules stand on: a blocking connection to a real server, and a future without a loop."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import hiredis

from bullrush._core.frames import encode_command
from bullrush._core.session import ReplyError
from tests.servers import Kind, Server

Argument: TypeAlias = "bytes | str | int"
NOT_ENOUGH = object()


class Waiter:
    """A future without a loop, which fails the schedule if it is resolved twice."""

    __slots__ = ("cancelled", "error", "resolved", "result")

    def __init__(self) -> None:
        self.cancelled = self.resolved = False
        self.result: object = None
        self.error: BaseException | None = None

    def done(self) -> bool:
        return self.resolved or self.cancelled

    def set_result(self, result: object) -> None:
        assert not self.done(), "a waiter was resolved twice"
        self.resolved, self.result = True, result

    def set_exception(self, error: BaseException) -> None:
        assert not self.done(), "a waiter was resolved twice"
        self.resolved, self.error = True, error


class Wire:
    """A blocking connection to the real server."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(path)
        self._reader = hiredis.Reader(replyError=ReplyError, notEnoughData=NOT_ENOUGH)

    def close(self) -> None:
        self._socket.close()

    def execute(self, frame: bytes) -> object:
        """Let the server run one packed command; an error reply is returned."""
        self._socket.sendall(frame)
        return self._reply()

    def _reply(self) -> object:
        while (reply := self._reader.gets()) is NOT_ENOUGH:
            data = self._socket.recv(1 << 17)
            assert data, "the server closed the connection of the test"
            self._reader.feed(data)
        return reply

    def command(self, *arguments: Argument) -> object:
        """Run one command of the test itself; an error reply is raised."""
        return self.commands(arguments)[0]

    def commands(self, *commands: Sequence[Argument]) -> list[object]:
        """Run commands of the test in one go."""
        self._socket.sendall(b"".join(encode_command(*command) for command in commands))
        replies = [self._reply() for _ in commands]
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise reply
        return replies


@contextlib.contextmanager
def wired(kind: Kind = "redis") -> Iterator[Wire]:
    """A server of a test's own, whose memory may be filled and whose scripts may be flushed."""
    server = Server(kind)
    try:
        server.start()
        wire = Wire(str(server.folder / "socket"))
        yield wire
        wire.close()
    finally:
        server.discard()
