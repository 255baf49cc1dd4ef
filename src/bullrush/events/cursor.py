"""Go through what is kept of a stream, page by page, from any event on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bullrush.errors import InvalidOption, InvalidOptionType
from bullrush.events.stream import START, gap_before

if TYPE_CHECKING:
    from bullrush.events.entries import Entry
    from bullrush.events.kinds import Event
    from bullrush.events.stream import End, Stream

PAGE = 200
_EVENT_ID = re.compile(r"(\d+(?:-\d+)?)(?::(-?\d+))?")
# Behind every event of an entry.
LAST_PLACE = 1 << 62


def check_event_id(value: object) -> str:
    """Return the id of an event as given for `after`; raises InvalidOption for anything else."""
    if not isinstance(value, str):
        raise InvalidOptionType(f"after is {value!r} ({type(value).__name__}); it must be the id of an event")
    if _EVENT_ID.fullmatch(value) is None:
        raise InvalidOption(
            f'after is {value!r}; it must be the id of an event, or "0-0" for all that is kept'
        )
    return value


def split_event_id(id: str) -> tuple[str, int]:
    """Return the entry of an event and its place in there; an entry alone means all of it."""
    found = _EVENT_ID.fullmatch(id)
    assert found is not None
    entry = found[1] if "-" in found[1] else f"{found[1]}-0"
    return entry, LAST_PLACE if found[2] is None else int(found[2])


class Cursor:
    """A position in a stream that moves page by page; numbers that are not dense are gaps."""

    def __init__(self, stream: Stream, id: str, number: int | None = None) -> None:
        self._stream = stream
        self.entry, self._place = split_event_id(id)
        self._number = number
        self._found = number is not None

    @classmethod
    def at(cls, stream: Stream, end: End) -> Cursor:
        """Begin behind an entry whose number is known."""
        return cls(stream, end.id, end.number)

    async def next_page(self, wanted: frozenset[type[Event]]) -> list[Event] | None:
        """Return the next events, None at the end. After an error the same page is read again."""
        if not self._found:
            return await self._find(wanted)
        entries = await self._stream.after(self.entry, PAGE)
        if not entries:
            return None
        events = await self._stream.decode_dense(entries, self._number, wanted)
        self.entry, self._number = entries[-1].id, entries[-1].number
        return events

    async def _find(self, wanted: frozenset[type[Event]]) -> list[Event]:
        """Find the event to go on behind. If its entry is gone, nobody can tell how many went with it."""
        before = await self._stream.last_before(self.entry)
        if before is None or before.id != self.entry:
            events = await self._first_kept(before)
        else:
            found = await self._stream.decode([before], wanted)
            events = [event for event in found if split_event_id(event.id)[1] > self._place]
            self._number = before.number
        self._found = True
        return events

    async def _first_kept(self, before: Entry | None) -> list[Event]:
        if before is not None or self.entry == START:
            self._number = 0 if before is None else before.number
            return []
        first = await self._stream.after(self.entry, 1)
        if not first:
            return []
        self._number = first[0].number - 1
        return [gap_before(first[0], None, self._stream.keys.queue)]
