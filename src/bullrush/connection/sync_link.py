"""One data connection of a blocking program, for all its threads; it comes back by itself.

There is no thread of its own. Of the threads that wait, one leads: it connects, sends what everybody has to
send, reads, and hands replies over. The others sleep until they are served, or until the leader is and passes
the lead on. So what is added by many threads while a call is under way leaves together.

Nothing is locked, so that a signal handler may call in at any point. Instead
- a session is changed only by calls that are done as a whole (see Waiter);
- a step that concerns a wire tests, with no call in between, that the wire is still the current one: CPython
  switches threads and runs signal handlers after calls, not between a test and the call behind it;
- a turn that was not finished, because a KeyboardInterrupt ended it or a signal handler leads meanwhile,
  costs the wire. The next session learns what became of the calls that were in flight.
"""

from __future__ import annotations

import atexit
import os
import random
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import RLock, get_ident
from time import monotonic, sleep
from typing import TYPE_CHECKING, Protocol

from redis.exceptions import AuthenticationError, RedisError

from bullrush.connection.link import FIRST_PAUSE, LAST_PAUSE, TICK
from bullrush.connection.startup import QUESTION, StartCheck
from bullrush.connection.takeover import HANDSHAKE_TIMEOUT
from bullrush.connection.waiter import Waiter
from bullrush.connection.wire import CHUNK, Wire, open_wire
from bullrush.errors import BullrushError, ConnectionLost, ServerError

if TYPE_CHECKING:
    from bullrush._core.session import Session
    from bullrush.connection.address import Address

STEADY = 1.0  # s; a wire that lived this long is replaced without a pause
GRACE = 2 * TICK  # s; a follower waits on, since the leader knows what became of an overdue request
AT_EXIT = 2.0  # s; for what an interrupted call left behind

# Held while links and ports are made, so that threads that begin together share one.
making = RLock()


class Client(Protocol):
    """The owner of a session on a link."""

    def tick(self, now: float) -> bool:
        """Give up what is overdue; return True when the socket must be closed."""
        ...

    def fail(self, error: BullrushError) -> None:
        """Fail everything that waits: the server does not let us in."""
        ...

    def waiters(self) -> list[Waiter]:
        """Return what is not settled."""
        ...


class Command:
    """A plain command and its reply. It is sent again on a new wire, so it must be one that may run twice."""

    __slots__ = ("frame", "waiter", "wire")

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.waiter = Waiter()
        self.wire: Wire | None = None

    def receive(self, reply: object, _now: float, /) -> None:
        """Take the reply."""
        self.waiter.set_result(reply)


class SyncLink:
    """A connection to one server for all threads of a process."""

    def __init__(
        self, address: Address, *, reply_limit: float = 10.0, check: StartCheck | None = None
    ) -> None:
        self.address = address
        self._check = check
        self._reply_limit = reply_limit
        self._clients: dict[Session, Client] = {}
        self._commands: dict[Command, None] = {}
        self._followers: dict[SimpleQueue[None], Callable[[], object]] = {}
        self._leader: int | None = None
        self._wire: Wire | None = None
        self._unfinished = False
        self._retry_at = self._pause = 0.0
        self._trouble: Exception | None = None
        _links.add(self)

    def attach(self, session: Session, client: Client) -> None:
        """Let a session send and receive here; once more changes nothing."""
        self._clients[session] = client

    def detach(self, session: Session) -> None:
        """Forget a session."""
        self._clients.pop(session, None)

    def call(self, frame: bytes, *, timeout: float | None = None) -> object:
        """Send one command and return its reply; raises ReplyError, or ConnectionLost after `timeout` s.

        It is sent again when the connection is lost, so it must be a command that may run twice.
        """
        return self.call_all([frame], timeout=timeout)[0]

    def call_all(self, frames: list[bytes], *, timeout: float | None = None) -> list[object]:
        """Send commands in one go and return their replies; an error reply is raised after all have come."""
        deadline = monotonic() + (self._reply_limit if timeout is None else timeout)
        commands = [Command(frame) for frame in frames]
        try:
            self._commands.update(dict.fromkeys(commands))
            return [self.wait(command.waiter, deadline) for command in commands]
        finally:
            for command in commands:
                self._commands.pop(command, None)

    def wait(self, waiter: Waiter, deadline: float) -> object:
        """Return what becomes of it; raises ConnectionLost after the deadline (s, monotonic)."""
        self.drive(waiter.done, deadline)
        if not waiter.done():
            waiter.set_exception(
                ConnectionLost(f"no answer from {self.address.label} in time", took_effect=None)
            )
        try:
            return waiter.value()
        except ConnectionLost as error:
            raise error from self._trouble

    def drive(self, done: Callable[[], object], deadline: float) -> None:
        """Lead or follow until `done()` is true or the deadline (s, monotonic) has passed."""
        me = get_ident()
        inside = self._leader == me  # a signal handler, and what it interrupted leads on afterwards
        deadline = max(deadline, monotonic())  # what is asked for too late is looked for as well
        try:
            while not done() and (left := deadline - monotonic()) > -GRACE:
                if not self._lead(me):
                    self._follow(done, left + GRACE)
                elif left > 0:
                    self._turn(done, deadline)
                else:
                    self._look_last()
                    break
        finally:
            if self._leader == me and not inside:
                self._leader = None
            self._pass_on()

    def _lead(self, me: int) -> bool:
        """Take the lead, unless another thread has it."""
        if self._leader is None:
            self._leader = me
        return self._leader == me

    # Following.

    def _follow(self, done: Callable[[], object], left: float) -> None:
        """Sleep until served or made leader, at most `left` s. The leader gives up what is overdue."""
        baton: SimpleQueue[None] = SimpleQueue()
        self._followers[baton] = done
        try:
            if self._leader is not None:
                baton.get(timeout=left)
        except Empty:
            pass
        finally:
            self._followers.pop(baton, None)

    def _pass_on(self) -> None:
        if self._leader is None:
            for baton, done in list(self._followers.items()):
                if not done():
                    baton.put(None)
                    return

    def _wake_served(self) -> None:
        for baton, done in list(self._followers.items()):
            if done() and self._followers.pop(baton, None) is not None:
                baton.put(None)

    # Leading.

    def _turn(self, done: Callable[[], object], deadline: float) -> None:
        if self._unfinished and self._wire is not None:
            self._lose(self._wire)
            self._pause = self._retry_at = 0.0
        wire = self._wire
        if wire is None:
            self._connect(deadline)
            return
        self._unfinished = True
        try:
            self._send(wire, deadline)
            if not done():
                self._receive(wire, deadline)
        except OSError:
            self._lose(wire)
        self._unfinished = False

    def _look_last(self) -> None:
        """Read what has come before anything is given up: an answer in time is one, however late we look.

        A caller may have done something else meanwhile, like making the jobs of the next chunk.
        """
        wire = self._wire
        if wire is not None and not self._unfinished:
            self._unfinished = True
            try:
                self._receive(wire, monotonic())
            except OSError:
                self._lose(wire)
            self._unfinished = False
        self._watch(monotonic())

    def _send(self, wire: Wire, deadline: float) -> None:
        now = monotonic()
        for session in list(self._clients):
            while wire is self._wire and (frame := session.poll(now)) is not None:
                wire.expect(session, frame, now)
        for command in list(self._commands):
            if command.wire is not wire and not command.waiter.done():
                command.wire = wire
                wire.expect(command, command.frame, now)
        wire.flush(max(deadline - now, TICK))

    def _receive(self, wire: Wire, deadline: float) -> None:
        data = wire.receive(self._patience(deadline))
        now = monotonic()
        if data is not None:
            for who, reply in wire.replies(data, now):
                if wire is self._wire:
                    who.receive(reply, now)
        if data is None or len(data) < CHUNK:
            self._watch(now)
        else:
            self._wake_served()
        if any(session.want_reconnect for session in list(self._clients)):
            self._lose(wire)

    def _patience(self, deadline: float) -> float:
        """How long to read: to the next look at deadlines, or to the end of a session's pause."""
        now = monotonic()
        ends = [session.not_before for session in list(self._clients) if session.not_before > now]
        return max(0.001, min(deadline, now + TICK, *ends) - now)

    def _watch(self, now: float) -> None:
        """Give up what is overdue, once everything that has come was handed over, and wake who is served."""
        wire = self._wire
        stuck = [client.tick(now) for client in list(self._clients.values())]
        if wire is not None and (any(stuck) or wire.overdue(now, self._reply_limit)):
            self._lose(wire)
        self._wake_served()

    # The wire.

    def _connect(self, deadline: float) -> None:
        now = monotonic()
        if now < self._retry_at:
            sleep(max(0.0, min(self._retry_at, deadline, now + TICK) - now))
            self._watch(monotonic())
            return
        self._pause = min(LAST_PAUSE, self._pause * 2 or FIRST_PAUSE)
        self._retry_at = now + self._pause * random.uniform(0.5, 1.0)
        try:
            limit = max(0.001, min(deadline - now, HANDSHAKE_TIMEOUT))
            wire = self._admitted(open_wire(self.address, limit), limit)
        except (AuthenticationError, BullrushError) as error:
            self._refuse(error)
        except (RedisError, OSError) as error:
            self._trouble = error
            self._watch(monotonic())
        else:
            self._take(wire)

    def _admitted(self, wire: Wire, limit: float) -> Wire:
        """Let a strict app look at the server before anything is sent."""
        if self._check is not None and self._check.holds_up:
            try:
                self._check.admit_wire(wire, limit)
            except BaseException:
                wire.close()
                raise
        return wire

    def _take(self, wire: Wire) -> None:
        """Go on with this wire, unless a signal handler has got one meanwhile."""
        for session in list(self._clients):
            if self._wire is None:
                session.lost()
        self._trouble = None
        self._unfinished = False
        if self._wire is None:
            self._wire = wire
            if self._check is not None and not self._check.done:
                wire.expect(self._check, QUESTION, monotonic())
        else:
            wire.close()

    def _lose(self, wire: Wire) -> None:
        """Close a wire; what was in flight on it is of unknown fate until the next `open`."""
        if monotonic() - wire.opened_at > STEADY:
            self._pause = self._retry_at = 0.0
        if self._wire is wire:
            self._wire = None
        wire.close()

    def _refuse(self, error: Exception) -> None:
        """The server does not let us in, and trying again would not change that: tell everybody who waits."""
        final = (
            error
            if isinstance(error, BullrushError)
            else ServerError(f"{self.address.label} refused the login: {error}", took_effect=False)
        )
        for client in list(self._clients.values()):
            client.fail(final)
        for command in list(self._commands):
            command.waiter.set_exception(final)
        self._wake_served()

    def close(self) -> None:
        """Close the socket; a later use connects again."""
        wire = self._wire
        if wire is not None:
            self._lose(wire)
        self._pause = self._retry_at = 0.0

    def finish(self, limit: float) -> None:
        """Let what interrupted calls have left behind leave, for at most `limit` seconds; then close."""
        deadline = monotonic() + limit
        for client in list(self._clients.values()):
            for waiter in client.waiters():
                self.drive(waiter.done, deadline)
        self.close()

    def forked(self) -> None:
        """In the child of a fork: socket, other threads and everything in flight belong to the parent."""
        wire, self._wire, self._leader, self._unfinished = self._wire, None, None, False
        if wire is not None:
            wire.abandon()
        self._followers.clear()
        error = ConnectionLost("this process was forked while the call was under way", took_effect=None)
        for session, client in self._clients.items():
            session.forget()
            client.fail(error)
        for command in self._commands:
            command.waiter.set_exception(error)
        self._commands.clear()


_links: weakref.WeakSet[SyncLink] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    making.release()
    for link in list(_links):
        link.forked()


def _at_exit() -> None:
    for link in list(_links):
        link.finish(AT_EXIT)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=making.acquire, after_in_parent=making.release, after_in_child=_after_fork_in_child
    )
atexit.register(_at_exit)
