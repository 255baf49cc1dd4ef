"""The reaper: takes the jobs of workers that two looks found dead.

Two looks by this worker, at least half a lease apart on its own clock and with answered calls in between, at
the same number with the same deadline. The script then does nothing unless the deadline is still exactly
that. So neither a clock that jumps nor a server that stopped makes a live worker lose its jobs.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, cast

from bullrush._core.frames import encode_command
from bullrush._core.session import ReplyError
from bullrush.errors import ConnectionLost
from bullrush.operations.requests import script_frame

if TYPE_CHECKING:
    from bullrush.connection.link import Link
    from bullrush.keys import Keys
    from bullrush.worker.listeners import Listeners

PAGE = 500
FAILED_KEPT = 10_000
DEFAULT_MAX_CRASHES = 2


class Reaper:
    """Remember what was seen, and reap on the second look."""

    def __init__(self, link: Link, keys: Keys, lease_ms: int, listeners: Listeners) -> None:
        self._listeners = listeners
        self._link = link
        self._keys = keys
        self._apart = lease_ms / 2000
        self._seen: dict[bytes, tuple[bytes, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def notice(self, expired: list[tuple[bytes, bytes]], own: bytes) -> None:
        """Take what one look found; numbers that are not among it are forgotten."""
        now = time.monotonic()
        seen: dict[bytes, tuple[bytes, float]] = {}
        for number, deadline in expired:
            if number == own:
                continue
            before = self._seen.get(number)
            if before is None or before[0] != deadline:
                seen[number] = (deadline, now)
            elif now - before[1] >= self._apart:
                self._start(number, deadline)
            else:
                seen[number] = before
        self._seen = seen

    def _start(self, number: bytes, deadline: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self.reap(number, deadline))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def reap(self, number: bytes, deadline: bytes) -> None:
        """Return the jobs of a dead number, page by page."""
        try:
            host = cast(
                "bytes | None", await self._link.call(encode_command("HGET", self._keys["hosts"], number))
            )
            frame = script_frame("reap", self._keys, (self._keys.held(number.decode()),))
            arguments = (number, deadline, PAGE, max_crashes_of(host), FAILED_KEPT, -1)
            left = 1
            while left > 0:
                reply = await self._link.call(frame.call(*arguments, by_text=True))
                left, stalled = cast("tuple[int, bytes]", reply)
                for id in stalled.split():
                    self._listeners.emit("stalled", id.decode())
        except (ConnectionLost, ReplyError):
            return

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)


def max_crashes_of(host: bytes | None) -> int:
    """Return the limit that the dead worker registered with: its value counts, not that of whoever reaps."""
    if host is None:
        return DEFAULT_MAX_CRASHES
    try:
        return int(json.loads(host)["max_crashes"])
    except (ValueError, KeyError, TypeError):
        return DEFAULT_MAX_CRASHES
