"""Instructions per job of the hot paths, counted by callgrind: the same on a busy machine as on an idle one.

python -m benchmarks.instructions            count, and compare with what is kept
python -m benchmarks.instructions --keep     keep the counts for this interpreter
python -m benchmarks.instructions --server   the scripts' instructions in redis-server, in place of the client's
python -m benchmarks.instructions --check    end with 1 when a path takes more than 5 % more than kept
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Final

from benchmarks import instructions_server

ROOT: Final = Path(__file__).parent.parent
KEPT: Final = Path(__file__).parent / "results" / "instructions.json"
TOLERANCE: Final = 0.05
LIMIT_S: Final = 110
SERVERS: Final = 3

Counts = dict[str, int]


class Uncountable(Exception):
    """Instructions cannot be counted here; the text says why."""


class ValgrindMissing(Uncountable):
    """There is no valgrind on this machine."""


class NoServer(Uncountable):
    """There is no redis-server on this machine."""


def interpreter() -> str:
    """What counts depend on: they are compared within one build of one interpreter only."""
    compiler = platform.python_compiler()
    guided = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    made = f"{compiler}, {'' if guided else 'not '}profile-guided"
    return f"{platform.python_implementation()} {platform.python_version()} {platform.machine()} {made}"


def server() -> str:
    """What counts of scripts depend on. Raises NoServer where there is none."""
    try:
        return f"{instructions_server.server_name()} {platform.machine()}"
    except RuntimeError as error:
        raise NoServer(str(error)) from None


def count() -> Counts:
    """Instructions per job of each path. Raises ValgrindMissing, or Uncountable when a path fails under it."""
    _need_valgrind()
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
        return _per_job(done.stdout, _parts(Path(folder)), apart=2)


def count_server() -> Counts:
    """Instructions per job that scripts take of redis-server. Raises as `count`.

    A server hashes with a seed of its own, so that counts differ by 1 or 2 % from one to the next: medians.
    """
    _need_valgrind()
    runs = [_count_one_server() for _ in range(SERVERS)]
    return {name: int(statistics.median(run[name] for run in runs)) for name in runs[0]}


def _count_one_server() -> Counts:
    with tempfile.TemporaryDirectory(prefix="instructions-") as folder:
        listing = instructions_server.count_into(Path(folder))
        return _per_job(listing, _parts(Path(folder)), apart=3)


def _need_valgrind() -> None:
    if shutil.which("valgrind") is None:
        raise ValgrindMissing("valgrind is missing (Debian and Ubuntu: apt-get install valgrind)")


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


def _per_job(listing: str, parts: list[int], apart: int) -> Counts:
    """Half of what 2N times take more than N times is left: what is paid once drops out.

    Each path has `apart` parts at the end of all, the last two of them those of N and of 2N times.
    """
    lines = [line.split("\t") for line in listing.splitlines()]
    if len(parts) <= apart * len(lines):
        raise Uncountable(
            f"callgrind wrote {len(parts)} parts for {len(lines)} paths: the marks were not seen"
        )
    counted = parts[-apart * len(lines) :]
    counts: Counts = {}
    for n, (name, times, jobs) in enumerate(lines):
        once, twice = counted[apart * (n + 1) - 2 : apart * (n + 1)]
        counts[name] = round((twice - once) / (int(times) * int(jobs)))
    return counts


def kept() -> dict[str, Counts]:
    """The counts in git, by interpreter or server."""
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


def keep(counts: Counts, of: str) -> None:
    """Keep the counts of this interpreter or server in place of those before."""
    everything = {**kept(), of: counts}
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
    parser.add_argument("--server", action="store_true", help="count the scripts in redis-server instead")
    arguments = parser.parse_args()
    try:
        of = server() if arguments.server else interpreter()
        counts = count_server() if arguments.server else count()
    except Uncountable as why:
        print(f"not counted: {why}")
        return 2
    before = kept().get(of, {})
    print(f"{of}\n{table(counts, before)}")
    if not before:
        print(f"nothing is kept for {of}; --keep does it")
    if arguments.keep:
        keep(counts, of)
    problems = grown(counts, before) if arguments.check and before else []
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
