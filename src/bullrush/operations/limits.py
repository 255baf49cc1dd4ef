"""Limits on starts: how many jobs run at a time, how many start in a while, and holding all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from bullrush.errors import InvalidOptionType
from bullrush.operations.requests import Numbered, Operation, read, script_frame
from bullrush.options import RateLimit

if TYPE_CHECKING:
    from bullrush.keys import Keys

Limit: TypeAlias = Literal["concurrency", "rate", "limited"]


def rate_wire(limit: object) -> bytes | None:
    """Return a rate as it is stored; raises InvalidOptionType for anything else, and nothing was changed."""
    if limit is None or isinstance(limit, RateLimit):
        return None if limit is None else limit.wire
    raise InvalidOptionType(
        f"limit is {limit!r} ({type(limit).__name__}); it must be a RateLimit or None: nothing was changed"
    )


def set_limit(keys: Keys, limit: Limit, value: bytes | int | None) -> Operation[None]:
    """Set a limit, None lifts it; who waits looks again at once."""
    yield Numbered(script_frame("limit", keys), (limit, b"" if value is None else value))


def get_concurrency(keys: Keys) -> Operation[int | None]:
    """Return how many jobs may run at a time, None = any number."""
    replies = cast("list[bytes | None]", (yield read(("HGET", keys["meta"], "concurrency"))))
    return None if replies[0] is None else int(replies[0])


def get_rate(keys: Keys) -> Operation[RateLimit | None]:
    """Return the limit that holds for the queue, None = that of the workers."""
    replies = cast("list[bytes | None]", (yield read(("HGET", keys["meta"], "rate"))))
    return None if replies[0] is None else RateLimit(*map(int, replies[0].split()))


def get_closed_for(keys: Keys) -> Operation[int]:
    """Return for how many ms nothing starts, by the server's clock."""
    replies = yield read(("TIME",), ("HMGET", keys["meta"], "limited", "full"))
    (seconds, micros), fields = cast("tuple[list[bytes], list[bytes | None]]", replies)
    now = int(seconds) * 1000 + int(micros) // 1000
    return max(0, *(int(field or 0) - now for field in fields))


def is_maxed(keys: Keys) -> Operation[bool]:
    """Say whether as many jobs run as may."""
    replies = yield read(("HMGET", keys["meta"], "concurrency", "held"))
    limit, held = cast("list[list[bytes | None]]", replies)[0]
    return limit is not None and int(held or 0) >= int(limit)
