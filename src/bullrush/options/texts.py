"""Which texts may be names and ids, and plain checks of single values."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from bullrush.errors import InvalidOption, InvalidOptionType

MAX_TEXT: Final = 255

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PREFIX: Final = re.compile(r"(?=.{1,128}\Z)[A-Za-z0-9._-]*(?:\{[A-Za-z0-9._-]+\}[A-Za-z0-9._-]*)?")
_JOB_ID: Final = re.compile(r"[!-~]{1,128}")
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")


def check_name(value: object, what: str) -> str:
    """Return a queue name or scheduler id: 1 to 128 of A-Z a-z 0-9 . _ - or raise InvalidOption."""
    text = check_str(value, what)
    if not _NAME.fullmatch(text):
        raise InvalidOption(f"{what} is {text!r}; it must be 1 to 128 of A-Z a-z 0-9 . _ -")
    return text


def check_prefix(value: object, what: str = "prefix") -> str:
    """Return a prefix: a name, in which one pair of braces may mark the cluster slot, as in ``"{shop}"``."""
    text = check_str(value, what)
    if not _PREFIX.fullmatch(text):
        raise InvalidOption(
            f"{what} is {text!r}; it must be 1 to 128 of A-Z a-z 0-9 . _ - with at most one pair of braces"
        )
    return text


def check_job_id(value: object, what: str = "job_id") -> str:
    """Return a custom job id: 1 to 128 printable ASCII characters without blanks, no integer.

    Integers are refused because bullrush hands them out itself.
    """
    text = check_str(value, what)
    if not _JOB_ID.fullmatch(text):
        raise InvalidOption(
            f"{what} is {text!r}; it must be 1 to 128 printable ASCII characters without blanks"
        )
    if _INTEGER.fullmatch(text):
        raise InvalidOption(f'{what} is {text!r}; integers are given out by the queue, say "order-{text}"')
    return text


def check_text(value: object, what: str) -> str:
    """Return a job name, worker name, group or deduplication id: 1 to 255 bytes of UTF-8 without NUL."""
    text = check_str(value, what)
    if "\0" in text:
        raise InvalidOption(f"{what} is {text!r}; it must not contain NUL")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidOption(f"{what} is {text!r}, which UTF-8 cannot encode ({error.reason})") from None
    if not 1 <= size <= MAX_TEXT:
        raise InvalidOption(f"{what} has {size} bytes of UTF-8; it must have 1 to {MAX_TEXT}")
    return text


def check_str(value: object, what: str) -> str:
    """Return a str as it is; raise InvalidOptionType for anything else."""
    if isinstance(value, str):
        return value
    raise InvalidOptionType(f"{what} is {value!r} ({type(value).__name__}); it must be a str")


def check_bool(value: object, what: str) -> bool:
    """Return a bool as it is; raise InvalidOptionType for anything else."""
    if isinstance(value, bool):
        return value
    raise InvalidOptionType(f"{what} is {value!r} ({type(value).__name__}); it must be True or False")


def check_int(value: object, what: str, least: int, most: int = 2**53 - 1) -> int:
    """Return an int from ``least`` to ``most``; raise InvalidOption, or InvalidOptionType (bool too)."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidOptionType(f"{what} is {value!r} ({type(value).__name__}); it must be an int")
    if not least <= value <= most:
        raise InvalidOption(f"{what} is {value}; it must be from {least:,} to {most:,}")
    return int(value)


def check_number(value: object, what: str, least: float, most: float = 1e15) -> float:
    """Return an int or float from ``least`` to ``most`` as a float; NaN is out of every range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidOptionType(f"{what} is {value!r} ({type(value).__name__}); it must be a number")
    if not least <= value <= most:
        raise InvalidOption(f"{what} is {value}; it must be a number from {least} to {most}")
    return float(value)


def check_choice(value: object, what: str, choices: Collection[str]) -> str:
    """Return one of ``choices``; raise InvalidOption for another str, InvalidOptionType for no str."""
    text = check_str(value, what)
    if text not in choices:
        raise InvalidOption(f"{what} is {text!r}; it must be one of {', '.join(map(repr, choices))}")
    return text
