"""What programs beside the handler say of a job or a queue: progress, log lines, events, keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bullrush._core.codec import encode
from bullrush.operations.requests import Numbered, Operation, read, script_frame

if TYPE_CHECKING:
    from bullrush.keys import Keys


def report_progress(keys: Keys, job_id: str, packed: bytes) -> Operation[bool]:
    """Store progress; False when there is no such job."""
    reply = yield Numbered(script_frame("report", keys), (job_id, "p", packed, ""))
    return reply != b"-1"


def add_log(keys: Keys, job_id: str, line: bytes, keep: int | None) -> Operation[int]:
    """Add a log line, keeping the last ones; returns how many there are, -1 when there is no such job."""
    reply = yield Numbered(script_frame("report", keys), (job_id, "g", line, "" if keep is None else keep))
    return int(cast("bytes", reply))


def clear_logs(keys: Keys, job_id: str, keep: int) -> Operation[None]:
    """Remove log lines, all but the last ones."""
    yield Numbered(script_frame("trim_logs", keys), (job_id, keep))


def publish_event(keys: Keys, kind: str, packed: bytes) -> Operation[None]:
    """Write an event of the users' own."""
    yield Numbered(script_frame("announce", keys), (encode(kind) + packed,))


def trim_events(keys: Keys, length: int) -> Operation[int]:
    """Remove the oldest entries of the stream; returns how many."""
    replies = cast("list[int]", (yield read(("XTRIM", keys["events"], "MAXLEN", length))))
    return replies[0]


def get_key_holder(keys: Keys, key: str) -> Operation[str | None]:
    """Return the job that holds a deduplication key; None when the key is free or its time is over."""
    replies = yield read(("TIME",), ("HGET", keys["dedup"], f"k{key}"))
    (seconds, micros), holder = cast("tuple[list[bytes], bytes | None]", replies)
    if holder is None:
        return None
    job_id, limit = holder.decode().rsplit(" ", 1)
    now = int(seconds) * 1000 + int(micros) // 1000
    return job_id if limit == "0" or int(limit) > now else None


def free_key(keys: Keys, key: str) -> Operation[bool]:
    """Free a deduplication key; False when it was free."""
    reply = yield Numbered(script_frame("free", keys), (key,))
    return reply == b"1"
