"""Look at jobs: one by its id, many by their state, and how many there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

from bullrush._core.session import ReplyError
from bullrush.codec import Values
from bullrush.errors import CodecError, ServerError
from bullrush.operations.outcomes import Outcome, read_outcome
from bullrush.operations.requests import Argument, Numbered, Operation, Run, read, script_frame
from bullrush.options import STATES, State

if TYPE_CHECKING:
    from bullrush.codec import AnyCodec
    from bullrush.keys import Keys

RETRIES = 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What Redis holds of one job at one moment."""

    id: str
    record: bytes
    attempts: bytes | None
    outcome: Outcome | None
    progress: bytes | None
    state: State | Literal["unknown"] | None
    plan: bytes | None = None
    due: int = 0


def worker_numbers(keys: Keys) -> Operation[list[bytes]]:
    """Return the registered numbers of workers."""
    replies = cast("list[list[bytes]]", (yield read(("ZRANGE", keys["workers"], 0, -1))))
    return replies[0]


def held_keys(keys: Keys) -> Operation[tuple[bytes, ...]]:
    """Return the keys of the sets that workers hold, for scripts that must declare them."""
    numbers = yield from worker_numbers(keys)
    return tuple(keys.held(number.decode()) for number in numbers)


def ask_with_held(keys: Keys, ask: Callable[[tuple[bytes, ...]], Run | Numbered]) -> Operation[str]:
    """Ask a script that must declare the held sets of all workers; again when one came or went meanwhile.

    Raises ServerError when that happens again and again; nothing was changed.
    """
    for _ in range(RETRIES):
        held = yield from held_keys(keys)
        try:
            reply = yield ask(held)
        except ReplyError as error:
            if str(error).startswith("RETRY"):
                continue
            raise
        return cast("bytes", reply).decode()
    raise ServerError(
        f"workers came and went {RETRIES} times while this was asked: nothing was changed; ask again",
        took_effect=False,
    )


def get_state(keys: Keys, job_id: str) -> Operation[State | Literal["unknown"]]:
    """Return the state of a job, read at one moment."""
    reply = yield from ask_with_held(keys, lambda held: Run(script_frame("state", keys, held), (job_id,)))
    return cast("State", reply)


def get_snapshot(keys: Keys, job_id: str, codec: AnyCodec | None) -> Operation[Snapshot | None]:
    """Read one job; None when there is none."""
    found = yield from get_snapshots(keys, [job_id], codec)
    if not found:
        return None
    state = yield from get_state(keys, job_id)
    due = found[0].due if state == "delayed" else 0
    return replace(found[0], state=state, due=due)


def get_snapshots(
    keys: Keys, ids: Sequence[str], codec: AnyCodec | None, state: State | None = None
) -> Operation[list[Snapshot]]:
    """Read several jobs in one round trip; those that are gone are left out."""
    if not ids:
        return []
    names = ("jobs", "attempts", "outcomes", "progress", "plans")
    commands: list[tuple[Argument, ...]] = [("HMGET", keys[name], *ids) for name in names]
    # One job's state is asked afterwards, that of a page is known.
    if state in (None, "delayed"):
        commands.append(("ZMSCORE", keys["delayed"], *ids))
    elif state == "waiting":
        commands.append(("SMISMEMBER", keys["removed"], *ids))
    replies = cast("list[list[bytes | None]]", (yield read(*commands)))
    records, attempts, outcomes, progress, plans = replies[:5]
    last = replies[5] if len(replies) > 5 else [None] * len(ids)
    result: list[Snapshot] = []
    values = Values(codec, keys.queue)
    for i, record in enumerate(records):
        if record is None or (state == "waiting" and last[i]):
            continue
        packed = outcomes[i]
        outcome = None if packed is None else _readable_outcome(packed, values, ids[i])
        due = 0 if state == "waiting" else _due(last[i])
        result.append(Snapshot(ids[i], record, attempts[i], outcome, progress[i], state, plans[i], due))
    return result


def _due(score: bytes | None) -> int:
    """The due time in the score of a delayed job, a float as text."""
    return 0 if score is None else int(float(score)) // 4096


def _readable_outcome(packed: bytes, values: Values, job_id: str) -> Outcome | None:
    """One outcome that cannot be read must not hide a page of others."""
    try:
        return read_outcome(packed, values, job_id)
    except (CodecError, LookupError, TypeError, ValueError):
        return None


def get_counts(keys: Keys, states: Sequence[State]) -> Operation[dict[State, int]]:
    """Count the jobs of each state; all states when none is named."""
    replies = yield read(
        ("LLEN", keys["waiting"]),
        ("LLEN", keys["suspects"]),
        ("SCARD", keys["removed"]),
        ("ZCARD", keys["prioritized"]),
        ("ZCARD", keys["delayed"]),
        ("HGET", keys["meta"], "held"),
        ("ZCARD", keys["completed"]),
        ("ZCARD", keys["failed"]),
    )
    waiting, suspects, removed, prioritized, delayed, held, completed, failed = cast("list[int]", replies)
    counts: dict[State, int] = {
        "waiting": waiting + suspects - removed,
        "prioritized": prioritized,
        "delayed": delayed,
        "active": int(held or 0),
        "waiting-children": 0,
        "completed": completed,
        "failed": failed,
    }
    return {state: counts[state] for state in states or STATES}


def list_ids(keys: Keys, state: State, start: int, end: int, ascending: bool) -> Operation[list[str]]:
    """Return the ids of one state between two positions, the end included.

    The newest come first unless `ascending`.
    """
    if state == "waiting":
        return (yield from _list_waiting(keys, start, end, ascending))
    if state == "active":
        ids = yield from _list_active(keys)
    elif state == "waiting-children":
        return []
    else:
        verb = "ZRANGE" if ascending else "ZREVRANGE"
        replies = cast("list[list[bytes]]", (yield read((verb, keys[state], start, end))))
        return [id.decode() for id in replies[0]]
    ordered = sorted(ids, key=lambda id: (len(id), id), reverse=not ascending)
    return ordered[start : None if end == -1 else end + 1]


def _list_waiting(keys: Keys, start: int, end: int, ascending: bool) -> Operation[list[str]]:
    """The head of a list, which is claimed next, is its right end; suspects stand before everything.

    Some of the ids may be ghosts, whose jobs are gone or elsewhere.
    """
    waiting, suspects = yield from _lengths(keys)
    last = waiting + suspects - 1
    first = start if start >= 0 else max(0, last + 1 + start)
    stop = min(end, last) if end >= 0 else last + 1 + end
    low, high = (last - stop, last - first) if ascending else (first, stop)
    if low > high:
        return []
    # Both lists as one, the left end of `waiting` first.
    commands: list[tuple[Argument, ...]] = []
    if low < waiting:
        commands.append(("LRANGE", keys["waiting"], low, min(high, waiting - 1)))
    if high >= waiting:
        commands.append(("LRANGE", keys["suspects"], max(0, low - waiting), high - waiting))
    replies = cast("list[list[bytes]]", (yield read(*commands)))
    ids = [element.lstrip(b"\1\2").decode() for elements in replies for element in elements]
    return ids[::-1] if ascending else ids


def _lengths(keys: Keys) -> Operation[list[int]]:
    return cast("list[int]", (yield read(("LLEN", keys["waiting"]), ("LLEN", keys["suspects"]))))


def _list_active(keys: Keys) -> Operation[list[str]]:
    held = yield from held_keys(keys)
    if not held:
        return []
    replies = cast("list[list[bytes]]", (yield read(*[("SMEMBERS", key) for key in held])))
    return [id.decode() for ids in replies for id in ids]


def cancel(keys: Keys, job_id: str, reason: str) -> Operation[str]:
    """Cancel a job: "removed", "signalled" (a worker holds it), "finished" or "unknown"."""

    def ask(held: tuple[bytes, ...]) -> Numbered:
        signals = (key.replace(b":held:", b":signals:") for key in held)
        return Numbered(script_frame("cancel", keys, (*held, *signals)), (job_id, reason))

    return (yield from ask_with_held(keys, ask))


def remove(keys: Keys, job_id: str) -> Operation[str]:
    """Remove a job that nobody holds: "removed", "unknown" or "active"."""
    return (
        yield from ask_with_held(keys, lambda held: Numbered(script_frame("remove", keys, held), (job_id,)))
    )
