"""What a queue did, minute by minute: how many jobs ended, and how long they waited and ran."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from bullrush._core.histogram import Histogram
from bullrush.errors import InvalidOption
from bullrush.operations.requests import Argument, Operation, read
from bullrush.options import Time, time_ms

if TYPE_CHECKING:
    from bullrush.keys import Keys

MetricKind: TypeAlias = Literal["completed", "failed"]
KINDS: Final = ("completed", "failed")
# What meta has of minutes that were not moved yet: a number for each kind, and the past.
_Tally: TypeAlias = "list[bytes | None]"

MINUTE: Final = 60_000
# For how many minutes counts are kept, and for how many of these the latencies as well: see measure.lua.
COUNTED: Final = 7 * 24 * 60
DETAILED: Final = 24 * 60
PAGE: Final = 500
RETRIES: Final = 20
# How many buckets the histogram has; a number beyond is none of ours.
BUCKETS: Final = 1018
SHOWN: Final = 60

# A running minute in meta is minute * PER_MINUTE + count.
PER_MINUTE: Final = 2**26

_COUNTS: Final = re.compile(rb"(\d{1,15}) (\d{1,15}) (\d{1,15})")
_PAST: Final = re.compile(rb"([cf])(\d{1,15}):(\d{1,15})")
_NUMBER: Final = re.compile(rb"\d{1,18}")
_BUCKET: Final = re.compile(r"(\d{1,15}):(\d{1,15})")


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long something took, in ms: how often it was measured, three percentiles, and the longest.

    Percentiles are 3 % off at most (0.0 without any measure); nothing took longer than `max`, which is 6 %
    too large at most. `buckets` has what they are made of, so that merging loses nothing.
    """

    count: int = 0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0
    buckets: tuple[tuple[int, int], ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, counts: Mapping[int, int]) -> Latencies:
        """Make it from counts by bucket of the histogram in µs."""
        buckets = tuple(sorted((bucket, count) for bucket, count in counts.items() if count))
        if not buckets:
            return cls()
        total = sum(count for _, count in buckets)
        p50, p95, p99 = (_middle(_ranked(buckets, ceil(total * share / 100))) for share in (50, 95, 99))
        return cls(total, p50, p95, p99, Histogram.bounds(buckets[-1][0])[1] / 1000, buckets)

    def merge(self, other: Latencies) -> Latencies:
        """Return both together, as if all had been measured in one place."""
        counts = dict(self.buckets)
        for bucket, count in other.buckets:
            counts[bucket] = counts.get(bucket, 0) + count
        return Latencies.of(counts)


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """How many jobs ended in the minute that began `at`, in ms since the epoch."""

    at: int
    count: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """How many jobs of a queue ended in one way.

    `total` counts since the queue began, whether their minutes are kept or not. `points` has every minute of
    the range that is kept (7 days), those without jobs too, the oldest first. `wait` (from due to started,
    first attempts) and `run` (of completed jobs) are over the same range as far as they are kept (1 day);
    workers tell them every 10 s, so the last ones may be missing.
    """

    kind: MetricKind
    total: int
    points: tuple[MetricPoint, ...]
    wait: Latencies
    run: Latencies


def _ranked(buckets: Sequence[tuple[int, int]], rank: int) -> int:
    """The bucket of a place in order, 1 the shortest."""
    upto = accumulate(count for _, count in buckets)
    return next(bucket for (bucket, _), below in zip(buckets, upto, strict=True) if below >= rank)


def _middle(bucket: int) -> float:
    """The value in ms that is off by the same ratio from both ends of a bucket."""
    low, high = Histogram.bounds(bucket)
    return 2 * low * high / (low + high) / 1000 if low else 0.0


# Reading.


@dataclass(frozen=True, slots=True)
class Span:
    """A range of minutes since the epoch, both ends included; empty when the last is before the first."""

    first: int
    last: int

    @property
    def minutes(self) -> range:
        """All of them."""
        return range(self.first, self.last + 1)


def check_kind(kind: str) -> None:
    """Refuse what cannot be asked for."""
    if kind not in KINDS:
        raise InvalidOption(f"kind={kind!r} is none of {', '.join(map(repr, KINDS))}")


def read_metrics(keys: Keys, kind: MetricKind, start: Time | None, end: Time | None) -> Operation[Metrics]:
    """Read the metrics of a range; without ends the last 60 minutes."""
    check_kind(kind)
    wanted = _bounds(start, end)
    span, counts, totals = Span(0, -1), dict[int, tuple[int, int]](), (0, 0)
    found = dict[str, bytes]()
    for _ in range(RETRIES):
        tally, seconds = yield from _tally_and_time(keys)
        span = _span(wanted, seconds // 60)
        after, found = yield from _stored(keys, span, seconds // 60)
        counts, totals = _merge(tally, found)
        # A minute that was moved in between would be seen twice, or not at all.
        if _minutes_of(tally) == _minutes_of(after):
            break
    place = KINDS.index(kind)
    points = tuple(MetricPoint(minute * MINUTE, counts.get(minute, (0, 0))[place]) for minute in span.minutes)
    wait, run = _latencies(span, found)
    return Metrics(kind, totals[place], points, wait, run)


def _bounds(start: Time | None, end: Time | None) -> tuple[int | None, int | None]:
    first = None if start is None else time_ms(start, "start") // MINUTE
    last = None if end is None else time_ms(end, "end") // MINUTE
    if first is not None and last is not None and first > last:
        raise InvalidOption(f"start={start!r} is after end={end!r}: no minute lies between them")
    return first, last


def _span(wanted: tuple[int | None, int | None], now: int) -> Span:
    """What is asked for as far as it is kept and not in the future, in minutes."""
    first, last = wanted
    last = now if last is None else min(last, now)
    first = last - SHOWN + 1 if first is None else first
    return Span(max(first, now - COUNTED + 1), last)


def _tally_and_time(keys: Keys) -> Operation[tuple[_Tally, int]]:
    replies = yield read(_tally_command(keys), ("TIME",))
    tally, (seconds, _) = cast("tuple[_Tally, list[bytes]]", replies)
    return tally, int(seconds)


def _tally_command(keys: Keys) -> tuple[Argument, ...]:
    return ("HMGET", keys["meta"], *KINDS, "past")


def _stored(keys: Keys, span: Span, now: int) -> Operation[tuple[_Tally, dict[str, bytes]]]:
    """The fields of a range, a few hundred a command, and the tally behind them."""
    fields = ["completed", "failed", *(f"c{minute % COUNTED}" for minute in span.minutes)]
    fields += [f"h{minute % DETAILED}" for minute in span.minutes if minute > now - DETAILED]
    pages = [fields[at : at + PAGE] for at in range(0, len(fields), PAGE)]
    commands: list[tuple[Argument, ...]] = [("HMGET", keys["metrics"], *page) for page in pages]
    *values, tally = cast("list[list[bytes | None]]", (yield read(*commands, _tally_command(keys))))
    flat = (value for page in values for value in page)
    found = {name: value for name, value in zip(fields, flat, strict=True) if value is not None}
    return tally, found


def _pending(tally: _Tally) -> list[tuple[int, int, int]]:
    """What has not been moved, the running minutes first: minute, place of the kind, count."""
    *running, past = tally
    found = list[tuple[int, int, int]]()
    for place, number in enumerate(running):
        if number is not None and _NUMBER.fullmatch(number):
            minute, count = divmod(int(number), PER_MINUTE)
            found.append((minute, place, count))
    for match in _PAST.finditer(past or b""):
        found.append((int(match[2]), b"cf".index(match[1]), int(match[3])))
    return found


def _minutes_of(tally: _Tally) -> list[tuple[int, int]]:
    return [(minute, place) for minute, place, _ in _pending(tally)]


def _merge(tally: _Tally, found: Mapping[str, bytes]) -> tuple[dict[int, tuple[int, int]], tuple[int, int]]:
    """Counts by minute, and the totals: what has been moved, and what has not."""
    totals = [int(found.get(name, b"0")) for name in KINDS]
    counts = dict[int, list[int]]()
    for name, value in found.items():
        match = _COUNTS.fullmatch(value) if name[0] == "c" and name not in KINDS else None
        if match is not None:
            counts[int(match[1])] = [int(match[2]), int(match[3])]
    for minute, place, count in _pending(tally):
        totals[place] += count
        counts.setdefault(minute, [0, 0])[place] += count
    return {minute: (both[0], both[1]) for minute, both in counts.items()}, (totals[0], totals[1])


def _latencies(span: Span, found: Mapping[str, bytes]) -> tuple[Latencies, Latencies]:
    waits, runs = list[str](), list[str]()
    for minute in span.minutes:
        parts = found.get(f"h{minute % DETAILED}", b"").decode(errors="replace").split("|")
        if len(parts) == 3 and parts[0] == str(minute):
            waits.append(parts[1])
            runs.append(parts[2])
    return Latencies.of(_summed(waits)), Latencies.of(_summed(runs))


def _summed(texts: Iterable[str]) -> dict[int, int]:
    counts = dict[int, int]()
    for bucket, count in _BUCKET.findall(" ".join(texts)):
        number = int(bucket)
        if number < BUCKETS:
            counts[number] = counts.get(number, 0) + int(count)
    return counts


def bucket_text(counts: Mapping[int, int]) -> str:
    """Write counts by bucket as measure.lua takes them."""
    return " ".join(f"{bucket}:{count}" for bucket, count in counts.items())
