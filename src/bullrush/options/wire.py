"""The options inside a job record: a msgpack map from option names to plain values.

Only what a worker needs and what differs from the default is written, so most jobs carry no map at all.
Unknown names are skipped, because a newer version may write more.

    delay, run_at, timeout, expires_in  int, ms
    priority, attempts, keep_logs, stack_trace_limit   int
    lifo                                true
    backoff                             {"kind": str, "delays": [ms], "factor": float, "jitter": float,
                                        "max_delay": ms, "name": str}, defaults left out
    remove_on_complete, remove_on_fail  {"count": int, "age": ms}, both optional
    deduplication                       {"id": str, "mode": str, "ttl": ms}, ttl optional
    weak                                [name]: options that only the queue's defaults gave
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final, cast, get_args

import msgpack  # pyright: ignore[reportMissingTypeStubs]

from bullrush.errors import CodecError
from bullrush.options.backoff import KINDS, Backoff, BackoffKind
from bullrush.options.texts import check_bool, check_choice, check_int, check_number, check_text
from bullrush.options.values import Deduplication, DeduplicationMode, Keep

_DEFAULTS: Final[dict[str, object]] = {"delay": 0, "priority": 0, "lifo": False, "attempts": 1}
_BACKOFF_DEFAULTS: Final[dict[str, object]] = {
    "delays": (),
    "factor": 2.0,
    "jitter": 0.0,
    "max_delay": None,
    "name": None,
}


def pack_options(values: Mapping[str, object]) -> bytes | None:
    """Return the map of checked option values, None if all that a worker needs is default."""
    plain = {
        name: _plain(values[name])
        for name in _READERS
        if name in values and values[name] != _DEFAULTS.get(name)
    }
    return _pack(plain) if plain else None


def unpack_options(wire: bytes) -> dict[str, object]:
    """Return the option values of a map, unknown names left out. Raises CodecError for anything else."""
    try:
        plain = _dict(_unpack(wire), "the options")
        return {name: _READERS[name](value, name) for name, value in plain.items() if name in _READERS}
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CodecError(f"the options of a job record cannot be read: {error}") from error


def _pack(plain: dict[str, object]) -> bytes:
    return cast("bytes", msgpack.packb(plain, use_bin_type=True))  # pyright: ignore[reportUnknownMemberType]


def _unpack(wire: bytes) -> object:
    return cast("object", msgpack.unpackb(wire, raw=False))  # pyright: ignore[reportUnknownMemberType]


def _plain(value: object) -> object:
    if isinstance(value, Backoff):
        return {"kind": value.kind, **_differing(value)}
    if isinstance(value, Deduplication):
        ttl = {} if value.ttl is None else {"ttl": value.ttl}
        return {"id": value.id, "mode": value.mode, **ttl}
    if isinstance(value, Keep):
        return {name: limit for name in ("count", "age") if (limit := getattr(value, name)) is not None}
    return value


def _differing(backoff: Backoff) -> dict[str, object]:
    return {
        name: value
        for name, default in _BACKOFF_DEFAULTS.items()
        if (value := getattr(backoff, name)) != default
    }


def _dict(value: object, what: str) -> dict[str, object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value)
    raise CodecError(f"{what} is {value!r}; it must be a map")


def _list(value: object, what: str) -> list[object]:
    if isinstance(value, list):
        return cast("list[object]", value)
    raise CodecError(f"{what} is {value!r}; it must be an array")


def _int(value: object, what: str) -> int:
    return check_int(value, what, 0)


def _optional_int(value: object, what: str) -> int | None:
    return None if value is None else _int(value, what)


def _attempts(value: object, what: str) -> int:
    return check_int(value, what, 1)


def _keep(value: object, what: str) -> Keep:
    limits = _dict(value, what)
    age = _optional_int(limits.get("age"), "age")
    return Keep(
        _optional_int(limits.get("count"), "count"), None if age is None else timedelta(milliseconds=age)
    )


def _deduplication(value: object, what: str) -> Deduplication:
    fields = _dict(value, what)
    mode = check_choice(fields.get("mode"), "mode", get_args(DeduplicationMode))
    id = check_text(fields.get("id"), "id")
    return Deduplication(id, _optional_int(fields.get("ttl"), "ttl"), cast("DeduplicationMode", mode))


def _names(value: object, what: str) -> tuple[str, ...]:
    return tuple(check_text(name, what) for name in _list(value, what))


def _backoff(value: object, what: str) -> Backoff:
    fields = _dict(value, what)
    kind = check_choice(fields.get("kind"), "kind", KINDS)
    delays = tuple(_int(delay, "delays") for delay in _list(fields.get("delays", []), "delays"))
    name = check_text(fields.get("name"), "name") if kind == "custom" else None
    return Backoff(
        cast("BackoffKind", kind),
        delays,
        check_number(fields.get("factor", 2.0), "factor", 1),
        check_number(fields.get("jitter", 0), "jitter", 0, 1),
        _optional_int(fields.get("max_delay"), "max_delay"),
        name,
    )


_READERS: Final[dict[str, Callable[[object, str], object]]] = {
    "delay": _int,
    "run_at": _int,
    "priority": _int,
    "lifo": check_bool,
    "attempts": _attempts,
    "backoff": _backoff,
    "timeout": _int,
    "expires_in": _int,
    "deduplication": _deduplication,
    "weak": _names,
    "remove_on_complete": _keep,
    "remove_on_fail": _keep,
    "keep_logs": _int,
    "stack_trace_limit": _int,
}
