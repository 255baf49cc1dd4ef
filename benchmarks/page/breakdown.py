"""Where the time of a job goes, from a file that a profile was written to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.page import words


def breakdown(path: Path) -> list[str]:
    """The stages of a job beside the least that each could cost; nothing without the file."""
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    stages: list[Mapping[str, Any]] = content["stages"]
    sides = dict.fromkeys(str(stage["side"]) for stage in stages)
    rows = [_cells(stage) for side in sides for stage in stages if stage["side"] == side]
    totals = [_total(side, [stage for stage in stages if stage["side"] == side]) for side in sides]
    head = ["stage", "side", "µs a job", "floor, µs", "what the floor is, or what remains"]
    return [
        "## Where the time goes",
        "",
        f"{content['title']}. Commit {content['commit']}, {_machine(content['machine'])}.",
        "",
        *words.table(head, [*rows, *totals]),
        "",
    ]


def _machine(machine: str | Mapping[str, Any]) -> str:
    if isinstance(machine, str):
        return machine
    return ", ".join(str(machine[what]) for what in ("cpu", "server", "python", "date") if what in machine)


def _cells(stage: Mapping[str, Any]) -> list[str]:
    return [
        str(stage["stage"]),
        str(stage["side"]),
        _us(stage["us_per_job"]),
        _us(stage.get("floor_us")),
        str(stage.get("note", "")),
    ]


def _us(value: float | None) -> str:
    return words.NOTHING if value is None else f"{value:.2f}"


def _total(side: str, stages: list[Mapping[str, Any]]) -> list[str]:
    spent = sum(float(stage["us_per_job"]) for stage in stages)
    floors = [float(stage["floor_us"]) for stage in stages if stage.get("floor_us") is not None]
    return [
        f"**all of the {side}**",
        side,
        f"**{spent:.2f}**",
        f"{sum(floors):.2f}" if floors else words.NOTHING,
        "",
    ]
