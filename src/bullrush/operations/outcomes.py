"""Read what is stored of a finished job.

Completed: [0, processed ms, finished ms, attempts made, attempts started, worker, value]
Failed:    [1, processed ms, finished ms, attempts made, attempts started, worker, reason, error type, stack]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from bullrush._core.codec import decode

if TYPE_CHECKING:
    from bullrush.codec import Values


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. Times are ms since the epoch, 0 = unknown."""

    completed: bool
    processed: int
    finished: int
    attempts_made: int
    attempts_started: int
    worker: str
    value: object
    reason: str | None
    error_type: str | None
    stack: str


def read_outcome(packed: bytes, values: Values, job_id: str) -> Outcome:
    """Decode a stored outcome; raises CodecError when the bytes are none."""
    fields = cast("list[object]", decode(packed))
    completed = fields[0] == 0
    processed, finished, made, started = cast("list[int]", fields[1:5])
    value = values.read(fields[6], job_id) if completed else None
    reason, error_type, stack = (None, None, "") if completed else cast("list[str]", fields[6:9])
    return Outcome(
        completed, processed, finished, made, started, str(fields[5]), value, reason, error_type, stack
    )
