"""Known holes of servers by version. A distribution may have mended one without changing the version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Version: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Hole:
    """One hole: what it is, since when, and the first good version of each branch that has one."""

    name: str
    what: str
    since: Version
    redis: tuple[Version, ...]
    valkey: tuple[Version, ...] = ()

    def is_in(self, version: Version, *, valkey: bool) -> bool:
        """Say whether a server of this version has it."""
        mended = self.valkey if valkey else self.redis
        if version < self.since or not mended:
            return False
        for good in mended:
            if version[:2] == good[:2]:
                return version < good
        return version < max(mended)


HOLES = (
    Hole(
        "CVE-2025-49844",
        "a Lua script of a logged-in user can run code in the server (use after free)",
        (2, 8),
        ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
        ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
    ),
    Hole(
        "CVE-2025-46817",
        "a Lua script of a logged-in user can overflow an integer in unpack",
        (2, 8),
        ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
        ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
    ),
    Hole(
        "CVE-2025-46818",
        "a Lua script can run in the name of another user",
        (2, 8),
        ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
        ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
    ),
    Hole(
        "CVE-2024-46981",
        "a Lua script of a logged-in user can misuse the garbage collector",
        (2, 8),
        ((6, 2, 17), (7, 2, 7), (7, 4, 2)),
        ((7, 2, 8), (8, 0, 2)),
    ),
    Hole(
        "CVE-2024-31449",
        "the Lua library `bit` can overflow the stack",
        (2, 8),
        ((6, 2, 16), (7, 2, 6), (7, 4, 1)),
        ((7, 2, 7), (8, 0, 1)),
    ),
    Hole(
        "CVE-2022-24834",
        "cjson and cmsgpack can overflow the heap",
        (2, 6),
        ((6, 0, 20), (6, 2, 13), (7, 0, 12)),
    ),
    Hole(
        "CVE-2026-23479",
        "evicting a client that blocks can free what is still used",
        (7, 2),
        ((8, 6, 3),),
    ),
)


def holes_of(version: Version, *, valkey: bool) -> list[Hole]:
    """The known holes of a server."""
    return [hole for hole in HOLES if hole.is_in(version, valkey=valkey)]


def version_of(text: str) -> Version:
    """Read "7.0.15"; what is no number ends it."""
    numbers: list[int] = []
    for part in text.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
