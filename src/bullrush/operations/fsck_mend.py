"""Repair what was found: each call looks once more before it changes anything, and deletes no job."""

from __future__ import annotations

from typing import cast

from bullrush.operations.fsck_requests import Examined, parts, searches, with_held
from bullrush.operations.requests import Numbered, Operation, read, script_frame

# In this order: what is out of line leaves first, and numbers are set right at the end.
ORDER = (
    *("held", "corrupt", "twice", "attempts", "plan", "rank", "suspect", "unmarked", "lost", "ghost"),
    *(
        "orphan",
        "logged",
        "follower",
        "key",
        "expiry",
        "dedup",
        "session",
        "worker",
        "lease",
        "deadline",
        "special",
    ),
    *("events", "window", "ids", "count"),
)


def mend(found: Examined) -> Operation[int]:
    """Repair what can be; returns how many changes were made."""
    about: dict[str, list[str]] = {}
    for problem in found.problems.values():
        about.setdefault(problem.kind, []).append(problem.id)
    changes = 0
    if "expires" in about:
        replies = yield read(*(("PERSIST", found.keys[name]) for name in about["expires"]))
        changes += sum(cast("list[int]", replies))
    if ("meta", "layout") in found.problems:
        # Whoever opens a session makes it.
        yield Numbered(script_frame("reserve", found.keys), (0,))
        changes += 1
    for kind in ORDER:
        size = (yield from searches(found)) if kind in about else 1
        for some in parts(about.get(kind, []), size):
            changed = yield from _mend(found, kind, list(some))
            changes += changed
            while kind == "held" and changed:
                changed = yield from _mend(found, kind, list(some))
    return changes


def _mend(found: Examined, kind: str, about: list[str]) -> Operation[int]:
    return cast("int", (yield from with_held(found, "mend", (kind, *about))))
