"""A blocking socket under frames of ours: redis-py connects and logs in, then its socket is taken over."""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Protocol, cast

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from bullrush._core.protocol import make_reader, not_enough
from bullrush.connection.address import CONNECT_TIMEOUT, Address, SyncConnection
from bullrush.connection.features import redis_py_version
from bullrush.errors import NotConfigured

CHUNK = 65536
NOT_ENOUGH = not_enough()


class Receiver(Protocol):
    """Whoever sent a frame and takes the reply to it: a session or a plain command."""

    def receive(self, reply: object, now: float, /) -> object:
        """Take a value or a ReplyError."""
        ...


class Wire:
    """One socket, and in order who expects a reply on it. Used by one thread at a time; any may close it."""

    def __init__(self, plug: socket.socket) -> None:
        self._socket = plug
        self._reader = make_reader()
        self._expected: deque[Receiver] = deque()
        self._out: list[bytes] = []
        self._in_call = False
        self._closed = False
        self.opened_at = self._moved_at = monotonic()

    def expect(self, who: Receiver, frame: bytes, now: float) -> None:
        """Put a frame behind the others; `flush` sends them."""
        if not self._expected:
            self._moved_at = now
        self._expected.append(who)
        self._out.append(frame)

    def flush(self, limit: float) -> None:
        """Send all of it; raises OSError, TimeoutError after `limit` seconds. The wire is of no use then."""
        if self._out:
            frames, self._out = b"".join(self._out), []
            self._socket.settimeout(limit)
            self._calling(lambda: self._socket.sendall(frames))

    def receive(self, limit: float) -> bytes | None:
        """Return what has come; None after `limit` seconds. Raises OSError at the end of the connection."""
        self._socket.settimeout(limit)
        try:
            data = self._calling(lambda: self._socket.recv(CHUNK))
        except TimeoutError:
            return None
        if not data:
            raise ConnectionResetError("the server closed the connection")
        return cast("bytes", data)

    def replies(self, data: bytes, now: float) -> Iterator[tuple[Receiver, object]]:
        """Parse, and give each reply with who expects it. Raises ConnectionError for anything else."""
        self._reader.feed(data)
        self._moved_at = now
        while (reply := self._reader.gets()) is not NOT_ENOUGH:
            if isinstance(reply, hiredis.PushNotification):
                continue
            if not self._expected:
                raise ConnectionError("the server sent a reply that nobody asked for")
            yield self._expected.popleft(), reply

    def overdue(self, now: float, limit: float) -> bool:
        """Say whether a reply is expected and nothing has come for `limit` seconds."""
        return bool(self._expected) and now - self._moved_at > limit

    def _calling(self, call: Callable[[], object]) -> object:
        """A socket closed inside a call would leave its number to another, and the call would go on there."""
        self._in_call = True
        try:
            return call()
        finally:
            self._in_call = False
            if self._closed:
                self._socket.close()

    def close(self) -> None:
        """End the connection; a call that waits on it, in this or another thread, returns."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if not self._in_call:
            self._socket.close()

    def abandon(self) -> None:
        """After a fork: close our descriptor, without a byte or a shutdown, which the parent would feel."""
        with contextlib.suppress(OSError):
            os.close(self._socket.detach())


def open_wire(address: Address, limit: float) -> Wire:
    """Make a wire of a socket of its own; see `open_socket`."""
    return Wire(open_socket(address, limit))


def open_socket(address: Address, limit: float) -> socket.socket:
    """Connect and log in; `limit` (s) bounds every answer that is waited for.

    An embedded server is started first and takes the time it needs. Raises RedisError and whatever
    ``Address.resolve`` raises; nothing stays open then.
    """
    connection = address.resolve().sync_connection(
        socket_timeout=limit, socket_connect_timeout=min(limit, CONNECT_TIMEOUT)
    )
    try:
        _method(connection, "connect")()
        if connection.can_read(0):
            raise RedisConnectionError(f"{address.label} sent more than the replies to the login")
        return _take_socket(connection)
    except RedisConnectionError as error:
        _method(connection, "disconnect")()
        if isinstance(error.__cause__, RedisError):  # on unix sockets redis-py wraps a refused login
            raise error.__cause__ from None
        raise
    except BaseException:
        _method(connection, "disconnect")()
        raise


def _method(connection: SyncConnection, name: str) -> Callable[[], object]:
    """redis-py leaves these without types."""
    return cast("Callable[[], object]", getattr(connection, name))


def _take_socket(connection: SyncConnection) -> socket.socket:
    """It has no public name in redis-py, but the same one in all versions from 5.3.1 to 8.1."""
    plug = getattr(connection, "_sock", None)
    if not isinstance(plug, socket.socket):
        raise NotConfigured(
            f"redis-py {redis_py_version()} keeps its socket where bullrush does not find it; "
            "nothing was sent. Install a supported one: pip install 'redis>=5.3.1,<9'"
        )
    connection._sock = None
    return plug
