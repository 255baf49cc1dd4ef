"""Run the micro benches and the instruction counts, and show the change against what was kept last.

python -m benchmarks.compare            run and compare
python -m benchmarks.compare --keep     keep both results as well
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TypedDict

from benchmarks import instructions
from benchmarks.machine import _commit, _cpu_model

ROOT: Final = Path(__file__).parent.parent
KEPT: Final = Path(__file__).parent / "results" / "micro"
# Beyond this a minimum has changed by more than it does from run to run on a quiet machine.
NOTABLE: Final = 0.10


class Timing(TypedDict):
    """One bench, in seconds per call."""

    min: float
    median: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Result:
    """One run of all micro benches."""

    at: str
    commit: str
    python: str
    cpu: str
    benches: dict[str, Timing]


class BenchesFailed(Exception):
    """The micro benches did not all run; the text is pytest's."""


def measure(selection: str, seconds: float) -> Result:
    """Run the benches whose names match; all where the selection is empty. Raises BenchesFailed."""
    with tempfile.TemporaryDirectory(prefix="micro-") as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "benchmarks/micro"]
        command += ["--benchmark-enable", f"--benchmark-json={report}", f"--benchmark-max-time={seconds}"]
        command += ["-k", selection] if selection else []
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchesFailed(done.stdout[-4000:] + done.stderr[-2000:])
        benches = _reduce(json.loads(report.read_text()))
    return Result(
        at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        cpu=_cpu_model(),
        benches=benches,
    )


def _reduce(report: dict[str, list[dict[str, dict[str, float]]]]) -> dict[str, Timing]:
    """Of pytest-benchmark's megabyte only what a comparison needs."""
    found: dict[str, Timing] = {}
    for bench in report["benchmarks"]:
        stats = bench["stats"]
        name = f"{bench['group']}: {bench['name']}"
        found[name] = Timing(
            min=_short(stats["min"]), median=_short(stats["median"]), rounds=int(stats["rounds"])
        )
    return dict(sorted(found.items()))


def _short(seconds: float) -> float:
    """Four digits: what follows is noise."""
    return float(f"{seconds:.4g}")


def last_kept(folder: Path = KEPT) -> Result | None:
    """The result that was kept last; None when there is none."""
    kept = [Result(**json.loads(path.read_text())) for path in folder.glob("*.json")]
    return max(kept, key=lambda result: result.at, default=None)


def keep(result: Result, folder: Path = KEPT) -> Path:
    """Write a result for git, under its time and commit."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.at[:16].replace(':', '')}-{result.commit.split()[0]}.json"
    path.write_text(json.dumps(asdict(result), indent=1) + "\n")
    return path


def table(now: Result, before: Result | None) -> str:
    """A line per bench: its minimum now and before, and the ratio; below 1 is faster."""
    lines = [f"{'bench':<78}{'min now':>11}{'kept':>11}{'ratio':>7}"]
    for name, timing in now.benches.items():
        was = None if before is None else before.benches.get(name)
        lines.append(f"{name:<78}{_time(timing['min']):>11}{_compared(timing, was)}")
    return "\n".join(lines)


def _compared(timing: Timing, was: Timing | None) -> str:
    if was is None:
        return f"{'-':>11}"
    ratio = timing["min"] / was["min"]
    mark = " slower" if ratio > 1 + NOTABLE else " faster" if ratio < 1 - NOTABLE else ""
    return f"{_time(was['min']):>11}{ratio:>7.2f}{mark}"


def _time(seconds: float) -> str:
    for unit, size in (("ns", 1e-9), ("µs", 1e-6)):
        if seconds < 999.95 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 1e-3:.2f} ms"


def notes(now: Result, before: Result | None) -> list[str]:
    """What makes a comparison doubtful."""
    if before is None:
        return ["nothing is kept yet; --keep does it"]
    found = [f"compared with {before.commit} of {before.at}; minima, below 1 is faster"]
    if now.cpu != before.cpu:
        found.append(
            f"! another CPU: {now.cpu} now, {before.cpu} then; times do not compare, counts below do"
        )
    if now.python != before.python:
        found.append(f"! another Python: {now.python} now, {before.python} then")
    return found


def _instructions(keeping: bool) -> str:
    """The tables of instruction counts, of client and server, or why there are none."""
    try:
        counted = {
            instructions.interpreter(): instructions.count(),
            instructions.server(): instructions.count_server(),
        }
    except instructions.Uncountable as why:
        return f"instructions are not counted: {why}"
    tables = [
        f"{of}\n{instructions.table(counts, instructions.kept().get(of, {}))}"
        for of, counts in counted.items()
    ]
    for of, counts in counted.items() if keeping else ():
        instructions.keep(counts, of)
    return "\n\n".join(tables)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep this result and the instruction counts")
    parser.add_argument(
        "--only", default="", metavar="EXPRESSION", help="benches, as pytest's -k selects them"
    )
    parser.add_argument("--seconds", type=float, default=0.3, help="about how long each bench runs (0.3)")
    arguments = parser.parse_args()
    if arguments.keep and arguments.only:
        parser.error("--keep keeps all benches: leave out --only; nothing was run")
    before = last_kept()
    try:
        now = measure(arguments.only, arguments.seconds)
    except BenchesFailed as failed:
        print(f"the micro benches did not run, nothing was kept:\n{failed}")
        return 1
    print(table(now, before))
    print("\n".join(notes(now, before)))
    print(f"\n{_instructions(arguments.keep)}")
    if arguments.keep:
        print(f"kept as {keep(now).relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
