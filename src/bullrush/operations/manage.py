"""Change many jobs at once, in pages: no call of the server takes long, however many there are.

What a page does happens at one moment. Jobs that come while pages go on are left alone: a bound taken at the
beginning keeps a busy queue from having no end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bullrush.operations.requests import Numbered, Operation, read, script_frame

if TYPE_CHECKING:
    from bullrush.keys import Keys
    from bullrush.options import State

PAGE = 500
BAND = 2**32  # of scores, for each priority


def _ask(name: str, keys: Keys, *arguments: str | int) -> Operation[str]:
    reply = yield Numbered(script_frame(name, keys), arguments)
    return cast("bytes", reply).decode()


def drain(keys: Keys, delayed: bool) -> Operation[int]:
    """Remove what waits; returns how many jobs."""
    total, bound = 0, None
    while bound is None or bound > 0:
        page = PAGE if bound is None else min(PAGE, bound)
        answer = yield from _ask("drain", keys, page, 1 if delayed else 0)
        removed, passed, left = map(int, answer.split())
        total += removed
        bound = left if bound is None else min(left, bound - passed)
    return total


def clean(keys: Keys, state: State, grace: int, limit: int) -> Operation[list[str]]:
    """Remove jobs of a state that are older than `grace` ms, at most `limit` (0: all); returns their ids."""
    cleaned: list[str] = []
    before, cursor = "", ""
    while True:
        page = min(PAGE, limit - len(cleaned)) if limit else PAGE
        answer = yield from _ask("clean", keys, state, grace, before, page, cursor)
        before, cursor, ids = answer.split("\n")
        cleaned += ids.split()
        if not cursor or len(cleaned) == limit > 0:
            return cleaned


def retry_jobs(keys: Keys, state: State, before: int | None, limit: int | None) -> Operation[int]:
    """Run finished jobs again, those that finished first; returns how many."""
    total, bound = 0, "" if before is None else str(before)
    while limit is None or total < limit:
        page = PAGE if limit is None else min(PAGE, limit - total)
        answer = yield from _ask("retry", keys, state, bound, page, 0, "")
        moved, bound = answer.split(" ")
        total += int(moved)
        if int(moved) < page:
            break
    return total


def promote_jobs(keys: Keys, limit: int | None) -> Operation[int]:
    """Let delayed jobs stand in line now, those due first; returns how many."""
    total, bound = 0, limit
    while bound is None or total < bound:
        page = PAGE if bound is None else min(PAGE, bound - total)
        answer = yield from _ask("promote", keys, page, "")
        moved, left = map(int, answer.split())
        if total == 0:
            bound = moved + left if bound is None else min(bound, moved + left)
        total += moved
        if moved < page:
            break
    return total


def counts_per_priority(keys: Keys, priorities: list[int]) -> Operation[dict[int, int]]:
    """Count the jobs in line of each priority; 0 is the waiting list."""
    replies = yield read(
        ("LLEN", keys["waiting"]),
        ("LLEN", keys["suspects"]),
        ("SCARD", keys["removed"]),
        *(("ZCOUNT", keys["prioritized"], each * BAND, f"({(each + 1) * BAND}") for each in priorities),
    )
    waiting, suspects, removed, *counts = cast("list[int]", replies)
    found = dict(zip(priorities, counts, strict=True))
    return {each: waiting + suspects - removed if each == 0 else count for each, count in found.items()}
