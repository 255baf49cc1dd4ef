"""``python -m tests.faults.full``: the headline figures under faults, on Redis and on Valkey, with a report."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from tests.faults.full.campaigns import CAMPAIGNS
from tests.faults.full.lab import Lab, lab
from tests.faults.full.report import Report
from tests.faults.seed import new_seed
from tests.servers import KINDS, Kind

FOLDER = Path("build/faults")
QUICK = 0.02


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 if any bound did not hold."""
    options = _parser().parse_args(arguments)
    logging.getLogger("bullrush").setLevel(logging.CRITICAL)
    seed = new_seed() if options.seed is None else cast("int", options.seed)
    kinds = [options.server] if options.server else list(KINDS)
    report = Report(seed, QUICK if options.quick else options.scale)
    print(f"seed {seed}: --seed {seed} plays the same chances again", file=sys.stderr)
    for campaign in options.only or CAMPAIGNS:
        for kind in kinds:
            _run(report, campaign, kind)
            report.write(options.folder)  # after every one: an interrupted run keeps what it has
    if options.docs:
        report.write_page(options.docs)
    print(report.table())
    print(f"written to {options.folder / 'report.md'}")
    return 0 if report.holds else 1


def _run(report: Report, campaign: str, kind: Kind) -> None:
    with lab(campaign, kind, report.seed, report.scale) as bench:
        bench.say("begins")
        try:
            asyncio.run(_timed(bench, campaign))
        except Exception as error:  # one that breaks off must not take the others along
            traceback.print_exc()
            bench.result.bounds["it came to its end"] = False
            bench.result.offenders.append(f"{type(error).__name__}: {error}")
        bench.say("holds" if bench.result.holds else f"DOES NOT HOLD: {bench.result.offenders}")
        report.add(bench.result)


async def _timed(bench: Lab, campaign: str) -> None:
    began = time.monotonic()
    try:
        await CAMPAIGNS[campaign].run(bench)
    finally:
        bench.result.seconds = round(time.monotonic() - began, 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.full", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 %% of everything, in a minute or so")
    parser.add_argument("--scale", type=float, default=1.0, help="a part of everything, 1 = the full size")
    parser.add_argument(
        "--only", nargs="+", choices=list(CAMPAIGNS), metavar="NAME", help=", ".join(CAMPAIGNS)
    )
    parser.add_argument("--server", choices=KINDS, help="on this kind only")
    parser.add_argument("--seed", type=int, help="play the chances of another run again (or BULLRUSH_SEED=)")
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help=f"where the report goes, default {FOLDER}"
    )
    parser.add_argument("--docs", type=Path, metavar="PATH", help="write the report there as well, as a page")
    return parser


if __name__ == "__main__":
    sys.exit(main())
