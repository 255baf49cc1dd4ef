"""The report: a table for the terminal, a page, and JSON for whoever compares runs."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.faults.full.campaigns import CAMPAIGNS, Entry
from tests.faults.full.lab import Result
from tests.servers import KINDS, Kind, ServerMissing, find_binary

ROOT = Path(__file__).parents[3]
PACKAGES = ("redis", "hiredis", "msgpack")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the figures depend on."""

    date: str
    commit: str
    bullrush: str
    python: str
    machine: str
    servers: list[str]
    packages: list[str]

    @classmethod
    def now(cls) -> Surroundings:
        """Those of this machine and this checkout."""
        return cls(
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            commit=_commit(),
            bullrush=version("bullrush"),
            python=platform.python_version(),
            machine=f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores",
            servers=[_server(kind) for kind in KINDS],
            packages=[f"{name} {version(name)}" for name in PACKAGES],
        )


class Report:
    """Results as they come in, with what is needed to run them again."""

    def __init__(self, seed: int, scale: float) -> None:
        self.seed, self.scale = seed, scale
        self.results: list[Result] = []
        self._surroundings = Surroundings.now()

    @property
    def holds(self) -> bool:
        return bool(self.results) and all(result.holds for result in self.results)

    def add(self, result: Result) -> None:
        self.results.append(result)

    def write(self, folder: Path) -> None:
        """Write `report.md` and `report.json` into the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.write_page(folder / "report.md")
        document = {
            "seed": self.seed,
            "scale": self.scale,
            "holds": self.holds,
            **asdict(self._surroundings),
            "results": [{**asdict(result), "holds": result.holds} for result in self.results],
        }
        (folder / "report.json").write_text(json.dumps(document, indent=2) + "\n")

    def write_page(self, path: Path) -> None:
        """Write the page."""
        path.write_text("\n".join(self._page()) + "\n")

    def table(self) -> str:
        """One line for each campaign and server."""
        lines = [f"{'campaign':<15} {'server':<7} {'seconds':>8}  held"]
        for result in self.results:
            broken = [name for name, held in result.bounds.items() if not held]
            verdict = "yes" if result.holds else f"NO: {', '.join(broken) or 'nothing was checked'}"
            lines.append(f"{result.campaign:<15} {result.server:<7} {result.seconds:>8.1f}  {verdict}")
        return "\n".join(lines)

    def _page(self) -> list[str]:
        about = self._surroundings
        share = "the full size" if self.scale == 1 else f"{self.scale:.0%} of the full size"
        lines = [
            "# What held under faults",
            "",
            "Written by `make test-faults-full`, which runs it all again. Every figure was counted by a process that",
            "outlives the ones it watches, and checked against what the server holds at the end.",
            "",
            f"{about.date}, bullrush {about.bullrush} at commit {about.commit}, {share}, seed {self.seed}",
            f'(`ARGS="--seed {self.seed}"` plays the same chances again), {self._seconds():.0f} s in all.',
            "",
            f"{about.machine}; Python {about.python}; {'; '.join(about.servers)};",
            f"{', '.join(about.packages)}.",
        ]
        for name, entry in CAMPAIGNS.items():
            results = [result for result in self.results if result.campaign == name]
            if results:
                lines += ["", f"## {name}", "", entry.promise, "", *_figures(results), "", *_bounds(results)]
                lines += _confidence(entry, results)
        return lines

    def _seconds(self) -> float:
        return sum(result.seconds for result in self.results)


def _figures(results: list[Result]) -> list[str]:
    names = dict.fromkeys(name for result in results for name in result.figures)
    lines = [
        "| | " + " | ".join(result.server for result in results) + " |",
        "|---|" + "---:|" * len(results),
    ]
    lines += [
        f"| {name} | " + " | ".join(_shown(result.figures.get(name, "")) for result in results) + " |"
        for name in names
    ]
    lines.append("| seconds | " + " | ".join(f"{result.seconds:.0f}" for result in results) + " |")
    return lines


def _bounds(results: list[Result]) -> list[str]:
    names = dict.fromkeys(name for result in results for name in result.bounds)
    held = [name for name in names if all(result.bounds.get(name, True) for result in results)]
    broken = [name for name in names if name not in held]
    lines = [f"Held: {', '.join(held)}."] if held else []
    if broken:
        lines += ["", f"**Did not hold: {', '.join(broken)}.**", ""]
        lines += [f"- {result.server}: {text}" for result in results for text in result.offenders]
    return lines


def _confidence(entry: Entry, results: list[Result]) -> list[str]:
    """What nothing gone wrong in so many tries says (the rule of three)."""
    if not entry.tries or not all(result.holds for result in results):
        return []
    totals = [sum(int(result.figures[name]) for result in results) for name in entry.tries]
    seen = " and ".join(f"{total:,} {name}" for name, total in zip(entry.tries, totals, strict=True))
    rates = " and ".join(
        f"one in {total // 3:,} {name}" for name, total in zip(entry.tries, totals, strict=True)
    )
    return ["", f"Nothing went wrong in {seen}: with 95 % confidence it does in fewer than {rates}."]


def _shown(figure: float | str) -> str:
    if isinstance(figure, int):
        return f"{figure:,}"
    return f"{figure:,.3f}" if isinstance(figure, float) else figure


def _commit() -> str:
    run = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.strip() or "unknown"


def _server(kind: Kind) -> str:
    try:
        binary = find_binary(kind)
    except ServerMissing as missing:
        return str(missing)
    said = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=([\d.]+)", said)
    return f"{kind.capitalize()} {found[1] if found else 'of an unknown version'}"
