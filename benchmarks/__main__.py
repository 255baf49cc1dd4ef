"""``python -m benchmarks``: bullrush and its peers on the same server, one fresh process for every figure."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import server
from benchmarks.figures import summarize
from benchmarks.launchers import LAUNCHERS, About, Launcher, Unavailable
from benchmarks.machine import Cores, Machine
from benchmarks.report import Report, print_case
from benchmarks.runner import Lab, Run, RunFailed
from benchmarks.scenarios import Variant, select

RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 if any measurement failed."""
    options = _parser().parse_args(arguments)
    try:
        variants, binary = select(options.only), server.find(options.server)
    except (ValueError, RuntimeError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    cores = Cores.of_this_machine(pin=not options.no_pin)
    contenders, skipped = _describe(options.contenders)
    report = Report(Machine.now(server.describe(binary), cores), contenders, options.quick, skipped)
    print("\n".join(report.head()))
    lab = Lab(binary, cores, options.quick)
    path = options.json or RESULTS / _file_name(report, options.server)
    for variant in variants:
        _run_case(lab, report, variant, options.rounds or (1 if options.quick else 5))
        report.write(path)  # after every case: an interrupted run keeps what it has
    print(f"written to {path}")
    return 1 if report.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the jobs and one round; do not quote it"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="SCENARIO", help="process, or process/100")
    parser.add_argument("--contenders", nargs="+", default=list(LAUNCHERS), choices=list(LAUNCHERS))
    parser.add_argument("--rounds", type=int, help="default 5, with --quick 1")
    parser.add_argument("--server", choices=("redis", "valkey"), default="redis")
    parser.add_argument("--no-pin", action="store_true", help="leave the choice of cores to the kernel")
    parser.add_argument("--json", type=Path, metavar="PATH", help="default: a file in benchmarks/results/")
    return parser


def _describe(names: Sequence[str]) -> tuple[dict[str, About], dict[str, str]]:
    contenders: dict[str, About] = {}
    skipped: dict[str, str] = {}
    for name in names:
        try:
            contenders[name] = LAUNCHERS[name].describe()
        except Unavailable as error:
            skipped[name] = str(error)
    return contenders, skipped


def _run_case(lab: Lab, report: Report, variant: Variant, rounds: int) -> None:
    """All rounds of all contenders, interleaved, and in another order each round."""
    entered = [n for n, about in report.contenders.items() if variant.scenario.name in about["scenarios"]]
    results: dict[str, list[Run]] = {}
    failures: dict[str, str] = {}
    for turn in range(rounds):
        shift = turn % len(entered) if entered else 0
        for name in entered[shift:] + entered[:shift]:
            try:
                results.setdefault(name, []).append(_measure(lab, variant, LAUNCHERS[name]))
            except RunFailed as error:
                failures[name] = str(error)
    rows = [
        summarize(variant.scenario, name, _label(report, name), results[name], lab.cores.available)
        for name in entered
        if results.get(name)
    ]
    report.cases[variant.name], report.runs[variant.name] = rows, results
    if failures:
        report.failures[variant.name] = failures
    print_case(variant, rows, failures)


def _measure(lab: Lab, variant: Variant, launcher: Launcher) -> Run:
    if sys.stderr.isatty():
        print(f"\r\033[K{variant.name} {launcher.name}", end="\r", file=sys.stderr)
    return lab.measure(variant, launcher)


def _label(report: Report, name: str) -> str:
    return report.contenders[name]["label"]


def _file_name(report: Report, kind: str) -> str:
    # A quick run is not worth keeping: the name is one that git ignores.
    day = report.machine.date[:10]
    return "quick.tmp.json" if report.quick else f"{day}-{kind}-{os.uname().machine}.json"


if __name__ == "__main__":
    sys.exit(main())
