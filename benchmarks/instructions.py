"""Instructions per job of the hot paths, counted by callgrind: the same on a busy machine as on an idle one.

python -m benchmarks.instructions            count, and compare with what is kept
python -m benchmarks.instructions --keep     keep the counts for this interpreter
python -m benchmarks.instructions --check    end with 1 when a path takes more than 5 % more than kept
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
KEPT: Final = Path(__file__).parent / "results" / "instructions.json"
TOLERANCE: Final = 0.05
LIMIT_S: Final = 110

Counts = dict[str, int]


class Uncountable(Exception):
    """Instructions cannot be counted here; the text says why."""


class ValgrindMissing(Uncountable):
    """There is no valgrind on this machine."""


def interpreter() -> str:
    """What counts depend on: they are compared within one build of one interpreter only."""
    compiler = platform.python_compiler()
    guided = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    made = f"{compiler}, {'' if guided else 'not '}profile-guided"
    return f"{platform.python_implementation()} {platform.python_version()} {platform.machine()} {made}"


def count() -> Counts:
    """Instructions per job of each path. Raises ValgrindMissing, or Uncountable when a path fails under it."""
    if shutil.which("valgrind") is None:
        raise ValgrindMissing("valgrind is missing (Debian and Ubuntu: apt-get install valgrind)")
    with tempfile.TemporaryDirectory(prefix="instructions-") as folder:
        done = subprocess.run(
            _command(Path(folder)),
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        if done.returncode != 0:
            raise Uncountable(f"callgrind ended with {done.returncode}: {done.stderr[-2000:]}")
        return _per_job(done.stdout, _parts(Path(folder)))


def _command(folder: Path) -> list[str]:
    callgrind = ["valgrind", "--tool=callgrind", "--dump-before=getppid"]
    return [
        *callgrind,
        f"--callgrind-out-file={folder}/part",
        sys.executable,
        "-m",
        "benchmarks.instruction_paths",
    ]


def _parts(folder: Path) -> list[int]:
    """The instructions of each part that a mark ended, in order; the first one is start-up."""
    found: list[int] = []
    for path in sorted(folder.glob("part.*"), key=lambda path: int(path.suffix[1:])):
        total = re.search(r"^(?:totals|summary): (\d+)", path.read_text(errors="replace"), re.MULTILINE)
        if total is None:
            raise Uncountable(f"callgrind wrote no total into {path.name}")
        found.append(int(total[1]))
    return found


def _per_job(listing: str, parts: list[int]) -> Counts:
    """Half of what 2N times take more than N times is left: what is paid once drops out."""
    lines = [line.split("\t") for line in listing.splitlines()]
    if len(parts) < 2 * len(lines) + 1:
        raise Uncountable(f"callgrind wrote {len(parts)} parts for {len(lines)} paths: no getppid was seen")
    counts: Counts = {}
    for n, (name, times, jobs) in enumerate(lines):
        once, twice = parts[1 + 2 * n], parts[2 + 2 * n]
        counts[name] = round((twice - once) / (int(times) * int(jobs)))
    return counts


def kept() -> dict[str, Counts]:
    """The counts in git, by interpreter."""
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


def keep(counts: Counts) -> None:
    everything = {**kept(), interpreter(): counts}
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps(everything, indent=2, sort_keys=True) + "\n")


def grown(counts: Counts, before: Counts) -> list[str]:
    """Say which paths take more than 5 % more than kept, and which are only on one side: keep new counts then."""
    found = [f"{name}: is kept and not counted any more" for name in before if name not in counts]
    for name, now in counts.items():
        was = before.get(name)
        if was is None:
            found.append(f"{name}: is counted and not kept yet")
        elif now > was * (1 + TOLERANCE):
            found.append(f"{name}: {now:,} instructions per job, {was:,} are kept ({now / was - 1:+.1%})")
    return found


def table(counts: Counts, before: Counts) -> str:
    lines = [f"{'path':<30}{'instructions/job':>18}{'kept':>10}{'change':>9}"]
    for name, now in counts.items():
        was = before.get(name)
        change = "" if was is None else f"{now / was - 1:+.1%}"
        lines.append(f"{name:<30}{now:>18,}{'-' if was is None else format(was, ','):>10}{change:>9}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep the counts for this interpreter")
    parser.add_argument("--check", action="store_true", help="fail on more than 5 %% more than kept")
    arguments = parser.parse_args()
    try:
        counts = count()
    except Uncountable as why:
        print(f"not counted: {why}")
        return 2
    before = kept().get(interpreter(), {})
    print(f"{interpreter()}\n{table(counts, before)}")
    if not before:
        print("nothing is kept for this interpreter; --keep does it")
    if arguments.keep:
        keep(counts)
    problems = grown(counts, before) if arguments.check else []
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
