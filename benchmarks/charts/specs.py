"""What each chart shows, taken from a run. Draws nothing, so the page needs no matplotlib."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.page import words
from benchmarks.page.results import OURS, Measured, role

BUSY = ("process/10", "process/100", "process/1000")


@dataclass(frozen=True, slots=True)
class Panel:
    """Horizontal bars beside each other's: a value and its text for each contender; without a value the text alone."""

    title: str
    values: Sequence[float | None]
    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Bars:
    """Contenders down, panels across; each panel has a linear scale of its own from zero."""

    labels: Sequence[str]
    roles: Sequence[str]
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Series:
    """One contender's line."""

    label: str
    role: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Lines:
    """Figures over something that grows by tens; `bound` is a budget to draw."""

    x_label: str
    y_label: str
    series: Sequence[Series]
    ticks: Sequence[tuple[float, str]]
    log_y: bool
    bound: tuple[float, str] | None = None


@dataclass(frozen=True, slots=True)
class Ranges:
    """Percentiles of each contender on a logarithmic scale of milliseconds, by panel; None: nothing to show."""

    labels: Sequence[str]
    roles: Sequence[str]
    panels: Sequence[tuple[str, Sequence[Sequence[float] | None]]]


@dataclass(frozen=True, slots=True)
class Chart:
    """`alt` says in words what the picture says, `where` on what it was measured."""

    name: str
    title: str
    note: str
    alt: str
    where: str
    body: Bars | Lines | Ranges
    width: int = 840


def charts_of(measured: Measured) -> list[Chart]:
    """Those for which the run has a figure of bullrush."""
    makers = (_processed, _added, _concurrency, _latency, _redis_cpu, _memory, _growth, _far)
    charts = (maker(measured) for maker in makers)
    return [chart for chart in charts if chart is not None]


def _where(measured: Measured) -> str:
    machine = measured.machine
    return (
        f"{machine['server']}, {machine['cores']} cores of {machine['cpu']}, commit {machine['commit']}, "
        f"{str(machine['date'])[:10]}"
    )


def _bars(
    measured: Measured,
    panels: Sequence[tuple[str, Callable[[str], tuple[float | None, str]]]],
    *,
    highest_first: bool = True,
) -> Bars | None:
    """Contenders with something to say, the best in the first panel on top."""
    cells = {name: [read(name) for _, read in panels] for name in measured.contenders}
    names = [name for name, read in cells.items() if any(text not in ("", words.NOTHING) for _, text in read)]
    if OURS not in names or all(value is None for value, _ in cells[OURS]):
        return None

    def place(name: str) -> tuple[float, ...]:
        sign = -1 if highest_first else 1
        return tuple(math.inf if value is None else sign * value for value, _ in cells[name])

    names.sort(key=place)
    return Bars(
        labels=[measured.label(name) for name in names],
        roles=[role(name) for name in names],
        panels=[
            Panel(title, [cells[name][i][0] for name in names], [cells[name][i][1] for name in names])
            for i, (title, _) in enumerate(panels)
        ],
    )


def _reader(measured: Measured, case: str, key: str) -> Callable[[str], tuple[float | None, str]]:
    def read(name: str) -> tuple[float | None, str]:
        if measured.row(case, name) is None:
            return None, words.NOTHING
        value = measured.value(case, name, key)
        return (
            (None, "thrown away")
            if value is None
            else (value, words.figure(value, key) + measured.mark(case, name))
        )

    return read


def _said(bars: Bars) -> str:
    """The first panel in words."""
    panel = bars.panels[0]
    return "; ".join(
        f"{label} {text}"
        for label, value, text in zip(bars.labels, panel.values, panel.texts, strict=True)
        if value is not None
    )


def _processed(measured: Measured) -> Chart | None:
    def read(name: str) -> tuple[float | None, str]:
        rates = [
            (value, words.rounded(value) + measured.mark(case, name))
            for case in BUSY
            if (value := measured.value(case, name)) is not None
        ]
        if rates:
            return max(rates)
        return None, "thrown away" if any(measured.row(case, name) for case in BUSY) else words.NOTHING

    bars = _bars(measured, [("", read)])
    if bars is None:
        return None
    title = "Jobs processed per second by one worker process"
    note = "no-op handlers, each at its best concurrency of 10, 100 and 1,000; °: waited for round trips"
    return Chart("processed", title, note, f"{title}: {_said(bars)}", _where(measured), bars)


def _added(measured: Measured) -> Chart | None:
    bulk = next((c for c in ("add_bulk/1", "add_bulk/2") if measured.quotable(c, OURS)), "add_bulk/2")
    callers = "one caller" if bulk.endswith("1") else "two callers"
    panels = [
        (f"in bulk, {callers}", _reader(measured, bulk, "rate")),
        ("single adds from 1,000 tasks", _reader(measured, "add_concurrent", "rate")),
        ("one after another", _reader(measured, "add_sequential", "rate")),
    ]
    bars = _bars(measured, panels)
    if bars is None:
        return None
    title = "Jobs added per second by one process"
    note = "each panel has a scale of its own; °: waited for round trips"
    return Chart("added", title, note, f"{title}, in bulk: {_said(bars)}", _where(measured), bars)


def _lines(measured: Measured, cases: Sequence[tuple[str, float]], key: str) -> list[Series]:
    series = []
    for name in measured.contenders:
        points = [(x, y) for case, x in cases if (y := measured.value(case, name, key)) is not None]
        if points:
            series.append(Series(measured.label(name), role(name), points))
    return series


def _concurrency(measured: Measured) -> Chart | None:
    cases = [(f"process/{n}", float(n)) for n in (1, 10, 100, 1_000)]
    series = _lines(measured, cases, "rate")
    ours = next((each for each in series if each.role == "own"), None)
    if ours is None or len(ours.points) < 2:
        return None
    title = "Jobs processed per second, by concurrency"
    note = "logarithmic; a figure that was thrown away is left out"
    ticks = [(x, f"{x:,.0f}") for _, x in cases]
    body = Lines("concurrency", "jobs/s", series, ticks, log_y=True)
    return Chart("concurrency", title, note, f"{title}. bullrush: {_points(ours)}", _where(measured), body)


def _points(series: Series) -> str:
    return ", ".join(f"{words.rounded(y)} at {x:,.0f}" for x, y in series.points)


def _latency(measured: Measured) -> Chart | None:
    found = [
        (title, measured.case(case))
        for title, case in (
            ("idle", "latency_idle"),
            ("300 a second", "latency_paced"),
            ("half load", "latency_load"),
        )
    ]
    panels = [(title, case) for title, case in found if measured.usable(case, OURS)]
    names = [n for n in measured.contenders if any(_percentiles(measured, case, n) for _, case in panels)]
    if not panels or OURS not in names:
        return None

    def place(name: str) -> float:
        percentiles = _percentiles(measured, panels[0][1], name)
        return percentiles[0] if percentiles else math.inf

    names.sort(key=place)
    body = Ranges(
        [measured.label(name) for name in names],
        [role(name) for name in names],
        [(title, [_percentiles(measured, case, name) for name in names]) for title, case in panels],
    )
    title = "From add to the start of the handler"
    note = "p50, p99 and p99.9 in ms, logarithmic"
    said = "; ".join(f"{measured.label(n)} {words.rounded(place(n))}" for n in names if place(n) < math.inf)
    return Chart(
        "latency", title, note, f"{title}, {panels[0][0]}, p50 in ms: {said}", _where(measured), body
    )


def _percentiles(measured: Measured, case: str, name: str) -> list[float] | None:
    values = [measured.value(case, name, key) for key in ("p50_ms", "p99_ms", "p999_ms")]
    known = [value for value in values if value is not None and value > 0]
    return known or None


def _redis_cpu(measured: Measured) -> Chart | None:
    wanted = (
        ("batches of 1,000", "redis_cpu/1000"),
        ("batches of 100", "redis_cpu/100"),
        ("batches of 10", "redis_cpu/10"),
        ("one by one", "redis_cpu_paced"),
    )
    present = [(title, measured.case(case)) for title, case in wanted if measured.row(case, OURS)]
    bars = _bars(
        measured,
        [(title, _reader(measured, case, "redis_us")) for title, case in present],
        highest_first=False,
    )
    if bars is None:
        return None
    title = "Redis CPU per job, added to finished"
    note = "µs, less is better"
    return Chart(
        "redis_cpu",
        title,
        note,
        f"{title}, {bars.panels[0].title}, µs: {_said(bars)}",
        _where(measured),
        bars,
    )


def _memory(measured: Measured) -> Chart | None:
    read = _reader(measured, "memory", "overhead_bytes")
    bars = _bars(measured, [("", read)], highest_first=False)
    if bars is None:
        return None
    title = "Redis memory per waiting job, beyond its payload"
    note = "bytes, less is better"
    return Chart("memory", title, note, f"{title}, bytes: {_said(bars)}", _where(measured), bars)


def _growth(measured: Measured) -> Chart | None:
    sizes = (
        ("10k", 1e4, "10 thousand"),
        ("100k", 1e5, "100 thousand"),
        ("1m", 1e6, "1 million"),
        ("10m", 1e7, "10 million"),
    )
    series = _lines(measured, [(f"growth/{variant}", x) for variant, x, _ in sizes], "job_redis_us")
    ours = next((each for each in series if each.role == "own"), None)
    if ours is None or len(ours.points) < 2:
        return None
    reached = max(x for each in series for x, _ in each.points)
    ticks = [(x, text) for _, x, text in sizes if x <= reached]
    title = "Redis CPU per job, by the number of jobs waiting"
    body = Lines("jobs waiting", "", series, ticks, log_y=False, bound=(7.0, "budget: 7 µs"))
    note = "µs, less is better"
    return Chart("growth", title, note, f"{title}. bullrush, µs: {_points(ours)}", _where(measured), body)


def _far(measured: Measured) -> Chart | None:
    wanted = (
        ("processing, concurrency 1,000", "process/1000"),
        ("processing, concurrency 100", "process/100"),
        ("single adds from 1,000 tasks", "add_concurrent"),
    )
    panels = [
        (title, _kept(measured, case))
        for title, case in wanted
        if measured.row(f"far_{case}", OURS) is not None
    ]
    bars = _bars(measured, panels) if panels else None
    if bars is None:
        return None
    title = "Share of the throughput that is left at 1 ms of network latency"
    note = "half a millisecond each way, against loopback, and what is left in jobs/s"
    return Chart(
        "far", title, note, f"{title}, {bars.panels[0].title}: {_said(bars)}", _where(measured), bars
    )


def _kept(measured: Measured, case: str) -> Callable[[str], tuple[float | None, str]]:
    def read(name: str) -> tuple[float | None, str]:
        far, near = measured.value(f"far_{case}", name), measured.value(case, name)
        if far is None or near is None:
            return None, "thrown away" if measured.row(f"far_{case}", name) else words.NOTHING
        return far / near, f"{words.percent(far / near)}, {words.rounded(far)}/s"

    return read
