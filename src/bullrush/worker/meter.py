"""The meter: tells the queue every ten seconds how long jobs waited and ran here.

Jobs are measured by the dispatcher, whose histograms only grow. What is sent is the difference to what was
sent before, so that a worker costs the server one call in ten seconds, and none while it has nothing to do.
The same call moves minutes that are over out of the way of exchange.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from bullrush._core.session import ReplyError
from bullrush.errors import ConnectionLost
from bullrush.operations.metrics import bucket_text
from bullrush.operations.requests import script_frame

if TYPE_CHECKING:
    from bullrush._core.exchange import Exchange
    from bullrush._core.histogram import Histogram
    from bullrush.connection.link import Link
    from bullrush.keys import Keys

logger = logging.getLogger("bullrush")

EVERY = 10.0
ANSWER_LIMIT: Final = 2.0


class Meter:
    """Send what was measured since the last call; what could not be sent goes with the next one."""

    def __init__(
        self,
        link: Link,
        keys: Keys,
        exchange: Exchange,
        histograms: Callable[[], tuple[Histogram, Histogram]],
    ) -> None:
        self._link = link
        self._frame = script_frame("measure", keys)
        self._exchange = exchange
        self._histograms = histograms
        self._looked_at = asyncio.get_running_loop().time()
        self._settled = 0
        self._told: tuple[Mapping[int, int], Mapping[int, int]] = ({}, {})
        self._task: asyncio.Task[None] | None = None

    def tick(self, now: float) -> None:
        """Look whether it is time, and whether anything has happened."""
        if now - self._looked_at < EVERY:
            return
        self._looked_at = now
        if self._has_news and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._tell())

    @property
    def _has_news(self) -> bool:
        waits, _ = self._histograms()
        return self._exchange.settled_total != self._settled or waits.count != sum(self._told[0].values())

    async def _tell(self) -> None:
        settled = self._exchange.settled_total
        waits, runs = (histogram.used() for histogram in self._histograms())
        texts = (_difference(waits, self._told[0]), _difference(runs, self._told[1]))
        try:
            await self._link.call(self._frame.call(*texts, by_text=True), timeout=ANSWER_LIMIT)
        except (ConnectionLost, ReplyError) as error:
            # Lost in the reply it may count twice; latencies are worth that, counts of jobs are not among it.
            logger.debug("what was measured could not be told, it goes with the next call: %s", error)
            return
        self._settled, self._told = settled, (waits, runs)

    async def close(self) -> None:
        """Tell the rest; for a worker whose outcomes are stored."""
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._has_news:
            await self._tell()

    def stop(self) -> None:
        """Tell nothing any more."""
        if self._task is not None:
            self._task.cancel()


def _difference(now: Mapping[int, int], before: Mapping[int, int]) -> str:
    grown = {bucket: count - before.get(bucket, 0) for bucket, count in now.items()}
    return bucket_text({bucket: count for bucket, count in grown.items() if count > 0})
