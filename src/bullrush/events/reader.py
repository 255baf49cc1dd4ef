"""One reader per queue, process and event loop, on a connection of its own, feeds everybody who listens."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bullrush._core.session import ReplyError
from bullrush.connection.link import Link
from bullrush.errors import ConnectionLost
from bullrush.events.entries import Entry
from bullrush.events.kinds import Event, Gap
from bullrush.events.stream import START, End, Stream, split_id

if TYPE_CHECKING:
    from bullrush.codec import AnyCodec
    from bullrush.connection.address import Address
    from bullrush.keys import Keys

logger = logging.getLogger("bullrush")

BLOCK = 5.0
# A server that says nothing for so long beyond BLOCK is gone.
PATIENCE = 5.0
ENTRIES = 200
FIRST_PAUSE, LAST_PAUSE = 0.02, 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read brought. `broken`: something may be missing before it (a gap, or a lost connection)."""

    entries: list[Entry]
    events: list[Event] = field(default_factory=list[Event])
    broken: bool = False


class Subscriber(Protocol):
    """Somebody whom a reader feeds."""

    @property
    def kinds(self) -> frozenset[type[Event]]:
        """The events that must be decoded."""
        ...

    def take(self, batch: Batch) -> None:
        """Take what was read; called on the loop, must not wait."""
        ...


class Reader:
    """Read a stream from one position on, for ever, across lost connections, and notice what is missing."""

    def __init__(self, address: Address, keys: Keys, codec: AnyCodec | None) -> None:
        self.loop = asyncio.get_running_loop()
        self._address = address
        self._link = Link(address, reply_limit=BLOCK + PATIENCE)
        self._stream = Stream(self._link, keys, codec)
        self._queue = keys.queue
        self._subscribers: list[Subscriber] = []
        self._end = End(START, 0)
        self._task: asyncio.Task[None] | None = None
        self._pause = FIRST_PAUSE

    @property
    def end(self) -> End:
        """The last entry that was read."""
        return self._end

    def add(self, subscriber: Subscriber, end: End) -> None:
        """Feed a subscriber from now on. The first one says where to begin: behind `end`."""
        self._subscribers.append(subscriber)
        if self._task is None:
            self._end = end
            self._task = self.loop.create_task(self._run(), name=f"bullrush reads events of {self._queue}")

    async def remove(self, subscriber: Subscriber) -> None:
        """Stop feeding a subscriber; the last one ends the reader."""
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)
        if self._subscribers:
            return
        _forget(self)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            try:
                await asyncio.gather(task, return_exceptions=True)
            finally:
                await self._link.close()

    async def _run(self) -> None:
        interrupted = False
        while True:
            try:
                await self._read(interrupted)
            except ConnectionLost as error:
                logger.debug(
                    "reading events of queue %r goes on after a lost connection: %s", self._queue, error
                )
                if self._link.protocol is not None:
                    self._link.protocol.abort()
            except ReplyError as error:
                logger.warning("events of queue %r cannot be read, trying again: %s", self._queue, error)
            except Exception:
                # Nobody could await this task: whoever listens would wait for ever for what a bug ended.
                logger.exception("an error while events of queue %r were read; going on", self._queue)
            else:
                interrupted = False
                self._pause = FIRST_PAUSE
                continue
            interrupted = True
            await asyncio.sleep(self._pause)
            self._pause = min(LAST_PAUSE, self._pause * 2)

    async def _read(self, interrupted: bool) -> None:
        if interrupted:
            await self._look_at_end(broken=True)
        entries = await self._stream.wait_after(self._end.id, ENTRIES, BLOCK)
        if not entries:
            await self._look_at_end(broken=False)
            return
        wanted = frozenset[type[Event]]().union(*[subscriber.kinds for subscriber in self._subscribers])
        events = await self._stream.decode_dense(entries, self._end.number, wanted)
        broken = any(isinstance(event, Gap) for event in events)
        self._end = End(entries[-1].id, entries[-1].number)
        self._feed(Batch(entries, events, broken))

    async def _look_at_end(self, *, broken: bool) -> None:
        """Less than what was read: it began anew (obliterate, flush), or a failover lost its end."""
        last = await self._stream.last()
        if last.number >= self._end.number and not _before(last.id, self._end.id):
            if broken:
                self._feed(Batch([], broken=True))
            return
        self._end = last
        gap = Gap(
            None,
            id=f"{last.id}:{1 << 62}" if last.number else f"{START}:-1",
            queue=self._queue,
            at=_at(last.id),
        )
        self._feed(Batch([], [gap], broken=True))

    def _feed(self, batch: Batch) -> None:
        for subscriber in list(self._subscribers):
            try:
                subscriber.take(batch)
            except Exception:
                logger.exception("a reader of the events of queue %r raised; the others go on", self._queue)


def _before(id: str, other: str) -> bool:
    return split_id(id) < split_id(other)


def _at(id: str) -> int:
    return split_id(id)[0]


_readers: dict[tuple[Hashable, ...], Reader] = {}


def reader_of(address: Address, keys: Keys, codec: AnyCodec | None) -> Reader:
    """Return the reader of a queue in this process and loop: the same one for everybody."""
    loop = asyncio.get_running_loop()
    for key, reader in list(_readers.items()):
        if reader.loop.is_closed():
            del _readers[key]
    key = (id(loop), address, keys["events"], None if codec is None else id(codec))
    if key not in _readers:
        _readers[key] = Reader(address, keys, codec)
    return _readers[key]


def _forget(reader: Reader) -> None:
    for key, known in list(_readers.items()):
        if known is reader:
            del _readers[key]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_readers.clear)
