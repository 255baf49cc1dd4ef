"""The lease keeper: renews from a thread, so that a handler that blocks the loop keeps its jobs."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import NoScriptError, RedisError, ResponseError

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


class LeaseKeeper:
    """A thread with a connection of its own.

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
        on_lost: Callable[[], None],
        on_difference: Callable[[], None],
    ) -> None:
        self.heartbeat = time.monotonic()
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
        self._differences = 0
        self._hung = False

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="bullrush-lease", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end; it is not waited for, since its socket may be stuck."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(LOOK):
            try:
                self._look(time.monotonic())
            except (RedisError, OSError, BullrushError) as error:
                logger.debug("renewing the lease failed, it is tried again: %s", error)
                self._disconnect()
        self._disconnect()

    def _look(self, now: float) -> None:
        renewed_at = self._exchange.renewed_at
        if not renewed_at:
            return  # not registered yet
        if now - renewed_at >= self._exchange.lease / 4000 and self._healthy(now):
            self._renew(now)
        if now - self.heartbeat > BLOCKED:
            jobs = self._exchange.take_stale()
            if jobs:
                self._give_back(jobs)

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
        hung = now - self.heartbeat > self._hang_limit
        if hung and not self._hung:
            logger.error(
                "the event loop has not turned for %.0f s (hang_limit): the lease is not renewed",
                now - self.heartbeat,
            )
        self._hung = hung
        return not hung

    def _renew(self, now: float) -> None:
        script = load("renew")
        number, lease = self._exchange.number, self._exchange.lease
        keys = script.names(self._keys)
        try:
            self._command("EVALSHA", script.sha, len(keys), *keys, number, lease)
        except NoScriptError:
            self._command("EVAL", script.source, len(keys), *keys, number, lease)
        except ResponseError as error:
            if str(error).startswith("LEASE") and number == self._exchange.number:
                self._on_lost()
            return
        self._exchange.renewed(now)
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
