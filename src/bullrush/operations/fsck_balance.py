"""Examine what belongs to a queue as a whole: its keys, and numbers that must agree."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TypeAlias, cast

from bullrush.keys import TYPES
from bullrush.operations.fsck_requests import Examined, parts, text_of, with_held
from bullrush.operations.requests import Operation, read

_Numbers: TypeAlias = "list[bytes | int]"
_Flat: TypeAlias = "list[bytes]"
_Balance: TypeAlias = "tuple[int, _Flat, _Numbers, _Flat, _Flat, int, _Flat, int, bytes | None]"
NUMBERED = {"held": "set", "signals": "list"}
EXPIRING = {"limiter", "signals"}
NUMBER = re.compile(r"-?\d+")
NUMBERS = (
    *("paused", "listen", "held", "sequence", "number", "bytes", "longest_lease", "timer", "limited", "full"),
    *("window", "special", "completed", "failed"),
)
FIELDS = {
    "concurrency": NUMBER,
    "rate": re.compile(r"\d+ \d+(?: \d+)?"),
    "bucket": re.compile(r"\S+ \d+"),
    "epoch": re.compile(r"\S+"),
    "codec": re.compile(r".+"),
    "events": re.compile("all|outcomes|off"),
    "past": re.compile(r"(?:[cf]\d+:\d+ ?)*"),
} | dict.fromkeys(NUMBERS, NUMBER)


def look_at_keys(found: Examined) -> Operation[bool]:
    """Find every key under the queue's name; says whether the rest can be examined."""
    base = found.keys[""]
    names: set[bytes] = set()
    cursor = b"0"
    while True:
        replies = yield read(("SCAN", cursor, "MATCH", base + b"*", "COUNT", 1000))
        cursor, some = cast("list[tuple[bytes, list[bytes]]]", replies)[0]
        names.update(some)
        if cursor == b"0":
            break
    usable = True
    for some_names in parts(sorted(names), 200):
        replies = yield read(
            *(("TYPE", name) for name in some_names), *(("PTTL", name) for name in some_names)
        )
        kinds, ends = _halves(cast("list[object]", replies))
        for name, kind, end in zip(some_names, kinds, ends, strict=True):
            usable &= _see_key(found, text_of(name[len(base) :]), _word(kind), cast("int", end))
    found.count("keys", len(names))
    layout = (
        cast("list[bytes | None]", (yield read(("HGET", found.keys["meta"], "layout")))) if usable else []
    )
    if layout and layout[0] not in (None, b"1"):
        found.tell("layout", "meta", layout[0] or b"")
        return False
    return usable


def _halves(replies: list[object]) -> tuple[list[object], list[object]]:
    middle = len(replies) // 2
    return replies[:middle], replies[middle:]


def _word(kind: object) -> str:
    return text_of(kind) if isinstance(kind, bytes | str) else str(kind)


def _see_key(found: Examined, name: str, kind: str, end: int) -> bool:
    """Judge one key; says whether what it holds can be read."""
    first, _, number = name.partition(":")
    expected = TYPES.get(name) or (NUMBERED.get(first) if number else None)
    if kind == "none":
        return True
    if expected is None:
        found.tell("unknown", name, kind)
        return True
    if kind != expected:
        found.tell("type", name, f"{kind}, not {expected}")
        return False
    if end >= 0 and first not in EXPIRING:
        found.tell("expires", name)
    if first == "held":
        found.orphaned.add(number)
    return True


def check_balance(found: Examined) -> Operation[None]:
    """Compare the numbers that must agree, as they are at one moment."""
    reply = cast("_Balance", (yield from with_held(found, "balance", ())))
    now, meta, sets, workers, hosts, removed, event, starts, ids = reply
    fields, held = _map(meta), {text_of(number): cast("int", size) for number, size in _pairs(sets)}
    leases = {number: float(end) for number, end in _map(workers).items()}
    if "layout" in fields:
        _check_fields(found, fields)
        _check_counts(found, fields, held, removed, starts, now)
        _check_events(found, fields, _map(event))
        _check_leases(found, fields, leases, _map(hosts), now)
    elif found.checked.get("keys"):
        found.tell("meta", "layout", "missing: the next client that connects makes it anew")
    for number in leases.keys() ^ _map(hosts).keys():
        found.tell("worker", number, "in workers only" if number in leases else "in hosts only")
    for number, size in held.items():
        if size and number not in leases:
            found.tell("held", number, f"{size} jobs")
    if found.highest > int(ids or 0):
        found.tell("ids", str(found.highest), f"the counter is at {int(ids or 0)}")


def _pairs(flat: Sequence[bytes | int]) -> list[tuple[bytes, bytes | int]]:
    return list(zip(cast("Sequence[bytes]", flat[::2]), flat[1::2], strict=True))


def _map(flat: Sequence[bytes | int]) -> dict[str, str]:
    return {text_of(name): text_of(cast("bytes", value)) for name, value in _pairs(flat)}


def _number(fields: dict[str, str], name: str) -> int:
    text = fields.get(name, "0")
    return int(text) if NUMBER.fullmatch(text) else 0


def _check_fields(found: Examined, fields: dict[str, str]) -> None:
    for name, text in fields.items():
        pattern = FIELDS.get(name)
        if pattern is not None and not pattern.fullmatch(text):
            found.tell("meta", name, text[:40])


def _check_counts(
    found: Examined, fields: dict[str, str], held: dict[str, int], removed: int, starts: int, now: int
) -> None:
    total = sum(held.values())
    if _number(fields, "held") != total:
        found.tell("count", "held", f"{fields.get('held')} instead of {total}")
    limited = "concurrency" in fields or "rate" in fields or _number(fields, "limited") > now
    if (limited or removed) and fields.get("special") != "1":
        found.tell("special", "special", fields.get("special", "missing"))
    if starts >= 0 and _number(fields, "window") != starts:
        found.tell("window", "window", f"{fields.get('window')} instead of {starts}")


def _check_events(found: Examined, fields: dict[str, str], last: dict[str, str]) -> None:
    if last and _number(fields, "number") < _number(last, "n"):
        found.tell("events", "number", f"{fields.get('number')}, the last entry has {last.get('n')}")


def _check_leases(
    found: Examined, fields: dict[str, str], leases: dict[str, float], hosts: dict[str, str], now: int
) -> None:
    told = {number: _lease(host) for number, host in hosts.items() if number in leases}
    longest = _number(fields, "longest_lease")
    if told and longest < max(told.values()):
        found.tell("lease", str(max(told.values())), f"the longest is {longest}")
        longest = max(told.values())
    for number, end in leases.items():
        if longest and end > now + 2 * longest:
            found.tell("deadline", number, f"{(end - now) / 1000:.0f} s ahead")


def _lease(host: str) -> int:
    """The lease that a worker told; other clients may tell none."""
    try:
        told: object = json.loads(host)
    except ValueError:
        return 0
    lease = cast("dict[str, object]", told).get("lease") if isinstance(told, dict) else None
    return lease if isinstance(lease, int) else 0
