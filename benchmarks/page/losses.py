"""Where others win, or come close: computed, so that nothing is left out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.figures import Row
from benchmarks.page import words
from benchmarks.page.results import FLOOR, OURS, Measured, role, value_of
from benchmarks.page.tables import PERCENTILES

CLOSE = 0.9
# Figures that people look at besides the one that decides; all should be small.
BESIDES: dict[str, tuple[str, ...]] = {
    "latency_idle": ("p99_ms", "p999_ms"),
    "latency_paced": ("p99_ms", "p999_ms"),
    "latency_load": ("p50_ms", "p999_ms"),
    "add_sequential": ("times_ping",),
    "worker_idle": ("requests_per_s",),
    "growth": ("slowest_call_ms",),
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A rival's figure beside ours; `ratio` above 1: the rival is better."""

    case: str
    key: str
    contender: str
    theirs: float
    ours: float
    ratio: float


def comparisons(measured: Measured) -> Iterator[Comparison]:
    """Each figure of each rival that has one of ours beside it; to have waited is no excuse."""
    for case, rows in measured.cases.items():
        for name in rows:
            if role(name) not in ("own", "kin"):
                yield from _of(measured, case, name)


def _of(measured: Measured, case: str, name: str) -> Iterator[Comparison]:
    ours, theirs = measured.usable(case, OURS), measured.usable(case, name)
    if ours is None or theirs is None or _breaks_its_limit(theirs):
        return
    decisive = words.decisive_key(case, lower_is_better=ours.lower_is_better)
    for key in (decisive, *BESIDES.get(words.scenario_of(case), ())):
        here, there = value_of(ours, key), value_of(theirs, key)
        if here is None or there is None:
            continue
        less = ours.lower_is_better or key != decisive
        better, worse = (here, there) if less else (there, here)
        # A worker that asks nothing while it is idle is no division by zero.
        yield Comparison(case, key, name, there, here, better / worse if worse else float(better == 0) or 2.0)


def _breaks_its_limit(row: Row) -> bool:
    """Who starts more jobs than the rate limit allows is not better at keeping to it."""
    return row.extra.get("most_in_a_second", 0.0) > row.extra.get("limit", math.inf)


def where_others_win(measured: Measured) -> list[str]:
    """In words: queues that beat bullrush, queues within 10 %, and the floor, which is no queue."""
    found = [each for each in comparisons(measured) if each.ratio >= CLOSE]
    queues = [each for each in found if each.contender != FLOOR]
    ahead = [each for each in queues if each.ratio > 1]
    close = [each for each in queues if each.ratio <= 1]
    floor = [each for each in found if each.contender == FLOOR]
    return [
        *_part(measured, "Better than bullrush:", ahead),
        *_part(measured, "Within 10 % of bullrush:", close),
        *_part(
            measured,
            "The hand-written floor, which is no queue (no retries, events, results or leases; a crash loses jobs), is "
            "better or within 10 % here:",
            floor,
        ),
        *([] if queues else ["No queue is better than bullrush or within 10 % of it in any case.", ""]),
    ]


def _part(measured: Measured, heading: str, found: list[Comparison]) -> list[str]:
    return [heading, "", *(_line(measured, each) for each in found), ""] if found else []


def _line(measured: Measured, found: Comparison) -> str:
    figures = f"{words.with_unit(found.theirs, found.key)} against {words.with_unit(found.ours, found.key)}"
    name = f", {PERCENTILES[found.key]}" if found.key in PERCENTILES else ""
    return f"- {words.title(found.case)}{name}: {measured.label(found.contender)}, {figures}, {_distance(found)}."


def _distance(found: Comparison) -> str:
    if found.theirs == found.ours:
        return "the same"
    if found.ratio > 1:
        return f"{words.ratio(found.ratio)} times better"
    return f"{(1 - found.ratio) * 100:.0f} % behind"
