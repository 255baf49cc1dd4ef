"""Values of every kind that data can have, made of any bytes: refused with a reason, or back as they were."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack

from bullrush._core.codec import decode, encode
from bullrush.errors import CodecError
from fuzz.codec import spelled
from fuzz.take import Take

MOST_VALUES: Final = 400
Pair = namedtuple("Pair", "left right")


class Colour(StrEnum):
    """A subclass of str."""

    RED = "red"


class Level(IntEnum):
    """A subclass of int."""

    HIGH = 2**40


class Maker:
    """Makes one value, and whatever is in it."""

    def __init__(self, take: Take) -> None:
        self.take = take
        self.left = MOST_VALUES

    def value(self, depth: int = 0) -> Any:
        """Make any value; deep ones come to an end."""
        self.left -= 1
        kinds = LEAVES if depth > 40 or self.left < 0 else LEAVES + CONTAINERS
        return self.take.choice(kinds)(self, depth)

    def some(self, depth: int) -> list[Any]:
        """Make a few values."""
        return [self.value(depth + 1) for _ in range(self.take.byte() % 6)]

    def hashable(self, depth: int) -> list[Any]:
        """Make a few values for a set: some cannot be in one, and then it is smaller."""
        return [item for item in self.some(depth) if is_hashable(item)]


def is_hashable(item: object) -> bool:
    """Whether it can be in a set."""
    try:
        hash(item)
    except TypeError:
        return False
    return True


def zone(maker: Maker) -> timezone | ZoneInfo | None:
    """Make a time zone."""
    minutes = maker.take.number(2) % 2_880 - 1_440
    fixed = (
        timezone(
            timedelta(minutes=minutes if -1_440 < minutes < 1_440 else 0, seconds=maker.take.byte() % 60 - 30)
        )
        if -1_439 < minutes < 1_439
        else UTC
    )
    return maker.take.choice([None, UTC, fixed, ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")])


def moment(maker: Maker, _: int) -> datetime:
    """Make a date with a time."""
    seconds = maker.take.number(5) % 200_000_000_000
    start = datetime(1, 1, 1) + timedelta(seconds=seconds, microseconds=maker.take.number(3) % 1_000_000)
    return start.replace(tzinfo=zone(maker), fold=maker.take.byte() & 1)


def clock(maker: Maker, depth: int) -> time:
    """Make a time of the day."""
    return moment(maker, depth).timetz()


def span(maker: Maker, _: int) -> timedelta:
    """Make a duration."""
    days = maker.take.number(4) % 1_999_000_000 - 999_500_000
    return timedelta(days=days, microseconds=maker.take.number(6))


LEAVES: Final[list[Callable[[Maker, int], Any]]] = [
    lambda maker, _: maker.take.choice(
        [None, True, False, 0, "", b"", -0.0, float("nan"), float("inf"), 2**63, -(2**63) - 1]
    ),
    lambda maker, _: maker.take.number(maker.take.byte() % 20),
    lambda maker, _: maker.take.text(maker.take.byte() % 80),
    lambda maker, _: maker.take.text(4) * maker.take.byte() * 8,
    lambda maker, _: maker.take.bytes(maker.take.byte()),
    lambda maker, _: bytearray(maker.take.bytes(9)),
    lambda maker, _: memoryview(maker.take.bytes(9)),
    lambda maker, _: maker.take.number(8) / 7,
    lambda maker, _: UUID(bytes=maker.take.bytes(16).ljust(16, b"u")),
    lambda maker, _: Decimal(maker.take.number(9)).scaleb(maker.take.number(1)),
    lambda maker, _: maker.take.choice(
        [Decimal("NaN"), Decimal("-0"), Decimal("Infinity"), Decimal("1E+400")]
    ),
    moment,
    clock,
    lambda maker, depth: moment(maker, depth).date(),
    span,
    lambda maker, _: maker.take.choice([Colour.RED, Level.HIGH, object(), 1j, date, ...]),
    lambda maker, _: msgpack.ExtType(maker.take.byte() % 128, maker.take.bytes(5)),
]
CONTAINERS: Final[list[Callable[[Maker, int], Any]]] = [
    lambda maker, depth: maker.some(depth),
    lambda maker, depth: tuple(maker.some(depth)),
    lambda maker, depth: dict(zip(map(str, range(9)), maker.some(depth), strict=False)),
    lambda maker, depth: {item: maker.value(depth + 1) for item in maker.hashable(depth)},
    lambda maker, depth: set(maker.hashable(depth)),
    lambda maker, depth: frozenset(maker.hashable(depth)),
    lambda maker, depth: OrderedDict(a=maker.value(depth + 1)),
    lambda maker, depth: Pair(maker.value(depth + 1), maker.value(depth + 1)),
]


def one_input(data: bytes) -> None:
    """Encode a value; what was accepted decodes, to the same bytes and the same value from then on."""
    value = Maker(Take(data)).value()
    try:
        packed = encode(value)
    except CodecError as error:
        assert str(error).startswith("data"), f"an error without a path: {error}"
        return
    back = decode(packed)
    again = encode(back)
    assert spelled(decode(again)) == spelled(back), f"{back!r:.300} came back as {decode(again)!r:.300}"
    assert len(again) == len(packed), f"{packed!r:.300} became {again!r:.300}"
