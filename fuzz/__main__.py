"""Run one target: `python -m fuzz codec -max_total_time=600`; options with one dash are libFuzzer's.

New inputs that reach new code are kept in build/fuzz/found, crashes in build/fuzz/crashes.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import atheris

TARGETS = ("codec", "values", "replies", "options")
ROOT = Path(__file__).parent
WORK = ROOT.parent / "build" / "fuzz"


def main() -> None:
    """Fuzz until libFuzzer's limit, or until something is wrong."""
    name, *options = sys.argv[1:]
    if name not in TARGETS:
        sys.exit(f"no target {name!r}; there are {', '.join(TARGETS)}")
    with atheris.instrument_imports(include=["bullrush", "fuzz"]):
        target = importlib.import_module(f"fuzz.{name}")
    found, crashes = WORK / "found" / name, WORK / "crashes"
    for folder in (found, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    folders = [str(found), str(ROOT / "corpus" / name)]
    arguments = [sys.argv[0], *folders, f"-artifact_prefix={crashes}/{name}-", *options]
    atheris.Setup(arguments, target.one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
