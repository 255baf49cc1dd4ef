"""Who works on a queue: the registered workers, and what they hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

from bullrush.operations.requests import Operation, read
from bullrush.options.durations import LAST_TIME

if TYPE_CHECKING:
    from bullrush.keys import Keys

# A worker holds its slots and what it claimed ahead: a list of all would be of no use to anybody.
MOST_IDS: Final = 1_000
_UNKNOWN: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker that is registered with a queue, as it was at one moment.

    `number` is random and changes when a lease was lost; `name` is what it was given. `lease` is in ms; the
    worker counts as dead when it is not renewed until `lease_until`. `alive` says that this is still ahead;
    a dead one is listed until its jobs were taken over (`lease_until` is None while that happens). `held` is
    how many jobs it holds, running or claimed ahead, and `jobs` are their ids, at most 1,000 of them. What
    the worker did not say or nobody can read is None.
    """

    number: str
    name: str | None
    host: str | None
    pid: int | None
    concurrency: int | None
    lease: int | None
    started_at: datetime | None
    alive: bool
    lease_until: datetime | None
    held: int
    jobs: tuple[str, ...]


def count_workers(keys: Keys) -> Operation[int]:
    """Count the registered workers, dead ones that were not taken over included."""
    replies = cast("list[int]", (yield read(("ZCARD", keys["workers"]))))
    return replies[0]


def list_workers(keys: Keys) -> Operation[list[WorkerInfo]]:
    """Read all registered workers, the oldest first, and then what they hold."""
    replies = yield read(
        ("ZRANGE", keys["workers"], 0, -1, "WITHSCORES"), ("HGETALL", keys["hosts"]), ("TIME",)
    )
    deadlines, hosts, (seconds, micros) = cast("tuple[object, object, list[bytes]]", replies)
    now = int(seconds) * 1000 + int(micros) // 1000
    registered, told = _pairs(deadlines), _pairs(hosts)
    if not registered:
        return []
    held = [keys.held(number.decode()) for number in registered]
    commands = [command for key in held for command in (("SCARD", key), ("SRANDMEMBER", key, MOST_IDS))]
    found = cast("list[object]", (yield read(*commands)))
    infos = [
        _info(
            number.decode(),
            int(float(deadline)),
            _host(told.get(number)),
            now,
            cast("int", found[2 * i]),
            cast("list[bytes]", found[2 * i + 1]),
        )
        for i, (number, deadline) in enumerate(registered.items())
    ]
    return sorted(infos, key=lambda info: (info.started_at or _UNKNOWN, info.number))


def _pairs(reply: object) -> dict[bytes, bytes]:
    """A reply of keys and values in turn, or in pairs, or a map, as the version of the protocol has it."""
    if isinstance(reply, dict):
        return cast("dict[bytes, bytes]", reply)
    items = cast("list[object]", reply)
    if items and isinstance(items[0], list):
        return dict(cast("list[tuple[bytes, bytes]]", items))
    flat = cast("list[bytes]", items)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _host(packed: bytes | None) -> Mapping[str, object]:
    """What a worker said of itself; nothing when that cannot be read."""
    try:
        told: object = json.loads(packed or b"{}")
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", told) if isinstance(told, dict) else {}


def _info(
    number: str, deadline: int, host: Mapping[str, object], now: int, held: int, ids: list[bytes]
) -> WorkerInfo:
    jobs = sorted((id.decode() for id in ids), key=lambda id: (len(id), id))
    return WorkerInfo(
        number=number,
        name=_text(host, "name"),
        host=_text(host, "host"),
        pid=_int(host, "pid"),
        concurrency=_int(host, "concurrency"),
        lease=_int(host, "lease"),
        started_at=_moment(_int(host, "started")),
        alive=deadline > now,
        lease_until=_moment(deadline),
        held=held,
        jobs=tuple(jobs),
    )


def _text(host: Mapping[str, object], name: str) -> str | None:
    value = host.get(name)
    return value if isinstance(value, str) else None


def _int(host: Mapping[str, object], name: str) -> int | None:
    value = host.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _moment(ms: int | None) -> datetime | None:
    return datetime.fromtimestamp(ms / 1000, UTC) if ms is not None and 0 < ms <= LAST_TIME else None
