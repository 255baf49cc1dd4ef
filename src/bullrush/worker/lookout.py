"""When to ask the server for jobs, besides after every settlement."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bullrush._core.exchange import Exchange

# How long a worker that parks jobs leaves what is due to others.
YIELD = 0.15


class Lookout:
    """Ask when the server has woken this worker, and when a delayed job falls due.

    `flush` lets the exchange send. `yields`: this worker has met jobs that nobody handles here.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, exchange: Exchange, flush: Callable[[], None]
    ) -> None:
        self.yields = False
        self._loop = loop
        self._exchange = exchange
        self._flush = flush
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = 0
        self._yielding_until = 0.0

    def woken(self, _token: bool) -> bool:
        """Something may be there. Returns whether this worker will claim."""
        exchange = self._exchange
        if (
            self._loop.time() < self._yielding_until
            or not exchange.claiming
            or exchange.running + len(exchange.ready) >= exchange.concurrency
        ):
            return False
        self.ask()
        return True

    def ask(self) -> None:
        """Claim what there is."""
        self._exchange.asked = True
        self._flush()

    def wait_for_due(self, due_ms: int) -> None:
        """Look when the time of a delayed job has come, by the server's clock; the last one told counts."""
        if due_ms == self._due_at:
            return
        self._due_at = due_ms
        self.close()
        wait = max(0.0, (due_ms - self._exchange.server_now()) / 1000 + 0.001)
        self._timer = self._loop.call_later(wait, self._leave_to_others if self.yields else self.ask)

    def close(self) -> None:
        """Wait for nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _leave_to_others(self) -> None:
        """Promote, and claim a moment later: it may be a job that nobody handles here."""
        self._yielding_until = self._loop.time() + YIELD
        self._exchange.promote_only = True
        self.ask()
        self._timer = self._loop.call_later(YIELD, self.ask)
