"""The page, section by section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.charts.specs import Chart, charts_of
from benchmarks.page import budgets, words
from benchmarks.page.breakdown import breakdown
from benchmarks.page.losses import where_others_win
from benchmarks.page.results import NODE, OURS, Measured, role
from benchmarks.page.tables import every_case, grouped_tables, thrown_away, waited

HERE = Path(__file__).parent
BUSY = budgets.BUSY
THROWN_AWAY = (
    "Other programs used more than a tenth of the machine, or two processes of the run shared a core."
)
WAITED = (
    "These took more than 1.3 × the time for which the busiest process was busy, in every run: they waited for round trips. "
    "Such a figure (°) holds for its setting and is no limit of anything. None of bullrush's counts for a budget or a ratio; "
    "those of others do, as they are."
)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the page's words come from: runs of the suite (the first one is the main one) and two files."""

    runs: Sequence[Measured]
    findings: Path
    breakdown: Path


def page(sources: Sources) -> str:
    """docs/benchmarks.md."""
    main = sources.runs[0]
    charts = charts_of(main)
    lines = [
        f"<!-- results: {' '.join(run.file for run in sources.runs)} -->",
        "<!-- Written by `make bench-page`. Do not edit: what is written by hand is in benchmarks/findings.md. -->",
        "",
        "# Benchmarks",
        "",
        *_summary(main),
        *_pictures(charts, ("processed", "added")),
        *_setting(main),
        "## Results",
        "",
        "Bold is the best of a column. ✕ was [thrown away](#thrown-away), ° [waited](#waited) and is no limit, "
        f"{words.NOTHING} is what a contender does not have or was not asked. The floor, in italics, is no queue.",
        "",
        *grouped_tables(main),
        *_pictures(charts, tuple(chart.name for chart in charts if chart.name not in ("processed", "added"))),
        *_on_other_servers(sources.runs[1:]),
        *_losses(main),
        *_budgets(main),
        *breakdown(sources.breakdown),
        *_included(sources.findings),
        *_prose("Method", "method.md"),
        *_prose("What these numbers do not say", "caveats.md"),
        *_prose("Repeat it", "repeat.md"),
        *_thrown_away(main),
        "## Every case",
        "",
        "Redis µs, client µs and commands are per job; commands include those inside scripts.",
        "",
        *every_case(main),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def results_named_in(text: str) -> list[str]:
    """The result files that a page was written from."""
    return text.partition("\n")[0].removeprefix("<!-- results: ").removesuffix(" -->").split()


def setting(measured: Measured) -> str:
    """Where and when a figure was measured, for under every table that is shown by itself."""
    machine = measured.machine
    memory = f" and {machine['memory']} of memory" if machine.get("memory") else ""
    return (
        f"Measured on {words.day(str(machine['date']))} at commit {machine['commit']}, on {machine['cores']} cores of "
        f"{_article(str(machine['cpu']))}{memory}: {machine['server']} over TCP loopback without persistence, "
        f"{machine['python']}, Node {str(machine['node']).removeprefix('v')}; {machine['pinning']}."
    )


def _article(cpu: str) -> str:
    return f"an {cpu}" if cpu[:1].upper() in "AEIO" else f"a {cpu}"


def best_busy(measured: Measured, contender: str) -> tuple[float, str] | None:
    """A contender's best processing rate at concurrency 10 to 1,000, and that concurrency; ours as we may claim it."""
    read = measured.claim if contender == OURS else measured.value
    rates = [(value, words.variant_of(case)) for case in BUSY if (value := read(case, contender)) is not None]
    return max(rates, default=None)


def _summary(measured: Measured) -> Iterator[str]:
    ours = best_busy(measured, OURS)
    if ours is not None:
        yield (
            f"One worker process of bullrush handles **{words.rounded(ours[0])} jobs a second**{_than(measured, ours[0])}."
        )
    bulk = max(filter(None, (measured.claim(case, OURS) for case in budgets.BULK)), default=None)
    if bulk is not None:
        one = measured.claim("add_concurrent", OURS)
        single = f", and {words.rounded(one)} with single `add` calls from 1,000 tasks" if one else ""
        yield f"A producer adds {words.rounded(bulk)} a second in bulk{single}."
    met, missed, unsure = budgets.kept_and_missed(measured)
    if met or missed or unsure:
        yield (
            f"Of the {met + missed + unsure} [budgets](#budgets) that the engine was built to, {met} are met, {missed} missed "
            f"and {unsure} open; [where others win](#where-others-win) is listed too."
        )
    yield ""


def _than(measured: Measured, ours: float) -> str:
    said = []
    node = best_busy(measured, NODE)
    if node is not None:
        said.append(f"{words.ratio(ours / node[0])} times BullMQ for Node")
    others = {name: best_busy(measured, name) for name in measured.others if role(name) == "rest"}
    rates = {name: best[0] for name, best in others.items() if best is not None}
    if rates:
        leader = max(rates, key=rates.__getitem__)
        said.append(
            f"{words.ratio(ours / rates[leader])} times the best other queue in Python, {measured.label(leader)}"
        )
    text = f", {words.listed(said)}" if said else ""
    return f"{text} (each at its best concurrency of 10, 100 and 1,000)" if said else text


def _setting(measured: Measured) -> list[str]:
    contenders = [
        f"- **{about['label']}** ({about['version']}). {about['notes']}"
        for about in measured.contenders.values()
    ]
    skipped = [f"- {name} did not take part: {why}." for name, why in measured.skipped.items()]
    libraries = (("redis-py", "redis_py"), ("hiredis", "hiredis"), ("uvloop", "uvloop"), ("kernel", "kernel"))
    versions = ", ".join(
        f"{name} {measured.machine[key]}" for name, key in libraries if key in measured.machine
    )
    return [
        "## What was measured, and on what",
        "",
        setting(measured),
        f"Libraries and system: {versions}. From {', '.join(f'`{name}`' for name in measured.file.split())}.",
        "",
        *contenders,
        *skipped,
        "",
    ]


def picture(chart: Chart, folder: str) -> list[str]:
    """The chart in the reader's colours."""
    return [
        "<picture>",
        f'  <source media="(prefers-color-scheme: dark)" srcset="{folder}/{chart.name}-dark.svg">',
        f'  <img src="{folder}/{chart.name}-light.svg" alt="{chart.alt}" width="{chart.width}">',
        "</picture>",
        "",
    ]


def _pictures(charts: Sequence[Chart], names: Sequence[str]) -> Iterator[str]:
    for chart in charts:
        if chart.name in names:
            yield from picture(chart, "charts")


def _on_other_servers(runs: Sequence[Measured]) -> Iterator[str]:
    for run in runs:
        yield from (f"## On {run.machine['server']}", "", setting(run), "", *grouped_tables(run))


def _losses(measured: Measured) -> list[str]:
    return [
        "## Where others win",
        "",
        "Computed from the figures above: every case in which a contender is better than bullrush or less than 10 % behind. "
        "What was thrown away is not compared.",
        "",
        *where_others_win(measured),
    ]


def _budgets(measured: Measured) -> list[str]:
    rows = budgets.budget_table(measured)
    if not rows:
        return []
    return [
        "## Budgets",
        "",
        "What the engine was built to. *Open*: a figure that it takes was thrown away (✕) or waited (°), so nothing is claimed.",
        "",
        *rows,
        "",
    ]


def _included(path: Path) -> list[str]:
    text = path.read_text().strip() if path.exists() else ""
    return [text, ""] if "\n" in text else []  # a heading alone says nothing


def _prose(heading: str, file: str) -> list[str]:
    return [f"## {heading}", "", (HERE / file).read_text().strip(), ""]


def _thrown_away(measured: Measured) -> list[str]:
    lines, marked = thrown_away(measured), waited(measured)
    return [
        *("## Thrown away", "", *([THROWN_AWAY, "", *lines] if lines else ["Nothing."]), ""),
        *("## Waited", "", *([WAITED, "", *marked] if marked else ["Nothing."]), ""),
    ]


__all__ = ["Sources", "best_busy", "page", "picture", "results_named_in", "setting"]
