"""The tables of figures: contenders down, cases across, and every case in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.figures import Row
from benchmarks.page import words
from benchmarks.page.results import OURS, Measured, role, value_of

# What a scenario's column is called, `{}` being the variant, and which figures it shows besides the decisive one.
COLUMNS: dict[str, str] = {
    "process": "concurrency {}",
    "process_threads": "in threads, {}",
    "process_two": "two workers",
    "produce_and_process": "with a producer",
    "add_bulk": "in bulk, {} at once",
    "add_concurrent": "from 1,000 tasks",
    "add_sequential": "one by one",
    "wait": "waiting {}",
    "hash": "hashing",
    "payload": "payload {}",
    "priorities": "priorities",
    "delayed": "delayed, p99 late",
    "rate_limit": "rate limit",
    "recovery": "recovery",
    "redis_cpu": "Redis CPU, batches of {}",
    "redis_cpu_paced": "Redis CPU, one by one",
    "memory": "Redis memory",
    "worker_idle": "idle worker",
    "far_process": "process, {}",
    "far_add_concurrent": "add from 1,000 tasks",
    "far_add_bulk": "add in bulk, {}",
    "growth": "{}",
}
MORE: dict[str, tuple[str, ...]] = {
    "add_sequential": ("times_ping",),
    "latency_idle": ("p50_ms", "p99_ms", "p999_ms"),
    "latency_paced": ("p50_ms", "p99_ms", "p999_ms"),
    "latency_load": ("p50_ms", "p99_ms", "p999_ms"),
    "worker_idle": ("requests_per_s",),
    "rate_limit": ("most_in_a_second",),
}
NEITHER_WAY = frozenset(
    {"most_in_a_second"}
)  # tells whether a limit was kept; neither more nor less is better
PERCENTILES = {"p50_ms": "p50", "p99_ms": "p99", "p999_ms": "p99.9"}
GROUPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "Processing",
        "Handlers do nothing, jobs carry about 45 bytes. Jobs a second, from the worker's start until the last is settled.",
        ("process", "process_threads", "process_two", "produce_and_process"),
    ),
    (
        "Adding",
        "Jobs a second; one by one: the time of one add.",
        ("add_bulk", "add_concurrent", "add_sequential"),
    ),
    (
        "Latency",
        "From the start of `add` to the start of the handler, two processes.",
        ("latency_idle", "latency_paced", "latency_load"),
    ),
    (
        "What a job costs",
        "Server CPU from add to finished; server memory while it waits, beyond its payload; a worker without work.",
        ("redis_cpu", "redis_cpu_paced", "memory", "worker_idle"),
    ),
    (
        "Handlers that do something",
        "Jobs a second, added and processed where the jobs differ.",
        ("wait", "hash", "payload", "priorities"),
    ),
    (
        "Time and trouble",
        "How late delayed jobs start, how much of a limit of 500 a second is used (and whether it is kept), and how long the jobs of a killed "
        "worker take to run elsewhere with default settings.",
        ("delayed", "rate_limit", "recovery"),
    ),
    (
        "One millisecond away",
        "The same with a network that takes half a millisecond each way. Jobs a second.",
        ("far_process", "far_add_concurrent", "far_add_bulk"),
    ),
    ("Growth", "Server CPU of a job, add to finished, with so many jobs waiting.", ("growth",)),
)


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of one case."""

    case: str
    key: str
    name: str


def grouped_tables(measured: Measured, level: str = "###") -> Iterator[str]:
    """A table per group of scenarios that the run has, and one for what no group knows."""
    known = {scenario for _, _, scenarios in GROUPS for scenario in scenarios}
    unknown = tuple(dict.fromkeys(s for s in map(words.scenario_of, measured.cases) if s not in known))
    for heading, text, scenarios in (*GROUPS, ("More", "By the figure that decides each.", unknown)):
        columns = [column for scenario in scenarios for column in _columns(measured, scenario)]
        if columns:
            yield from (f"{level} {heading}", "", text, "", *_matrix(measured, columns), "")


def _columns(measured: Measured, scenario: str) -> Iterator[Column]:
    for case in measured.cases:
        if words.scenario_of(case) == scenario and measured.cases[case]:
            yield from _columns_of(measured, case)


def _columns_of(measured: Measured, case: str) -> Iterator[Column]:
    scenario, rows = words.scenario_of(case), list(measured.cases[case].values())
    decisive = words.decisive_key(case, lower_is_better=rows[0].lower_is_better)
    keys = MORE.get(scenario, ())
    name = _column_name(case)
    for key in dict.fromkeys(keys if decisive in keys else (decisive, *keys)):
        if any(value_of(row, key) is not None for row in rows):
            unit = words.unit(key) or ("less is better" if rows[0].lower_is_better else "")
            described = f"{name} {PERCENTILES[key]}" if scenario.startswith("latency") else name
            yield Column(case, key, f"{described}, {unit}" if unit and unit != "jobs/s" else described)


def _column_name(case: str) -> str:
    scenario, variant = words.scenario_of(case), words.variant_of(case)
    if scenario.startswith("latency"):
        return scenario.removeprefix("latency_")
    if scenario in COLUMNS:
        shown = f"{int(variant):,}" if variant.isdigit() else variant
        return COLUMNS[scenario].format(shown)
    return words.title(case)


def _matrix(measured: Measured, columns: Sequence[Column]) -> list[str]:
    contenders = [n for n in measured.contenders if any(_said(measured, column, n) for column in columns)]
    best = [_best(measured, column) for column in columns]
    rows = [
        [
            _name(measured, name),
            *(
                _bold(_said(measured, column, name) or words.NOTHING, name == first)
                for column, first in zip(columns, best, strict=True)
            ),
        ]
        for name in contenders
    ]
    return words.table(["", *(column.name for column in columns)], rows)


def _name(measured: Measured, contender: str) -> str:
    label = measured.label(contender)
    return f"**{label}**" if contender == OURS else f"*{label}*" if role(contender) == "floor" else label


def _bold(cell: str, best: bool) -> str:
    return f"**{cell}**" if best else cell


def _said(measured: Measured, column: Column, contender: str) -> str:
    row = measured.row(column.case, contender)
    if row is None:
        return "failed" if contender in measured.failures.get(column.case, {}) else ""
    if row.disturbed:
        return words.THROWN_AWAY
    value = value_of(row, column.key)
    return "" if value is None else words.figure(value, column.key) + measured.mark(column.case, contender)


def _best(measured: Measured, column: Column) -> str:
    """Who leads; the floor is no queue and does not count."""
    if column.key in NEITHER_WAY:
        return ""
    values = {
        name: value
        for name in measured.cases[column.case]
        if role(name) != "floor" and (value := measured.value(column.case, name, column.key)) is not None
    }
    less = next(iter(measured.cases[column.case].values())).lower_is_better
    return "" if not values else (min if less else max)(values, key=values.__getitem__)


def every_case(measured: Measured) -> Iterator[str]:
    """Each case in full, folded away."""
    for case, rows in measured.cases.items():
        if not rows:
            continue
        yield from (f"<details><summary><code>{case}</code> {words.title(case)}</summary>", "")
        if case in measured.replaced:
            yield from (f"Measured again by itself on {measured.replaced[case]}.", "")
        yield from words.table(
            [
                "",
                "figure",
                "spread",
                "rounds",
                "jobs",
                "Redis µs",
                "client µs",
                "commands",
                "wall/busy",
                "others",
            ],
            [_in_full(measured, case, row) for row in rows.values()],
        )
        yield from (f"\n{measured.label(name)} failed: {why}" for name, why in _failed(measured, case))
        yield from ("", "</details>", "")


def _failed(measured: Measured, case: str) -> list[tuple[str, str]]:
    return list(measured.failures.get(case, {}).items())


def _in_full(measured: Measured, case: str, row: Row) -> list[str]:
    key = words.decisive_key(case, lower_is_better=row.lower_is_better)
    shown = words.THROWN_AWAY if row.disturbed else words.with_unit(row.decisive, key)
    return [
        measured.label(row.contender),
        shown,
        words.percent(row.spread) if row.rounds > 1 else words.NOTHING,
        str(row.rounds),
        f"{row.jobs:,}",
        f"{row.redis_us:.2f}",
        f"{row.client_us:.2f}",
        f"{row.commands:.2f}",
        f"{row.wall_to_busy:.2f}{measured.mark(case, row.contender)}" if row.wall_to_busy else words.NOTHING,
        f"{row.others:.0%}",
    ]


def thrown_away(measured: Measured) -> list[str]:
    """Every figure that is not quoted, and every one for which single runs were thrown away, a line for each case."""
    lines: list[str] = []
    for case, rows in measured.cases.items():
        disturbed = [f"{measured.label(r.contender)} ({r.others:.0%})" for r in rows.values() if r.disturbed]
        runs = [f"{measured.label(r.contender)} {r.thrown_away}" for r in rows.values() if r.thrown_away]
        reasons = [
            *([f"other programs used the machine: {', '.join(disturbed)}"] if disturbed else []),
            *([f"single runs, measured again: {', '.join(runs)}"] if runs else []),
        ]
        if reasons:
            lines.append(f"- `{case}`: {'; '.join(reasons)}.")
    return lines


def waited(measured: Measured) -> list[str]:
    """Every figure that is no limit, with wall time over busy time, a line for each case."""
    lines: list[str] = []
    for case, rows in measured.cases.items():
        found = [
            f"{measured.label(r.contender)} {r.wall_to_busy:.3f}"
            for r in rows.values()
            if r.flagged and not r.disturbed
        ]
        if found:
            lines.append(f"- `{case}`: {', '.join(found)}.")
    return lines
