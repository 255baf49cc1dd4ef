"""How figures and tables are written."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence

from benchmarks.page.results import is_never
from benchmarks.scenarios import SCENARIOS

THROWN_AWAY = "✕"
NOTHING = "–"


def rounded(value: float) -> str:
    """Three digits that count: more would be noise."""
    if is_never(value):
        return "never"
    if value == 0:
        return "0"
    decimals = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"


def exact(value: float) -> str:
    """For a comparison with a bound: not rounded over it."""
    if is_never(value):
        return "never"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def percent(value: float) -> str:
    return "never" if is_never(value) else f"{value * 100:.0f} %"


def ratio(value: float) -> str:
    """``17.2`` or ``1.04``, to be read as "times"."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


# A figure's key: its unit, and how it is written.
FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "rate": ("jobs/s", rounded),
    "redis_us": ("µs", rounded),
    "job_redis_us": ("µs", rounded),
    "add_redis_us": ("µs", rounded),
    "process_redis_us": ("µs", rounded),
    "overhead_bytes": ("bytes", rounded),
    "bytes_per_job": ("bytes", rounded),
    "p50_ms": ("ms", rounded),
    "p99_ms": ("ms", rounded),
    "p999_ms": ("ms", rounded),
    "slowest_call_ms": ("ms", rounded),
    "of_the_possible": ("of the possible", percent),
    "most_in_a_second": ("most in 1 s", rounded),
    "rss_mb": ("MB", rounded),
    "requests_per_s": ("requests/s", rounded),
    "seconds": ("s", rounded),
    "times_ping": ("× PING", ratio),
}
_DECIDES = {scenario.name: str(scenario.figure) for scenario in SCENARIOS}
_TITLES = {scenario.name: scenario.title for scenario in SCENARIOS}


def scenario_of(case: str) -> str:
    return case.partition("/")[0]


def variant_of(case: str) -> str:
    return case.partition("/")[2]


def title(case: str) -> str:
    """What is measured, in words; a scenario that this version of the suite doesn't know has its name only."""
    known = _TITLES.get(scenario_of(case), scenario_of(case).replace("_", " "))
    return f"{known} ({variant_of(case)})" if variant_of(case) else known


def decisive_key(case: str, *, lower_is_better: bool) -> str:
    """The figure that decides; of an unknown scenario only the direction is known."""
    return _DECIDES.get(scenario_of(case), "" if lower_is_better else "rate")


def unit(key: str) -> str:
    return FIGURES[key][0] if key in FIGURES else ""


def figure(value: float, key: str) -> str:
    return FIGURES[key][1](value) if key in FIGURES else rounded(value)


def with_unit(value: float, key: str) -> str:
    return f"{figure(value, key)} {unit(key)}".strip()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, all but the first column to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def day(date: str) -> str:
    """``2026-11-24T…`` is 24 November 2026."""
    moment = datetime.date.fromisoformat(date[:10])
    return f"{moment.day} {moment:%B %Y}"


def listed(words: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
