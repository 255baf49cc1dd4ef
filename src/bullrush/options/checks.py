"""Checks of values that jobs and workers share."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from bullrush.errors import InvalidOption, InvalidOptionType
from bullrush.options.backoff import Backoff
from bullrush.options.durations import duration_ms
from bullrush.options.values import Keep

KEEP_NONE: Final = Keep(count=0)
KEEP_ALL: Final = Keep()


def check_backoff(value: object, what: str) -> Backoff:
    """Return a Backoff; a Duration is a fixed one, and 0 is at once."""
    if isinstance(value, Backoff):
        return value
    if not isinstance(value, int | str | timedelta):
        raise InvalidOptionType(
            f"{what} is {value!r} ({type(value).__name__}); it must be a duration or a Backoff, "
            'such as Backoff.exponential("1s")'
        )
    return Backoff.fixed(duration_ms(value, what))


def check_keep(value: object, what: str) -> Keep:
    """Return a Keep: True removes at once, False keeps for ever, an int keeps the last n."""
    if isinstance(value, Keep):
        return value
    if isinstance(value, bool):
        return KEEP_NONE if value else KEEP_ALL
    if not isinstance(value, int):
        raise InvalidOptionType(
            f"{what} is {value!r} ({type(value).__name__}); it must be a bool, a number of jobs or a Keep"
        )
    if value < 0:
        raise InvalidOption(f"{what} is {value}; it must be 0 or more, or False to keep all")
    return Keep(count=value)


def not_available(name: str, value: object) -> InvalidOption:
    """Return the error for an option that this version only knows the name of."""
    return InvalidOption(f"{name}={value!r} is not available in this version of bullrush; leave it out")
