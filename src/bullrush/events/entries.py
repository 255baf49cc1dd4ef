"""Take the entries of a queue's event stream apart. One entry carries what one call did; without I/O.

Fields stay packed until somebody asks for them: a thousand completions cost a reader of failures one look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

import msgpack  # pyright: ignore[reportMissingTypeStubs]

from bullrush._core.codec import decode

if TYPE_CHECKING:
    from bullrush.codec import Values

# Stands for a return value that is too large for the entry and has to be fetched.
LARGE: Final = b"\xc7\x00\x1f"


class Failure(NamedTuple):
    """What an entry says of a job that failed for good; -1 attempts: it does not say."""

    id: str
    reason: str
    error_type: str
    attempts_made: int


class Retry(NamedTuple):
    """What an entry says of a failed attempt."""

    id: str
    attempts_made: int
    delay: int
    reason: str
    error_type: str


class Entry:
    """One entry of the stream: its id, its dense number, and its fields still packed."""

    __slots__ = ("_completed", "at", "fields", "id", "number")

    def __init__(self, id: str, fields: dict[bytes, bytes]) -> None:
        self.id = id
        self.at = int(id.partition("-")[0])
        self.fields = fields
        self.number = int(fields.get(b"n", b"0"))
        self._completed: list[tuple[str, bytes]] | None = None

    @classmethod
    def from_reply(cls, reply: object) -> Entry:
        """Make an entry from what XRANGE and XREAD answer."""
        id, flat = cast("tuple[bytes, list[bytes]]", reply)
        return cls(id.decode(), dict(zip(flat[::2], flat[1::2], strict=True)))

    def ids(self, name: bytes) -> list[str]:
        """Return the ids of a field that is a list of them."""
        packed = self.fields.get(name)
        return packed.decode().split() if packed else []

    def id_pairs(self, name: bytes) -> list[tuple[str, str]]:
        """Return the pairs of a field in which ids and one word each follow each other."""
        words = self.ids(name)
        return list(zip(words[::2], words[1::2], strict=False))

    def added(self) -> Iterator[str]:
        """Yield the ids of plain jobs that were added; the field has them as ranges."""
        for part in self.ids(b"added"):
            first, _, last = part.partition("-")
            yield from map(str, range(int(first), int(last or first) + 1))

    def completed(self) -> list[tuple[str, bytes]]:
        """Return ids with their packed return values, less those that the server refused; split once."""
        if self._completed is None:
            self._completed = self._accepted(split_pairs(self.fields.get(b"completed", b"")))
        return self._completed

    def outcomes(self) -> list[tuple[str, bytes]]:
        """Return ids with whole packed outcomes: of calls that could not know that somebody waits."""
        return self._accepted(split_pairs(self.fields.get(b"outcomes", b"")))

    def _accepted(self, pairs: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        refused = set(self.ids(b"refused"))
        return [pair for pair in pairs if pair[0] not in refused] if refused else pairs

    def failed(self) -> list[Failure]:
        """Return the final failures, less those that the server refused."""
        if b"failed" not in self.fields:
            return []
        values, refused, found = (
            unpack_all(self.fields[b"failed"]),
            set(self.ids(b"refused")),
            list[Failure](),
        )
        at = 0
        while at < len(values):
            id, reason, error_type = cast("list[str]", values[at : at + 3])
            at += 3
            attempts = -1
            if at < len(values) and isinstance(values[at], int):
                attempts = cast("int", values[at])
                at += 1
            if id not in refused:
                found.append(Failure(id, reason, error_type, attempts))
        return found

    def retrying(self) -> list[Retry]:
        """Return the failed attempts that others follow."""
        values, refused, found = (
            unpack_all(self.fields[b"retrying"]),
            set(self.ids(b"refused")),
            list[Retry](),
        )
        at = 0
        while at < len(values):
            id, made, delay, reason = cast("tuple[str, int, int, str]", tuple(values[at : at + 4]))
            at += 4
            error_type = ""
            # The class may follow; a text with a number behind it is the id of the next attempt.
            if at < len(values) and not _starts_retry(values, at):
                error_type = cast("str", values[at])
                at += 1
            if id not in refused:
                found.append(Retry(id, made, delay, reason, error_type))
        return found


def _starts_retry(values: list[object], at: int) -> bool:
    return at + 1 < len(values) and isinstance(values[at + 1], int)


def split_pairs(packed: bytes) -> list[tuple[str, bytes]]:
    """Split ids and values that follow each other, without decoding the values."""
    unpacker = unpacker_of(packed)
    pairs: list[tuple[str, bytes]] = []
    at, size = 0, len(packed)
    while at < size:
        id = cast("str", unpacker.unpack())
        start = unpacker.tell()
        unpacker.skip()
        at = unpacker.tell()
        pairs.append((id, packed[start:at]))
    return pairs


def unpack_all(packed: bytes) -> list[object]:
    """Decode plain texts and numbers that follow each other."""
    return list(cast("Iterable[object]", unpacker_of(packed)))


class Unpacker(Protocol):
    """What is used of `msgpack.Unpacker`, which has no types."""

    def feed(self, packed: bytes, /) -> None:
        """Add bytes."""
        ...

    def unpack(self) -> object:
        """Return the next value."""
        ...

    def skip(self) -> None:
        """Pass over the next value."""
        ...

    def tell(self) -> int:
        """Return how many bytes were read."""
        ...

    def read_array_header(self) -> int:
        """Enter an array and return its length."""
        ...


def unpacker_of(packed: bytes) -> Unpacker:
    """Read values from bytes one after the other."""
    make = cast("Callable[..., Unpacker]", msgpack.Unpacker)  # pyright: ignore[reportUnknownMemberType]
    unpacker = make(raw=False, max_buffer_size=0)
    unpacker.feed(packed)
    return unpacker


def unpack_value(packed: bytes, values: Values, job_id: str) -> object:
    """Decode a return value; raises CodecError, or what the queue's own codec raises."""
    return values.read(decode(packed), job_id)
