"""One data connection of an asyncio program, shared by sessions and plain commands. It comes back by itself.

The sessions decide what is sent (see ``_core/session.pyx``); a link only connects, watches deadlines and says
when the socket is gone. It connects at the first use, and again while anybody waits for something.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from redis.exceptions import AuthenticationError, RedisError

from bullrush._core.protocol import DataProtocol
from bullrush._core.session import ReplyError, Session
from bullrush.connection.takeover import connect
from bullrush.errors import BullrushError, ConnectionLost, ServerError

if TYPE_CHECKING:
    from bullrush.connection.address import Address, AsyncConnection
    from bullrush.connection.startup import StartCheck

TICK = 0.1
FIRST_PAUSE = 0.02
# Below half of the shortest lease, so that whoever returns first after a restart does not reap the others.
LAST_PAUSE = 0.5


class Watched(Protocol):
    """Something with deadlines of its own, looked at ten times a second while it is busy."""

    def tick(self, now: float) -> bool:
        """Give up what is overdue; return True when the socket must be closed."""
        ...

    @property
    def busy(self) -> bool:
        """Say whether anybody waits."""
        ...


class Link:
    """A connection to one server for one event loop at a time."""

    def __init__(
        self,
        address: Address,
        *,
        reply_limit: float = 10.0,
        on_error: Callable[[Exception], None] | None = None,
        check: StartCheck | None = None,
    ) -> None:
        self.address = address
        self.protocol: DataProtocol | None = None
        self.on_error = on_error
        self._check = check
        self.on_up: Callable[[DataProtocol], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self._reply_limit = reply_limit
        self._sessions: dict[Session, Watched | None] = {}
        self._connection: AsyncConnection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._up: asyncio.Event | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiters = 0
        self._closed = False
        self._refused: BullrushError | None = None
        _links.add(self)

    # Sessions.

    def attach(self, session: Session, watched: Watched | None = None) -> None:
        """Let a session send and receive here; `watched` is asked about its deadlines."""
        self._sessions[session] = watched

    def detach(self, session: Session) -> None:
        """Forget a session; its replies that are still to come are dropped with the socket."""
        self._sessions.pop(session, None)

    def pump(self, session: Session) -> None:
        """Send what the session has to send; connects first where needed."""
        if self._loop is not asyncio.get_running_loop():
            self._move_to_running_loop()
        if self.protocol is not None:
            self.protocol.pump(session)
        else:
            self._ensure_connecting()
        if self._timer is None:
            self._arm()

    def ready_on(self, loop: asyncio.AbstractEventLoop) -> DataProtocol | None:
        """Return the protocol to pump if it is up on this loop and watched; None: use `pump`."""
        return self.protocol if self._loop is loop and self._timer is not None else None

    # Plain commands.

    async def call(self, frame: bytes, *, timeout: float | None = None, again: bool = False) -> object:
        """Send one command and return its reply.

        `again` sends it on the next connection when this one is lost: for what changes nothing, or the same
        thing however often it runs. Raises ReplyError for an error reply, ConnectionLost after `timeout`
        seconds.
        """
        limit = self._reply_limit if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                while True:
                    protocol = await self._connected()
                    try:
                        return await protocol.send(frame)
                    except ConnectionLost:
                        if not again:
                            raise
        except TimeoutError:
            raise ConnectionLost(
                f"no answer from {self.address.label} within {limit:g} s", took_effect=None
            ) from None

    async def call_all(self, frames: list[bytes], *, again: bool = False) -> list[object]:
        """Send commands in one go and return their replies in order; `again` as in `call`.

        An error reply is raised after all have come.
        """
        try:
            async with asyncio.timeout(self._reply_limit):
                while True:
                    protocol = await self._connected()
                    try:
                        return await asyncio.gather(*[protocol.send(frame) for frame in frames])
                    except ConnectionLost:
                        if not again:
                            raise
        except TimeoutError:
            raise ConnectionLost(
                f"no answer from {self.address.label} within {self._reply_limit:g} s", took_effect=None
            ) from None

    async def _connected(self) -> DataProtocol:
        self._waiters += 1
        try:
            while True:
                if self._loop is not asyncio.get_running_loop():
                    self._move_to_running_loop()
                if self.protocol is not None:
                    return self.protocol
                self._ensure_connecting()
                assert self._up is not None
                await self._up.wait()
                if self._refused is not None:
                    raise self._refused
                if self._closed:
                    raise ConnectionLost("the connection is closed: nothing was sent", took_effect=False)
        finally:
            self._waiters -= 1

    # Connecting.

    def _move_to_running_loop(self) -> None:
        """The loop before is gone or another one runs; its socket is of no use here."""
        if self._loop is not None:
            self._drop_socket()
        self._loop = asyncio.get_running_loop()
        self._up = asyncio.Event()
        self._closed = False

    def _drop_socket(self) -> None:
        """Close the descriptor without the loop it belonged to, and without a byte on the wire."""
        protocol, self.protocol = self.protocol, None
        connection, self._connection = self._connection, None
        self._connecting = self._timer = None
        if protocol is not None:
            with contextlib.suppress(OSError, ValueError):
                _let_go(protocol.transport, self._loop)
        # Closed here, so neither of them has anything to warn of when it is collected.
        if connection is not None:
            connection._writer = connection._reader = None
        for session in self._sessions:
            session.lost()

    def _ensure_connecting(self) -> None:
        if self._connecting is None or self._connecting.done():
            assert self._loop is not None
            self._refused = None
            self._connecting = self._loop.create_task(
                self._connect(), name=f"bullrush connects to {self.address.label}"
            )

    async def _connect(self) -> None:
        pause = FIRST_PAUSE
        while not self._closed and self.protocol is None:
            try:
                self._connection, _, protocol = await connect(self.address, self._make_protocol)
                await self._admit(protocol)
            except (RedisError, OSError, TimeoutError, BullrushError) as error:
                if isinstance(error, AuthenticationError | BullrushError):
                    self._fail(error)
                    return
                self._report(error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(LAST_PAUSE, pause * 2)
                continue
            self._came_up(protocol)

    async def _admit(self, protocol: DataProtocol) -> None:
        """Let a strict app look at the server before anything is sent."""
        if self._check is None or not self._check.holds_up:
            return
        try:
            await self._check.admit(protocol, self._reply_limit)
        except BaseException:
            protocol.abort()
            raise

    def _came_up(self, protocol: DataProtocol) -> None:
        assert self._up is not None
        if protocol.lost is not None:
            return
        self.protocol = protocol
        self._up.set()
        if self.on_up is not None:
            self.on_up(protocol)
        for session in list(self._sessions):
            protocol.pump(session)
        if self._check is not None:
            self._check.ask(protocol)
        if self._timer is None:
            self._arm()

    def _fail(self, error: Exception) -> None:
        """The server does not let us in, and trying again would not change that: tell everybody who waits."""
        final = (
            error
            if isinstance(error, BullrushError)
            else ServerError(f"{self.address.label} refused the login: {error}", took_effect=False)
        )
        for session in list(self._sessions):
            failing = getattr(session, "fail_all", None)
            if failing is not None:
                failing(final)
        if self._up is not None and self._waiters:
            self._refused = final
            self._up.set()
            self._up = asyncio.Event()
        self._report(final)

    def _report(self, error: Exception) -> None:
        if self.on_error is not None:
            self.on_error(error)

    def _make_protocol(self, loop: asyncio.AbstractEventLoop, old: asyncio.BaseProtocol) -> DataProtocol:
        return DataProtocol(loop, old, self._lost)

    def _lost(self, _error: Exception | None) -> None:
        # One that was refused has told so to everybody who waits; connecting anew would hide that from them.
        was_up = self.protocol is not None
        if self._up is not None and not self._closed:
            self._up.clear()
        self.protocol = None
        connection, self._connection = self._connection, None
        # Its transport is gone; without this it warns when it is collected.
        getattr(connection, "_close", _nothing)()
        for session in list(self._sessions):
            session.lost()
        if self.on_lost is not None:
            self.on_lost()
        if (
            was_up
            and not self._closed
            and (self._waiters or any(w is None or w.busy for w in self._sessions.values()))
        ):
            self._ensure_connecting()

    # Deadlines.

    def _arm(self) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._closed or self._loop is None:
            return
        now = self._loop.time()
        stuck = self.protocol is not None and self.protocol.overdue(now, self._reply_limit)
        busy = self._waiters > 0
        for session, watched in list(self._sessions.items()):
            if watched is not None:
                stuck |= watched.tick(now)
                busy |= watched.busy
            if self.protocol is not None:
                self.protocol.pump(session)
        if stuck and self.protocol is not None:
            self.protocol.abort()
        if busy and self.protocol is None:
            self._ensure_connecting()
        if busy or any(watched is None for watched in self._sessions.values()):
            self._arm()

    async def close(self) -> None:
        """Close the socket; a later use would connect again."""
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            self._move_to_running_loop()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connecting, self._connecting = self._connecting, None
        connection, self._connection = self._connection, None
        protocol, self.protocol = self.protocol, None
        self._loop = None
        if self._up is not None:
            self._up.set()
        if protocol is not None:
            protocol.abort()
        # Nothing below is needed for it to be closed, so that a close may be cancelled.
        try:
            if connecting is not None:
                connecting.cancel()
                await asyncio.gather(connecting, return_exceptions=True)
            if connection is not None:
                await connection.disconnect(nowait=True)
        finally:
            if connection is not None:  # so that it has nothing to warn of when it is collected
                connection._writer = connection._reader = None

    def forked(self) -> None:
        """In the child of a fork: the socket and everything in flight belong to the parent."""
        self._drop_socket()
        self._loop = None
        self._waiters = 0
        for session in self._sessions:
            failing = getattr(session, "fail_all", None)
            session.forget()
            if failing is not None:
                failing(
                    ConnectionLost("this process was forked while the call was under way", took_effect=None)
                )


def _nothing() -> None:
    """Stand in for a method that is missing."""


def _let_go(transport: asyncio.BaseTransport, loop: asyncio.AbstractEventLoop | None) -> None:
    """Close the socket of a transport whose loop is closed, or that belongs to the parent of this process."""
    plain = getattr(transport, "_sock", None)
    if loop is not None and loop.is_closed() and isinstance(plain, socket.socket):
        transport._sock, transport._closing = None, True  # type: ignore[attr-defined]
        os.close(plain.detach())
    else:
        _replace_by_nothing(transport.get_extra_info("socket").fileno())


def _replace_by_nothing(descriptor: int) -> None:
    """Close a socket whose transport still believes in the number.

    A plain close would let it hit another file later.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


_links: weakref.WeakSet[Link] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for link in list(_links):
        link.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

__all__ = ["Link", "ReplyError", "Watched"]
