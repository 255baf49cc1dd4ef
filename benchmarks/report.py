"""Tables for people, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.figures import MAX_OTHERS, MAX_WALL_TO_BUSY, Row
from benchmarks.launchers import About
from benchmarks.machine import Machine
from benchmarks.runner import Run
from benchmarks.scenarios import Scenario, Variant

FLOOR = "floor"
PEER = "bullmq_node"
FIGURES = (
    "jobs/s",
    "spread",
    "× floor",
    "× BullMQ",
    "Redis µs",
    "client µs",
    "commands",
    "wall/busy",
    "others",
)
COLUMNS = ("contender", *FIGURES, "more")


@dataclass(slots=True)
class Report:
    """Everything one run found out; grows case by case."""

    machine: Machine
    contenders: dict[str, About]
    quick: bool
    skipped: dict[str, str]
    cases: dict[str, list[Row]] = field(default_factory=dict)
    runs: dict[str, dict[str, list[Run]]] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(default_factory=dict)

    def head(self) -> list[str]:
        lines = self.machine.lines()
        lines += [
            f"{name}: {about['label']} ({about['version']}). {about['notes']}"
            for name, about in self.contenders.items()
        ]
        return lines + [f"{name}: skipped, {why}" for name, why in self.skipped.items()]

    def add_to(self, path: Path) -> None:
        """Take over the cases of an earlier file that this run does not measure again.

        Raises ValueError when it was another machine, commit or server.
        """
        earlier = json.loads(path.read_text())
        for what in ("commit", "server", "cpu", "python"):
            if earlier["machine"][what] != getattr(self.machine, what):
                raise ValueError(f"{path} was measured with another {what}: {earlier['machine'][what]}")
        self.contenders = {**earlier["contenders"], **self.contenders}
        self.cases = {name: [Row(**row) for row in rows] for name, rows in earlier["cases"].items()}
        self.runs = {
            case: {name: [Run(**run) for run in runs] for name, runs in contenders.items()}
            for case, contenders in earlier["runs"].items()
        }
        self.failures = earlier["failures"]

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def print_case(variant: Variant, rows: Sequence[Row], failures: Mapping[str, str]) -> None:
    """One table, with a line for every contender that failed."""
    by_name = {row.contender: row for row in rows}
    floor, peer = by_name.get(FLOOR), by_name.get(PEER)
    title = f"{variant.name}: {variant.scenario.title} (× by {_meaning(variant.scenario)})"
    _print_table(title, [_cells(row, floor, peer) for row in rows])
    for name, why in failures.items():
        print(f"  {name} FAILED: {why}")
    for row in rows:
        if row.thrown_away:
            print(f"  {row.label}: {row.thrown_away} disturbed runs thrown away, measured again")
    if any(row.flagged for row in rows):
        print(
            f"  ! wall time is more than {MAX_WALL_TO_BUSY} × the busiest process: it waits for round trips, "
            "or for others; do not quote it as a limit"
        )
    if any(row.disturbed for row in rows):
        print(f"  ? other programs used more than {MAX_OTHERS:.0%} of the machine: measure again")


def _meaning(scenario: Scenario) -> str:
    return {
        "rate": "jobs/s",
        "redis_us": "server CPU",
        "job_redis_us": "server CPU",
        "overhead_bytes": "bytes beyond the payload",
        "p50_ms": "median latency",
        "p99_ms": "99th percentile",
        "of_the_possible": "share of the possible",
        "rss_mb": "resident memory",
        "seconds": "seconds",
    }[scenario.figure]


def _cells(row: Row, floor: Row | None, peer: Row | None) -> list[str]:
    return [
        row.label,
        f"{row.rate:,.0f}" if row.rate else "–",
        f"{row.spread:.0%}" if row.rounds > 1 else "–",
        _times(row.times_better(floor)),
        _times(row.times_better(peer)),
        f"{row.redis_us:.2f}",
        f"{row.client_us:.2f}",
        f"{row.commands:.2f}",
        f"{row.wall_to_busy:.2f}{' !' if row.flagged else ''}" if row.rate else "–",
        f"{row.others:.0%}{' ?' if row.disturbed else ''}",
        "  ".join(f"{name} {value:,.3g}" for name, value in row.extra.items()),
    ]


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}"


def _print_table(title: str, rows: Sequence[Sequence[str]]) -> None:
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        _print_plain(title, rows)
        return
    table = Table(*COLUMNS, title=title, title_justify="left")
    for column in table.columns[1:-1]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    console = Console()
    # Piped output has no width of its own; 80 columns would break every row.
    Console(width=console.width if console.is_terminal else 180).print(table)


def _print_plain(title: str, rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in [COLUMNS, *rows]) for i in range(len(COLUMNS))]
    print(f"\n{title}")
    for row in [COLUMNS, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
