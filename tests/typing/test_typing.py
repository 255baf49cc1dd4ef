"""Both type checkers accept the sample and find every mistake, on its line and nowhere else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SAMPLE = HERE / "sample.py"
MISUSE = HERE / "misuse.py"

Errors = dict[tuple[str, int], list[str]]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )


@cache
def mypy_errors() -> Errors:
    pytest.importorskip("mypy")
    done = run("mypy", "--strict", "--no-error-summary", "--follow-imports=silent", str(SAMPLE), str(MISUSE))
    errors: Errors = {}
    for line in done.stdout.splitlines():
        found = re.match(r"(.+\.py):(\d+): error: (.*)", line)
        if found:
            errors.setdefault((Path(found[1]).name, int(found[2])), []).append(found[3])
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return errors


@cache
def pyright_errors() -> Errors:
    pytest.importorskip("pyright")
    done = run("pyright", "--outputjson", "--pythonpath", sys.executable, str(SAMPLE), str(MISUSE))
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors: Errors = {}
    for found in json.loads(done.stdout)["generalDiagnostics"]:
        if found["severity"] == "error":
            place = Path(found["file"]).name, found["range"]["start"]["line"] + 1
            errors.setdefault(place, []).append(found["message"])
    return errors


def marked_lines() -> list[int]:
    lines = MISUSE.read_text().splitlines()
    return [number for number, line in enumerate(lines, 1) if "# error: " in line]


checkers = pytest.mark.parametrize("checker", [mypy_errors, pyright_errors], ids=["mypy", "pyright"])


@checkers
def test_the_sample_is_clean(checker: Callable[[], Errors]) -> None:
    assert {place: said for place, said in checker().items() if place[0] == SAMPLE.name} == {}


@checkers
def test_every_marked_line_is_an_error(checker: Callable[[], Errors]) -> None:
    lines = MISUSE.read_text().splitlines()
    missed = [lines[n - 1].strip() for n in marked_lines() if (MISUSE.name, n) not in checker()]
    assert missed == []


@checkers
def test_no_other_line_is_an_error(checker: Callable[[], Errors]) -> None:
    marked = {(MISUSE.name, number) for number in marked_lines()}
    others = {
        place: said for place, said in checker().items() if place[0] == MISUSE.name and place not in marked
    }
    assert others == {}


def test_there_are_marked_lines() -> None:
    assert len(marked_lines()) >= 17
