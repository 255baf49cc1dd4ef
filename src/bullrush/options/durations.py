"""Durations and times as users give them, in milliseconds as everything behind needs them.

A number without a unit is easily taken for seconds. So what is certainly a mistake is refused: floats,
waits of less than 100 ms without a unit, times without a zone, times that are seconds or microseconds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from bullrush.errors import InvalidOption, InvalidOptionType

Duration: TypeAlias = int | timedelta | str
Time: TypeAlias = datetime | int

UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
MAX_DURATION: Final = 36_500 * UNITS["d"]
FIRST_TIME: Final = 10**11
LAST_TIME: Final = 10**13 - 1
SHORTEST_BARE_WAIT: Final = 100

_TEXT: Final = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,15}))?(ms|s|m|h|d)")
_MILLISECOND: Final = timedelta(milliseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOW: Final = 'say "250ms", "5s", "1m", "2h" or "7d", a timedelta, or whole milliseconds'


def duration_ms(value: object, what: str, *, least: int = 0, wait: bool = False) -> int:
    """Return a duration in ms; ``what`` names it in the error.

    An int is milliseconds. A str is one number and one unit without blanks; a fraction is allowed where it
    comes out at whole milliseconds ("1.5h"). A timedelta is rounded up to the next millisecond. With
    ``wait`` a bare int below 100 is refused, because nobody waits 5 ms and many think in seconds.
    Raises InvalidOptionType for other types (float and bool too), and InvalidOption below ``least`` or
    above 36,500 days.
    """
    ms = _to_ms(value, what)
    if ms < least:
        raise InvalidOption(f"{what} is {value!r}; it must be at least {format_duration(least)}")
    if wait and ms < SHORTEST_BARE_WAIT and isinstance(value, int):
        raise InvalidOption(
            f'{what} is {value}, which is milliseconds; if that is meant say "{value}ms", else "{value}s"'
        )
    if ms > MAX_DURATION:
        raise InvalidOption(f"{what} is {value!r}; it must be at most 36,500 days")
    return ms


def time_ms(value: object, what: str) -> int:
    """Return a time in ms since the epoch; ``what`` names it in the error.

    Takes an aware datetime (rounded up to the next millisecond) or ms. Raises InvalidOption for a naive
    datetime and for an int that can only be seconds (below 10^11) or microseconds (10^13 and above), and
    InvalidOptionType for other types.
    """
    if isinstance(value, datetime):
        return _from_datetime(value, what)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidOptionType(
            f"{what} is {value!r} ({type(value).__name__}); it must be an aware datetime or ms since 1970"
        )
    if value < FIRST_TIME:
        raise InvalidOption(
            f"{what} is {value}; that is seconds or the year 1973, it must be ms since the epoch"
        )
    if value > LAST_TIME:
        raise InvalidOption(f"{what} is {value}; that is beyond the year 2286, it must be ms since the epoch")
    return int(value)


def format_duration(ms: int) -> str:
    """Return ms as text with the largest unit that fits: ``"90s"``, ``"1d"``, ``"0ms"``."""
    for unit, size in reversed(UNITS.items()):
        if ms and ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms"


def _to_ms(value: object, what: str) -> int:
    if isinstance(value, str):
        return _from_text(value, what)
    if isinstance(value, timedelta):
        return -(-value // _MILLISECOND)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidOptionType(f"{what} is {value!r} ({type(value).__name__}); {_HOW}")
    return int(value)


def _from_text(value: str, what: str) -> int:
    match = _TEXT.fullmatch(value)
    if match is None:
        raise InvalidOption(f"{what} is {value!r}; {_HOW}")
    whole, fraction, unit = match.groups(default="")
    ms, rest = divmod(int(whole + fraction) * UNITS[unit], int(10 ** len(fraction)))
    if rest:
        raise InvalidOption(f"{what} is {value!r}, which is no whole number of milliseconds")
    return ms


def _from_datetime(value: datetime, what: str) -> int:
    if value.utcoffset() is None:
        raise InvalidOption(f"{what} is {value!r} without a time zone; say datetime.now(UTC) or the like")
    ms = -((_EPOCH - value) // _MILLISECOND)
    if not 0 <= ms <= LAST_TIME:
        raise InvalidOption(f"{what} is {value!r}; it must lie between 1970 and 2286")
    return ms
