"""Change a queue as a whole: pause, resume, obliterate."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bullrush._core.frames import ScriptFrame
from bullrush.operations.jobs import ask_with_held
from bullrush.operations.requests import Numbered, Operation, Run, read, script_frame
from bullrush.scripts import load

if TYPE_CHECKING:
    from bullrush.keys import Keys


def set_paused(keys: Keys, paused: bool) -> Operation[bool]:
    """Pause or resume; returns whether that changed anything."""
    reply = yield Numbered(script_frame("pause", keys), (1 if paused else 0,))
    return int(cast("bytes | int", reply)) == 1


def is_paused(keys: Keys) -> Operation[bool]:
    """Say whether the queue is paused."""
    replies = cast("list[bytes | None]", (yield read(("HGET", keys["meta"], "paused"))))
    return replies[0] == b"1"


def obliterate(keys: Keys, force: bool) -> Operation[str]:
    """Remove every key: "ok", or "notpaused" or "active" and nothing was removed."""
    script = load("obliterate")

    def ask(held: tuple[bytes, ...]) -> Run:
        rest = [key.replace(b":held:", b":signals:") for key in held]
        rest += [key for key in keys.all() if key not in (keys["meta"], keys["workers"])]
        everything = [keys["meta"], keys["workers"], *held, *rest]
        frame = ScriptFrame(script.name, script.sha, script.source, everything)
        return Run(frame, (1 if force else 0, len(held)))

    return (yield from ask_with_held(keys, ask))


def get_logs(keys: Keys, job_id: str, start: int, end: int) -> Operation[tuple[list[str], int]]:
    """Return log lines between two positions, the end included, and how many there are."""
    low, high = f"[{job_id}\0".encode(), f"({job_id}\1".encode()
    count = -1 if end == -1 else end - start + 1
    replies = yield read(
        ("ZRANGEBYLEX", keys["logs"], low, high, "LIMIT", start, count),
        ("ZLEXCOUNT", keys["logs"], low, high),
    )
    members, total = cast("tuple[list[bytes], int]", replies)
    skip = len(low) - 1 + 17
    return [member[skip:].decode() for member in members], total


def is_due(keys: Keys, now: int) -> Operation[bool]:
    """Say whether a delayed job's time has come, by the server's clock in ms."""
    limit = (now + 1) * 4096
    replies = cast("list[int]", (yield read(("ZCOUNT", keys["delayed"], "-inf", f"({limit}"))))
    return replies[0] > 0
