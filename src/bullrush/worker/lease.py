"""The lease keeper: renews beside the loop, so that a handler that blocks it keeps its jobs.

Who renews is a thread of the core that never needs the interpreter's lock (`_core/renewer.pyx`). A thread of
Python brings it sockets, says what became of the lease, and gives back what cannot start. Through TLS, which
takes Python to speak, that thread renews itself.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import NoScriptError, RedisError, ResponseError

from bullrush._core.frames import encode_command
from bullrush._core.renewer import Renewer
from bullrush.connection.wire import open_socket
from bullrush.errors import BullrushError
from bullrush.scripts import load

if TYPE_CHECKING:
    from bullrush._core.exchange import Exchange
    from bullrush._core.job import JobBase
    from bullrush.connection.address import Address
    from bullrush.keys import Keys

logger = logging.getLogger("bullrush")

LOOK = 0.1
# A loop that has not turned for that long is blocked by a handler: what waits for its start is better off
# elsewhere.
BLOCKED = 0.25
PAGE = 200
LONGEST_PAUSE = 1.0


class LeaseKeeper:
    """Two threads with a connection each, the second one made when it is needed.

    An exchange within a quarter of the lease makes its renewal unnecessary.
    """

    def __init__(
        self,
        exchange: Exchange,
        address: Address,
        keys: Keys,
        *,
        codec_name: str,
        hang_limit: float,
        on_lost: Callable[[bytes], None],
        on_difference: Callable[[], None],
    ) -> None:
        self._heartbeat = time.monotonic()
        self._exchange = exchange
        self._address = address
        self._keys = keys
        self._codec_name = codec_name
        self._hang_limit = hang_limit
        self._on_lost = on_lost
        self._on_difference = on_difference
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: Any = None  # redis-py leaves its methods untyped
        self._renewer: Renewer | None = None
        self._number: bytes | None = None  # the one that is registered
        self._renewals = 0
        self._connect_at = 0.0
        self._differences = 0
        self._hung = False

    # On the loop.

    def start(self, on_ready: Callable[[], None]) -> None:
        """Start the threads. `on_ready` is called, in one of them, once it can renew or has failed to."""
        quarter = self._exchange.lease / 4000
        if self._address.transport != "tls":
            self._renewer = Renewer(interval=quarter, reply_limit=quarter, hang_limit=self._hang_limit)
        self._thread = threading.Thread(
            target=self._run, args=(on_ready,), name="bullrush-lease", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end; it is not waited for, since its socket may be stuck."""
        self._stop.set()
        if self._renewer is not None:
            self._renewer.stop()

    def registered(self) -> None:
        """The server knows our number; from now on there is a lease to renew."""
        number = self._exchange.number
        if number != self._number:
            script = load("renew")
            keys = script.names(self._keys)
            if self._renewer is not None:
                # By its text: the thread knows no answer to "I have no such script", and it is sent rarely.
                frame = encode_command("EVAL", script.source, len(keys), *keys, number, self._exchange.lease)
                self._renewer.use(frame, self._exchange.renewed_at)
            self._number = number

    def tick(self, now: float) -> None:
        """The loop turns."""
        self._heartbeat = now
        renewer, number = self._renewer, self._exchange.number
        if renewer is None:
            return
        # The lease may be lost already, and what is told to an older number is told in vain.
        known = self._number == number
        renewer.tick(now, self._exchange.renewed_at if known else 0.0)
        if known:
            self._exchange.renewed(renewer.renewed_at, number)
        self._tell_of_hang(renewer, now)

    def _tell_of_hang(self, renewer: Renewer, now: float) -> None:
        """Once for each: at its beginning, or at its end when the interpreter's lock was kept until then."""
        hung_for = renewer.take_hung()
        if hung_for and not self._hung:
            self._tell_hung(hung_for)
            self._hung = True
        elif now - self._heartbeat <= self._hang_limit:
            self._hung = False

    # In the thread.

    def _run(self, on_ready: Callable[[], None]) -> None:
        if self._renewer is not None:
            self._connect(self._renewer)
        on_ready()
        while not self._stop.wait(LOOK):
            try:
                self._look(time.monotonic())
            except (RedisError, OSError, BullrushError) as error:
                logger.debug("renewing the lease failed, it is tried again: %s", error)
                self._disconnect()
        self._disconnect()

    def _look(self, now: float) -> None:
        renewer, number = self._renewer, self._number
        if renewer is not None and not renewer.attached and now >= self._connect_at:
            self._connect(renewer)
        if number is None or number != self._exchange.number:
            return  # not registered yet
        if renewer is not None:
            self._look_at(renewer, number, now)
        elif now - self._exchange.renewed_at >= self._exchange.lease / 4000 and self._healthy(now):
            self._renew(number, now)
        if now - self._heartbeat > BLOCKED:
            jobs = self._exchange.take_stale()
            if jobs:
                self._give_back(jobs)

    def _connect(self, renewer: Renewer) -> None:
        """Bring the renewer a socket; when that fails, leave the server alone for a while."""
        lease = self._exchange.lease / 1000
        try:
            renewer.attach(open_socket(self._address, lease / 4))
        except (RedisError, OSError, BullrushError) as error:
            logger.debug("no connection to renew the lease, it is tried again: %s", error)
            self._connect_at = time.monotonic() + min(LONGEST_PAUSE, lease / 8)

    def _look_at(self, renewer: Renewer, number: bytes, now: float) -> None:
        """Pass on what the renewer has done, or left undone."""
        if renewer.take_lost():
            self._on_lost(number)
            return
        self._tell_of_hang(renewer, now)
        self._exchange.renewed(renewer.renewed_at, number)
        if renewer.renewals != self._renewals:
            self._renewals = renewer.renewals
            self._compare(number)

    def _give_back(self, jobs: list[JobBase]) -> None:
        """The loop does not turn: give back what was claimed and cannot start, in a session of our own."""
        number = self._exchange.number
        held = (self._keys.held(number.decode()),)
        session = os.urandom(8).hex()
        opening, exchange = load("open"), load("exchange")
        keys = opening.names(self._keys, held)
        self._command(
            "EVAL", opening.source, len(keys), *keys, session, "", 0, "", self._codec_name, "", "", "", "", ""
        )
        keys = exchange.names(self._keys, held)
        for n, start in enumerate(range(0, len(jobs), PAGE), 1):
            page = jobs[start : start + PAGE]
            head = (session, n, number, self._exchange.lease, 0, 0, 0, 0, 0, -1, -1, "", 0, len(page), 0)
            outcomes = [
                part
                for job in page
                for part in ("b", job.id, self._exchange.element_of(job), "1" if job._took_token else "", "")
            ]
            self._command("EVAL", exchange.source, len(keys), *keys, *head, *outcomes)

    def _healthy(self, now: float) -> bool:
        """Past `hang_limit` without a turn of the loop the process is hung, and its jobs go to others."""
        hung = now - self._heartbeat > self._hang_limit
        if hung and not self._hung:
            self._tell_hung(now - self._heartbeat)
        self._hung = hung
        return not hung

    def _tell_hung(self, seconds: float) -> None:
        logger.error(
            "the event loop has not turned for %.1f s (hang_limit): the lease is not renewed, "
            "and its jobs go to other workers",
            seconds,
        )

    def _renew(self, number: bytes, now: float) -> None:
        script, lease = load("renew"), self._exchange.lease
        keys = script.names(self._keys)
        try:
            self._command("EVALSHA", script.sha, len(keys), *keys, number, lease)
        except NoScriptError:
            self._command("EVAL", script.source, len(keys), *keys, number, lease)
        except ResponseError as error:
            if str(error).startswith("LEASE"):
                self._on_lost(number)
            return
        self._exchange.renewed(now, number)
        self._compare(number)

    def _compare(self, number: bytes) -> None:
        """Ask how many ids the server thinks we hold: the backstop for whatever lets the two drift apart."""
        calls, idle = self._exchange.calls, not self._exchange.inflight
        held = self._command("SCARD", self._keys.held(number.decode()))
        if not idle or calls != self._exchange.calls:
            return
        self._differences = self._differences + 1 if held != self._exchange.server_held else 0
        if self._differences >= 2:
            self._differences = 0
            self._on_difference()

    def _command(self, *arguments: bytes | str | int) -> object:
        if self._connection is None:
            address = self._address.resolve()
            self._connection = address.sync_connection(socket_timeout=self._exchange.lease / 4000)
            self._connection.connect()
        self._connection.send_command(*arguments)
        return cast("object", self._connection.read_response())

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
