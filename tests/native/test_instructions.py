"""The hot paths take no more instructions per job than what is kept in benchmarks/results/instructions.json."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from benchmarks import instructions


@pytest.mark.skipif("BULLRUSH_SANITIZED" in os.environ, reason="a core with sanitizers takes more")
def test_hot_paths_take_no_more_instructions_than_kept() -> None:
    before = instructions.kept().get(instructions.interpreter())
    if before is None:
        pytest.skip(f"no counts are kept for {instructions.interpreter()}; make instructions ARGS=--keep")
    try:
        counts = instructions.count()
    except instructions.ValgrindMissing as missing:
        pytest.skip(str(missing))
    problems = instructions.grown(counts, before)
    assert not problems, "\n".join([*problems, instructions.table(counts, before)])


def test_scripts_take_no_more_instructions_of_the_server_than_kept() -> None:
    try:
        before = instructions.kept().get(instructions.server())
        if before is None:
            pytest.skip(
                f"no counts are kept for {instructions.server()}; make instructions ARGS='--server --keep'"
            )
        counts = instructions.count_server()
    except (instructions.ValgrindMissing, instructions.NoServer) as missing:
        pytest.skip(str(missing))
    problems = instructions.grown(counts, before)
    assert not problems, "\n".join([*problems, instructions.table(counts, before)])


def test_five_percent_more_is_let_through_and_six_is_not() -> None:
    before = {"add": 1000, "claim": 1000}
    assert instructions.grown({"add": 1050, "claim": 10}, before) == []
    [problem] = instructions.grown({"add": 1060, "claim": 1000}, before)
    assert problem == "add: 1,060 instructions per job, 1,000 are kept (+6.0%)"


def test_a_path_that_is_gone_or_new_asks_for_new_counts() -> None:
    assert [text.partition(":")[0] for text in instructions.grown({"new": 5}, {"old": 5})] == ["old", "new"]


def test_a_failing_path_is_not_taken_for_a_missing_valgrind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fails = subprocess.CompletedProcess([], 1, "", "AssertionError: the dispatcher asked for failed")
    monkeypatch.setattr(instructions.shutil, "which", lambda _: "/usr/bin/valgrind")
    monkeypatch.setattr(instructions.subprocess, "run", lambda *_, **__: fails)
    with pytest.raises(instructions.Uncountable, match="the dispatcher asked for failed"):
        instructions.count()
