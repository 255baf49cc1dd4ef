"""One consumer's way through the events of a queue."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

from bullrush._core.session import ReplyError
from bullrush.errors import ConnectionLost
from bullrush.events.cursor import Cursor, split_event_id
from bullrush.events.kinds import Event, Gap
from bullrush.events.reader import Batch, Reader, reader_of
from bullrush.events.stream import START, Stream, patiently, split_id

if TYPE_CHECKING:
    from bullrush.queue import Queue

logger = logging.getLogger("bullrush")

# Events that a slow consumer may have in memory; those behind them are read when they are wanted.
BUFFER: Final = 50_000
PAUSE: Final = 0.1


class Feed:
    """One consumer's way through the stream: kept entries page by page, then what the shared reader brings.

    A consumer that falls too far behind goes back to pages: its memory is bounded and nothing is lost.
    """

    def __init__(self, queue: Queue[Any, Any], kinds: frozenset[type[Event]]) -> None:
        self.kinds = kinds
        self._name = queue.name
        self._stream = Stream(queue.app.link, queue.keys, queue.codec)
        self._address = queue.app.address
        self._limit = queue.app.request_timeout
        self._pages: deque[Event] = deque()
        self._live: deque[Event] = deque()
        self._cursor: Cursor | None = None
        self._fell_behind = False
        self._last_id = ""
        # Live events up to here were seen on pages.
        self._floor: tuple[int, int, int] | None = None
        self._reader: Reader | None = None
        self._news = asyncio.Event()
        self._closed = False

    async def open(self, after: str | None) -> None:
        """Fix the position. The reader may be ahead or behind of it, so the way begins with the pages."""
        end = await patiently(self._stream.last, self._limit)
        self._cursor = Cursor.at(self._stream, end) if after is None else Cursor(self._stream, after)
        self._reader = reader_of(self._address, self._stream.keys, self._stream.codec)
        self._reader.add(self, end)

    async def close(self) -> None:
        """Leave the reader; whoever waits gets None."""
        self._closed = True
        self._news.set()
        if self._reader is not None:
            await self._reader.remove(self)

    # From the reader.

    def take(self, batch: Batch) -> None:
        """Buffer live events; see Subscriber."""
        if self._fell_behind:
            return
        for event in batch.events:
            kind = type(event)
            if kind in self.kinds:
                if len(self._live) >= BUFFER:
                    self._fell_behind = True
                    break
                self._live.append(event)
            elif kind is Gap:
                logger.warning(
                    "events of queue %r are missing: %s; add Gap to kinds to be told", self._name, event
                )
        self._news.set()

    # To the consumer.

    async def next(self) -> Event | None:
        """Wait for the next event; None once closed."""
        while not self._closed:
            if self._pages:
                return self._pages.popleft()
            if self._cursor is not None:
                await self._turn_page(self._cursor)
            elif self._live:
                event = self._live.popleft()
                self._last_id = event.id
                if self._floor is None or self._above_floor(event):
                    return event
            elif self._fell_behind:
                self._cursor = Cursor(self._stream, self._last_id)
                self._fell_behind = False
            else:
                self._news.clear()
                await self._news.wait()
        return None

    def take_buffered(self, most: int) -> list[Event]:
        """Return what is here without waiting."""
        source = self._pages or self._live
        if source is self._live and (self._cursor is not None or self._floor is not None):
            return []
        taken = [source.popleft() for _ in range(min(most, len(source)))]
        if taken and source is self._live:
            self._last_id = taken[-1].id
        return taken

    async def _turn_page(self, cursor: Cursor) -> None:
        try:
            page = await cursor.next_page(self.kinds)
        except (ConnectionLost, ReplyError) as error:
            level = logging.DEBUG if isinstance(error, ConnectionLost) else logging.WARNING
            logger.log(level, "events of queue %r cannot be read, trying again: %s", self._name, error)
            await asyncio.sleep(PAUSE)
            return
        if page is not None:
            self._pages.extend(event for event in page if type(event) in self.kinds)
        elif self._fell_behind:
            # What was dropped meanwhile is on pages by now.
            self._live.clear()
            self._fell_behind = False
        else:
            self._cursor = None
            self._floor = (*split_id(cursor.entry), 1 << 62)

    def _above_floor(self, event: Event) -> bool:
        entry, place = split_event_id(event.id)
        # A Gap at the very start says that the stream began anew.
        if entry != START and (*split_id(entry), place) <= cast("tuple[int, int, int]", self._floor):
            return False
        self._floor = None
        return True
