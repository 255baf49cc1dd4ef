"""Kept result files, read back: what may be claimed, what is no limit, what was thrown away."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmarks.figures import Row

OURS = "bullrush"
FLOOR = "floor"
NODE = "bullmq_node"
WAITED = "°"
HEADLINE = frozenset({"process/100", "add_bulk/2", "add_concurrent", "memory", "latency_idle"})


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of the suite. `replaced` says for a case that was measured again later: when, and at which commit."""

    file: str
    machine: Mapping[str, str | int]
    contenders: Mapping[str, Mapping[str, Any]]
    cases: Mapping[str, Mapping[str, Row]]
    failures: Mapping[str, Mapping[str, str]]
    skipped: Mapping[str, str]
    replaced: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return self.cases.keys() >= HEADLINE

    @property
    def server_kind(self) -> str:
        return "valkey" if str(self.machine["server"]).lower().startswith("valkey") else "redis"

    @property
    def others(self) -> list[str]:
        """Contenders that are neither bullrush nor the floor."""
        return [name for name in self.contenders if role(name) in ("peer", "rest")]

    def label(self, contender: str) -> str:
        return str(self.contenders[contender]["label"])

    def case(self, name: str) -> str:
        """The full name of a case: ``hash`` is ``hash/10`` where that is how it was run."""
        longer = (case for case in self.cases if case.startswith(f"{name}/"))
        return name if name in self.cases else next(longer, name)

    def row(self, case: str, contender: str) -> Row | None:
        """As measured, to be quoted or not."""
        return self.cases.get(self.case(case), {}).get(contender)

    def usable(self, case: str, contender: str) -> Row | None:
        """Not spoilt by other programs. It may have waited for round trips: that is how the contender is."""
        row = self.row(case, contender)
        return None if row is None or row.disturbed else row

    def quotable(self, case: str, contender: str) -> Row | None:
        """To be claimed as what the contender can do: it was busy all the time."""
        row = self.usable(case, contender)
        return None if row is None or row.flagged else row

    def value(self, case: str, contender: str, key: str = "") -> float | None:
        """A usable figure: the one that decides the case, or the one named `key`."""
        row = self.usable(case, contender)
        return None if row is None else value_of(row, key)

    def claim(self, case: str, contender: str, key: str = "") -> float | None:
        """The same, None where it may not be claimed."""
        row = self.quotable(case, contender)
        return None if row is None else value_of(row, key)

    def mark(self, case: str, contender: str) -> str:
        """What stands behind a figure that is no limit."""
        row = self.row(case, contender)
        return WAITED if row is not None and row.flagged else ""

    def overlaid(self, later: Measured) -> Measured:
        """With the cases of a later run in place of its own."""
        origin = f"{str(later.machine['date'])[:10]}, commit {later.machine['commit']}"
        return Measured(
            file=f"{self.file} {later.file}",
            machine=self.machine,
            contenders={**self.contenders, **later.contenders},
            cases={**self.cases, **later.cases},
            failures={
                **{case: why for case, why in self.failures.items() if case not in later.cases},
                **later.failures,
            },
            skipped={name: why for name, why in self.skipped.items() if name not in later.contenders},
            replaced={**self.replaced, **dict.fromkeys(later.cases, origin)},
        )


def role(contender: str) -> str:
    """``own``, ``kin`` (bullrush on another loop or server), ``floor``, ``peer`` (BullMQ for Node) or ``rest``."""
    if contender == OURS:
        return "own"
    if contender.startswith(OURS):
        return "kin"
    return {FLOOR: "floor", NODE: "peer"}.get(contender, "rest")


def value_of(row: Row, key: str = "") -> float | None:
    if not key:
        return row.decisive
    if key in ("rate", "redis_us", "client_us", "commands"):
        return float(getattr(row, key))
    return row.extra.get(key)


def is_never(value: float) -> bool:
    return math.isinf(value) or math.isnan(value)


def load(path: Path) -> Measured:
    """Read a result file. Raises ValueError when it is none, or a quick one, which is not worth quoting."""
    content = json.loads(path.read_text())
    if not isinstance(content, dict) or not {"machine", "contenders", "cases"} <= content.keys():
        raise ValueError(f"{path} is not a result of `python -m benchmarks`; nothing was written")
    if content["quick"]:
        raise ValueError(
            f"{path} is a quick run, too short to be quoted; run `make bench`, nothing was written"
        )
    return Measured(
        file=path.name,
        machine=content["machine"],
        contenders=content["contenders"],
        cases={
            case: {row["contender"]: _row(row) for row in rows} for case, rows in content["cases"].items()
        },
        failures=content.get("failures", {}),
        skipped=content.get("skipped", {}),
    )


def _row(content: Mapping[str, Any]) -> Row:
    return Row(**{each.name: content[each.name] for each in fields(Row) if each.name in content})


def newest(folder: Path) -> list[Measured]:
    """The newest full run for each kind of server, Redis first. Raises ValueError when there is none."""
    found: dict[str, Measured] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            measured = load(path)
        except (ValueError, TypeError):
            continue  # other kinds of results lie in the same folder
        known = found.get(measured.server_kind)
        if measured.is_full and (known is None or str(known.machine["date"]) < str(measured.machine["date"])):
            found[measured.server_kind] = measured
    if not found:
        raise ValueError(f"there is no full result in {folder}; run `make bench` first, nothing was written")
    return [found[kind] for kind in sorted(found)]


def merged(paths: Sequence[Path]) -> list[Measured]:
    """Those files, one for each kind of server: a case that several of them have counts as in the last one."""
    found: dict[str, Measured] = {}
    for path in paths:
        measured = load(path)
        known = found.get(measured.server_kind)
        found[measured.server_kind] = known.overlaid(measured) if known else measured
    return [found[kind] for kind in sorted(found)]
