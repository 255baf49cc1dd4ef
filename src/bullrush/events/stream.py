"""Commands on a queue's event stream, over any link."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from bullrush._core.frames import encode_command
from bullrush.codec import Values
from bullrush.errors import ConnectionLost
from bullrush.events.decoding import HEAD_BYTES, Found, Needs, decode_entry
from bullrush.events.entries import Entry
from bullrush.events.kinds import Gap
from bullrush.operations.requests import script_frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bullrush.codec import AnyCodec
    from bullrush.connection.link import Link
    from bullrush.events.kinds import Event
    from bullrush.keys import Keys

logger = logging.getLogger("bullrush")

ReturnT = TypeVar("ReturnT")

PAUSE = 0.02
START = "0-0"
PAGE = 500
OUTCOMES_PAGE = 50


class End(NamedTuple):
    """The last entry of a stream and its number; the start and 0 while there is none."""

    id: str
    number: int


class Stream:
    """Read a queue's events over one link. Raises ConnectionLost and ReplyError."""

    def __init__(self, link: Link, keys: Keys, codec: AnyCodec | None) -> None:
        self.link = link
        self.keys = keys
        self.codec = codec
        self._values = Values(codec, keys.queue)
        self._key = keys["events"]

    async def last(self) -> End:
        """Return where the stream ends now."""
        found = await self.last_before("+")
        return End(START, 0) if found is None else End(found.id, found.number)

    async def last_before(self, id: str) -> Entry | None:
        """Return the last entry up to this id, itself included."""
        found = await self._range("XREVRANGE", id, "-", 1)
        return found[0] if found else None

    async def after(self, id: str, count: int, *, included: bool = False) -> list[Entry]:
        """Return the next entries behind this id."""
        return await self._range("XRANGE", id if included else f"({id}", "+", count)

    async def _range(self, verb: str, low: str, high: str, count: int) -> list[Entry]:
        reply = await self.link.call(encode_command(verb, self._key, low, high, "COUNT", count))
        return [Entry.from_reply(one) for one in cast("list[object]", reply)]

    async def wait_after(self, id: str, count: int, block: float) -> list[Entry]:
        """Return entries behind this id as soon as there are some; none after `block` seconds."""
        frame = encode_command("XREAD", "COUNT", count, "BLOCK", int(block * 1000), "STREAMS", self._key, id)
        reply = cast("list[tuple[bytes, list[object]]] | None", await self.link.call(frame))
        return [] if not reply else [Entry.from_reply(one) for one in reply[0][1]]

    async def decode(self, entries: list[Entry], wanted: frozenset[type[Event]]) -> list[Event]:
        """Make events of entries, with what has to be fetched for them."""
        needs = Needs()
        readable = [entry for entry in entries if self._note_needs(entry, wanted, needs)]
        found = await self._fetch(needs) if needs.heads or needs.outcomes else Found()
        events: list[Event] = []
        for entry in readable:
            events += decode_entry(entry, self.keys.queue, wanted, found, self._values)
        return events

    async def decode_dense(
        self, entries: list[Entry], number: int | None, wanted: frozenset[type[Event]]
    ) -> list[Event]:
        """Make events of entries that should follow the one of this number (None: any); else a Gap."""
        events: list[Event] = []
        dense: list[Entry] = []
        for entry in entries:
            if number is not None and entry.number != number + 1:
                events += await self.decode(dense, wanted)
                events.append(gap_before(entry, number, self.keys.queue))
                dense = []
            dense.append(entry)
            number = entry.number
        return events + await self.decode(dense, wanted)

    def _note_needs(self, entry: Entry, wanted: frozenset[type[Event]], needs: Needs) -> bool:
        """Whoever broke one entry must not stop the events of everybody for ever."""
        try:
            needs.note(entry, wanted)
        except Exception as error:
            logger.warning(
                "entry %s of queue %r is damaged and left out: %s", entry.id, self.keys.queue, error
            )
            return False
        return True

    async def _fetch(self, needs: Needs) -> Found:
        heads: dict[str, bytes] = {}
        outcomes: dict[str, bytes] = {}
        frame = script_frame("heads", self.keys)
        for ids in _pages(needs.heads, PAGE):
            reply = await self.link.call(frame.call(HEAD_BYTES, *ids, by_text=True))
            heads.update(_present(ids, reply))
        for ids in _pages(needs.outcomes, OUTCOMES_PAGE):
            reply = await self.link.call(encode_command("HMGET", self.keys["outcomes"], *ids))
            outcomes.update(_present(ids, reply))
        return Found(heads, outcomes)


async def patiently(ask: Callable[[], Awaitable[ReturnT]], limit: float) -> ReturnT:
    """Ask again over a new connection when one is lost; raises ConnectionLost after `limit` seconds."""
    deadline = time.monotonic() + limit
    while True:
        try:
            return await ask()
        except ConnectionLost:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(PAUSE)


def split_id(id: str) -> tuple[int, int]:
    """Return a stream id as two numbers that compare."""
    ms, _, sequence = id.partition("-")
    return int(ms), int(sequence or 0)


def gap_before(entry: Entry, number: int | None, queue: str) -> Gap:
    """Say that entries are missing before this one; how many, where the numbers tell."""
    missed = None if number is None or entry.number <= number else entry.number - number - 1
    return Gap(missed, id=f"{entry.id}:-1", queue=queue, at=entry.at)


def _present(ids: Sequence[str], reply: object) -> Iterator[tuple[str, bytes]]:
    values = cast("list[bytes | None]", reply)
    return ((id, value) for id, value in zip(ids, values, strict=True) if value is not None)


def _pages(ids: list[str], size: int) -> Iterator[list[str]]:
    unique = list(dict.fromkeys(ids))
    return (unique[at : at + size] for at in range(0, len(unique), size))
