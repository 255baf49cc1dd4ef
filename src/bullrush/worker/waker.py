"""The waker: blocks on the queue's wake list while there is a free slot and nothing to claim.

On the same connection it waits for signals to this worker: that a job it holds was cancelled. A worker whose
slots are full waits for signals alone; when it needs work again meanwhile, it pokes itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

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
# A worker that has not needed work for so long waits for signals alone: jobs that take less need no poke.
UNNEEDED = 0.2


class Waker:
    """One blocking connection.

    `look(token)` is called when something may be there, and says whether the worker will claim; `signalled`
    gets what was sent to this worker. `poke` sends it an empty signal.
    """

    def __init__(
        self,
        address: Address,
        keys: Keys,
        look: Callable[[bool], bool],
        signalled: Callable[[bytes], None],
        poke: Callable[[], None],
    ) -> None:
        self._link = Link(address, reply_limit=LONGEST_BLOCK + REPLY_GRACE)
        self._keys = keys
        self._wake = keys["wake"]
        self._signals = b""
        self._look = look
        self._signalled = signalled
        self._poke = poke
        self._needed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._poked = False
        self.blocked = False

    def watch(self, number: bytes) -> None:
        """Take the signals of this worker number from now on."""
        self._signals = self._keys.signals(number.decode())

    def start(self) -> None:
        """Begin to wait for the first need."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="bullrush waits for work")

    def need(self) -> None:
        """There is nothing to claim and a free slot: block."""
        if self.blocked and not self._needed.is_set() and not self._poked:
            self._poked = True
            self._poke()
        self._needed.set()

    async def _run(self) -> None:
        while True:
            needed = await self._is_needed()
            # Signals first: tokens may always be there.
            found = await self._block([self._signals, self._wake] if needed else [self._signals])
            if found is not None and found[0] == self._signals:
                self._signalled(found[1])
            elif needed:
                self._needed.clear()
                if not self._look(found is not None) and found is not None:
                    await self._push_back()

    async def _is_needed(self) -> bool:
        try:
            async with asyncio.timeout(UNNEEDED):
                await self._needed.wait()
        except TimeoutError:
            return False
        return True

    async def _block(self, keys: list[bytes]) -> list[bytes] | None:
        """Wait for an element of these lists; None when none came in time, and the worker looks by itself."""
        seconds = random.uniform(SHORTEST_BLOCK, LONGEST_BLOCK)
        self.blocked = True
        try:
            frame = encode_command("BLPOP", *keys, f"{seconds:.3f}")
            return cast("list[bytes] | None", await self._link.call(frame, timeout=seconds + REPLY_GRACE))
        except (ConnectionLost, ReplyError):
            await asyncio.sleep(0.2)
            return None
        finally:
            self.blocked = self._poked = False

    async def _push_back(self) -> None:
        """A token that this worker will not follow belongs to another one."""
        try:
            await self._link.call(encode_command("LPUSH", self._wake, "1"))
        except (ConnectionLost, ReplyError):
            return

    async def close(self) -> None:
        """Close the socket at once, so that no token goes to a worker that is gone."""
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
        finally:
            await self._link.close()
