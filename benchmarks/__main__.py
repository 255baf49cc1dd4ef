"""``python -m benchmarks``: bullrush and its peers on the same server, one fresh process for every figure."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import server
from benchmarks.figures import summarize, usable
from benchmarks.launchers import LAUNCHERS, QUICK, About, Launcher, Unavailable
from benchmarks.machine import Cores, Machine
from benchmarks.report import Report, print_case
from benchmarks.runner import Lab, Run, RunFailed
from benchmarks.scenarios import Variant, select

RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 if any measurement failed."""
    options = _parser().parse_args(arguments)
    names = options.contenders or (QUICK if options.quick else tuple(LAUNCHERS))
    try:
        variants, binaries = select(options.only, quick=options.quick), _servers(names)
    except (ValueError, RuntimeError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    cores = Cores.of_this_machine(pin=not options.no_pin)
    contenders, skipped = _describe(names, binaries)
    entered = list(contenders)
    servers = ", ".join(server.describe(binary) for binary in binaries.values())
    report = Report(Machine.now(servers, cores), contenders, options.quick, skipped)
    path = options.json or RESULTS / _file_name(report)
    if options.add and path.exists():
        try:
            report.add_to(path)
        except ValueError as error:
            print(f"benchmarks: {error}; name another file, or leave out --add", file=sys.stderr)
            return 2
    print("\n".join(report.head()))
    lab = Lab(binaries, cores, options.quick)
    for variant in variants:
        if able := _entered(report, variant, entered):
            _run_case(lab, report, variant, able, options.rounds)
            report.write(path)  # after every case: an interrupted run keeps what it has
        else:
            print(f"{variant.name}: none of these contenders takes part")
    print(f"written to {path}")
    return 1 if report.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a tenth of the jobs, one round, the main scenarios and contenders; do not quote it",
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="SCENARIO", help="process, or process/100")
    parser.add_argument("--contenders", nargs="+", choices=list(LAUNCHERS))
    parser.add_argument(
        "--rounds", type=int, help="default 1 to 5, by scenario and contender; with --quick 1"
    )
    parser.add_argument("--no-pin", action="store_true", help="leave the choice of cores to the kernel")
    parser.add_argument("--json", type=Path, metavar="PATH", help="default: a file in benchmarks/results/")
    parser.add_argument("--add", action="store_true", help="keep the cases that are in the file already")
    return parser


def _servers(names: Sequence[str]) -> dict[str, str]:
    """The binaries that are here. Raises RuntimeError without redis-server."""
    binaries = {"redis": server.find("redis")}
    if any(LAUNCHERS[name].server == "valkey" for name in names):
        try:
            binaries["valkey"] = server.find("valkey")
        except RuntimeError as error:
            print(f"benchmarks: {error}", file=sys.stderr)
    return binaries


def _describe(names: Sequence[str], binaries: Mapping[str, str]) -> tuple[dict[str, About], dict[str, str]]:
    contenders: dict[str, About] = {}
    skipped: dict[str, str] = {}
    for name in names:
        if LAUNCHERS[name].server not in binaries:
            skipped[name] = f"no {LAUNCHERS[name].server} server here"
            continue
        try:
            contenders[name] = LAUNCHERS[name].describe()
        except Unavailable as error:
            skipped[name] = str(error)
    return contenders, skipped


def _entered(report: Report, variant: Variant, wanted: Sequence[str]) -> list[str]:
    """The contenders that have the feature, and for which it is worth the time."""
    scenario = variant.scenario
    able = [name for name in wanted if scenario.function in report.contenders[name]["scenarios"]]
    return [name for name in able if not scenario.only or name in scenario.only]


def _run_case(lab: Lab, report: Report, variant: Variant, entered: Sequence[str], rounds: int | None) -> None:
    """All rounds of all contenders, interleaved, and in another order each round."""
    weight = variant.scenario.weight
    wanted = {name: rounds or (1 if lab.quick else LAUNCHERS[name].rounds[weight]) for name in entered}
    results: dict[str, list[Run]] = {name: [] for name in entered}
    failures: dict[str, str] = {}
    turn = 0
    while unmet := [
        name for name in entered if name not in failures and _lacks(lab, variant, results[name], wanted[name])
    ]:
        shift = turn % len(unmet)
        turn += 1
        for name in unmet[shift:] + unmet[:shift]:
            try:
                results[name].append(_measure(lab, variant, LAUNCHERS[name]))
            except RunFailed as error:
                failures[name] = str(error)
    rows = [
        summarize(variant.scenario, name, _label(report, name), results[name], lab.cores.available)
        for name in entered
        if results[name]
    ]
    report.cases[variant.name], report.runs[variant.name] = rows, results
    report.failures.pop(variant.name, None)
    if failures:
        report.failures[variant.name] = failures
    print_case(variant, rows, failures)


def _lacks(lab: Lab, variant: Variant, runs: Sequence[Run], wanted: int) -> bool:
    """Whether another run is needed; one that was thrown away is repeated, up to as many times as were wanted."""
    enough = len(usable(variant.scenario, runs, lab.cores.available)) >= wanted
    return not enough and len(runs) < (1 if lab.quick else 2) * wanted


def _measure(lab: Lab, variant: Variant, launcher: Launcher) -> Run:
    if sys.stderr.isatty():
        print(f"\r\033[K{variant.name} {launcher.name}", end="\r", file=sys.stderr)
    return lab.measure(variant, launcher)


def _label(report: Report, name: str) -> str:
    return report.contenders[name]["label"]


def _file_name(report: Report) -> str:
    # A quick run is not worth keeping: the name is one that git ignores.
    return "quick.tmp.json" if report.quick else f"{report.machine.date[:10]}-{os.uname().machine}.json"


if __name__ == "__main__":
    sys.exit(main())
