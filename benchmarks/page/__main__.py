"""``python -m benchmarks.page [RESULT.json …]``: docs/benchmarks.md, docs/charts and the README's table, from results.

Without files: from the newest full result for each kind of server.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.charts.specs import charts_of
from benchmarks.machine import ROOT
from benchmarks.page.readme import with_section
from benchmarks.page.results import Measured, merged, newest
from benchmarks.page.sections import Sources, page

RESULTS = ROOT / "benchmarks" / "results"
PAGE, CHARTS, README = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "charts", ROOT / "README.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write everything; 2 when a file cannot be used or matplotlib is missing."""
    options = _parser().parse_args(arguments)
    try:
        runs = merged(options.results) if options.results else newest(RESULTS)
        readme = with_section(README.read_text(), runs[0])
        text = page(sources(runs))
        if not options.text_only:
            draw(runs[0])
    except (OSError, ValueError, ImportError) as error:
        print(f"benchmarks.page: {error}", file=sys.stderr)
        return 2
    PAGE.write_text(text)
    README.write_text(readme)
    print(
        f"written from {', '.join(run.file for run in runs)}: {PAGE.relative_to(ROOT)}, README.md, docs/charts"
    )
    return 0


def sources(runs: Sequence[Measured]) -> Sources:
    """With the hand-written findings and the profile, where they lie in this project."""
    return Sources(runs, ROOT / "benchmarks" / "findings.md", RESULTS / "breakdown.json")


def draw(measured: Measured) -> None:
    """Every chart that the run has figures for; those of an earlier run that it has none for are removed."""
    from benchmarks.charts.drawing import write

    CHARTS.mkdir(parents=True, exist_ok=True)
    written = {path for chart in charts_of(measured) for path in write(chart, CHARTS)}
    for path in set(CHARTS.iterdir()) - written:
        path.unlink()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULT.json")
    parser.add_argument(
        "--text-only", action="store_true", help="leave the charts as they are (no matplotlib)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
