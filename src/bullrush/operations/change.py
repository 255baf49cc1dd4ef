"""Change one job. Each returns None once it is done, or the state in which it cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from bullrush._core.codec import decode_record, encode_record
from bullrush.codec import Envelope, data_context
from bullrush.errors import PayloadTooLarge
from bullrush.operations.jobs import RETRIES, ask_with_held, get_state
from bullrush.operations.requests import Numbered, Operation, read, script_frame

if TYPE_CHECKING:
    from bullrush.codec import AnyCodec
    from bullrush.keys import Keys
    from bullrush.options import State

# A record above this travels badly and blocks the server: store large content elsewhere.
MAX_RECORD = 16 * 1024 * 1024

Refusal: TypeAlias = "State | Literal['unknown'] | None"


def retry(keys: Keys, job_id: str, reset: bool) -> Operation[Refusal]:
    """Run a finished job again, with the attempts it made or with none."""
    arguments = ("", "", 1, 1 if reset else 0, job_id)
    return (yield from _move("retry", keys, arguments, job_id, ("completed", "failed")))


def promote(keys: Keys, job_id: str) -> Operation[Refusal]:
    """Let a delayed job stand in line now."""
    return (yield from _move("promote", keys, (1, job_id), job_id, ("delayed",)))


def change_delay(keys: Keys, job_id: str, kind: Literal["d", "t"], ms: int) -> Operation[Refusal]:
    """Change when a delayed job is due: `ms` from now (d), or at that time (t)."""
    return (yield from _move("delay", keys, (job_id, kind, ms), job_id, ("delayed",)))


def _move(
    script: str, keys: Keys, arguments: tuple[str | int, ...], job_id: str, states: tuple[State, ...]
) -> Operation[Refusal]:
    """A script that answers 0 for a job in none of these states; which one it is in is asked afterwards."""
    state: Refusal = "unknown"
    for _ in range(RETRIES):
        answer = cast("bytes", (yield Numbered(script_frame(script, keys), arguments)))
        if answer.split()[0] != b"0":
            return None
        state = yield from get_state(keys, job_id)
        if state not in states:
            break
    return state


def change_priority(keys: Keys, job_id: str, priority: int, lifo: bool) -> Operation[Refusal]:
    """Give a job another priority."""
    arguments = (job_id, priority, 1 if lifo else 0)
    state = yield from ask_with_held(
        keys, lambda held: Numbered(script_frame("prioritize", keys, held), arguments)
    )
    return cast("State", state) if state in ("completed", "failed", "unknown") else None


def update_data(
    keys: Keys, job_id: str, data: object, codec: AnyCodec | None, limit: int
) -> Operation[bytes | None]:
    """Store other data for a job and return its new record; None when there is no such job.

    Raises CodecError, or PayloadTooLarge when the record is longer than `limit`; nothing was changed.
    """
    if codec is None or data is None:
        packed = data
    else:
        packed = codec.prepare(data) if isinstance(codec, Envelope) else codec.encode(data)
    replies = cast("list[bytes | None]", (yield read(("HGET", keys["jobs"], job_id))))
    if replies[0] is None:
        return None
    name, timestamp, options, _ = decode_record(replies[0])
    if isinstance(codec, Envelope) and isinstance(packed, bytes):
        packed = codec.seal(packed, data_context(keys.queue, name, job_id))
    record = encode_record(name, timestamp, options, packed)
    if len(record) > limit:
        raise PayloadTooLarge(
            f"job {job_id} would take {len(record):,} bytes, the limit is {limit:,}: its data was "
            "not changed; store large content elsewhere and put a reference into the job"
        )
    reply = yield Numbered(script_frame("rewrite", keys), (job_id, record))
    return record if reply == b"1" else None
