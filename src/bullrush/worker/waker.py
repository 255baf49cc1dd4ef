"""The waker: blocks on the queue's wake list while there is a free slot and nothing to claim."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from bullrush._core.frames import encode_command
from bullrush._core.session import ReplyError
from bullrush.connection.link import Link
from bullrush.errors import ConnectionLost

if TYPE_CHECKING:
    from bullrush.connection.address import Address
    from bullrush.keys import Keys

# A missed token costs one of these at worst; the spread keeps idle workers from looking all at once.
SHORTEST_BLOCK, LONGEST_BLOCK = 1.6, 2.4
REPLY_GRACE = 5.0


class Waker:
    """One blocking connection.

    `look(token)` is called when something may be there, and says whether the worker will claim.
    """

    def __init__(self, address: Address, keys: Keys, look: Callable[[bool], bool]) -> None:
        self._link = Link(address, reply_limit=LONGEST_BLOCK + REPLY_GRACE)
        self._key = keys["wake"]
        self._look = look
        self._needed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.blocked = False

    def start(self) -> None:
        """Begin to wait for the first need."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="bullrush waits for work")

    def need(self) -> None:
        """There is nothing to claim and a free slot: block."""
        self._needed.set()

    async def _run(self) -> None:
        while True:
            await self._needed.wait()
            self._needed.clear()
            token = await self._block()
            if not self._look(token) and token:
                await self._push_back()

    async def _block(self) -> bool:
        """Wait for a token; False when none came in time, and the worker looks by itself."""
        seconds = random.uniform(SHORTEST_BLOCK, LONGEST_BLOCK)
        self.blocked = True
        try:
            frame = encode_command("BLPOP", self._key, f"{seconds:.3f}")
            return await self._link.call(frame, timeout=seconds + REPLY_GRACE) is not None
        except (ConnectionLost, ReplyError):
            await asyncio.sleep(0.2)
            return False
        finally:
            self.blocked = False

    async def _push_back(self) -> None:
        """A token that this worker will not follow belongs to another one."""
        try:
            await self._link.call(encode_command("LPUSH", self._key, "1"))
        except (ConnectionLost, ReplyError):
            return

    async def close(self) -> None:
        """Close the socket at once, so that no token goes to a worker that is gone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._link.close()
