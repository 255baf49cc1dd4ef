"""The benchmark suite runs from end to end and writes what the page is made of; how fast is not the subject."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict, cast

import pytest
import redis

from benchmarks import network
from benchmarks.launchers import LAUNCHERS, QUICK
from benchmarks.machine import ROOT
from benchmarks.scenarios import Pace, select
from tests.servers import Server

needs_server = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server on PATH")
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="the relay is compiled with cc")


class Row(TypedDict):
    contender: str
    jobs: int
    rate: float
    commands: float
    extra: Mapping[str, float]


class Written(TypedDict):
    quick: bool
    cases: Mapping[str, Sequence[Row]]
    runs: Mapping[str, Mapping[str, Sequence[object]]]
    failures: Mapping[str, Mapping[str, str]]


def suite(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(path), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def measured(path: Path, *names: str) -> Written:
    done = suite(path, "--contenders", "bullrush", "--only", *names)
    assert done.returncode == 0, done.stdout + done.stderr
    return cast(Written, json.loads(path.read_text()))


def only_row(written: Written, name: str) -> Row:
    (row,) = written["cases"][name]
    assert row["contender"] == "bullrush"
    assert len(written["runs"][name]["bullrush"]) == 1
    return row


@needs_server
def test_the_suite_measures_and_writes_a_row_for_every_case(tmp_path: Path) -> None:
    written = measured(tmp_path / "found.json", "add_sequential", "process/100", "memory")
    assert written["quick"] and not written["failures"]
    assert list(written["cases"]) == ["add_sequential", "process/100", "memory"]
    processed = only_row(written, "process/100")
    assert processed["jobs"] == 50_000
    assert processed["rate"] > 0
    # Batches form: a command for each job would be one and more.
    assert 0 < processed["commands"] < 1
    alone = only_row(written, "add_sequential")["extra"]
    assert alone["add_us"] > alone["ping_us"] > 0
    assert 0 < alone["p50_ms"] <= alone["p99_ms"] <= alone["p999_ms"] <= alone["max_ms"]
    memory = only_row(written, "memory")["extra"]
    assert memory["bytes_per_job"] == pytest.approx(memory["overhead_bytes"] + memory["payload_bytes"])
    assert memory["overhead_bytes"] > 0


@needs_server
def test_an_interrupted_run_is_continued_unless_something_else_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    measured(path, "memory")
    both = measured(path, "add_bulk/1", "--add")
    assert list(both["cases"]) == ["memory", "add_bulk/1"]
    text = path.read_text().replace('"commit": "', '"commit": "another ')
    path.write_text(text)
    done = suite(path, "--contenders", "bullrush", "--only", "memory", "--add")
    assert done.returncode == 2
    assert "was measured with another commit: another" in done.stderr
    assert path.read_text() == text


@needs_server
@needs_compiler
def test_a_case_can_have_a_network_in_between(tmp_path: Path) -> None:
    written = measured(tmp_path / "found.json", "far_add_bulk/1")
    assert only_row(written, "far_add_bulk/1")["rate"] > 0


@needs_compiler
def test_the_relay_keeps_every_byte_back_each_way(server: Server) -> None:
    with network.between(server.port, 5_000, None) as port, redis.Redis(port=port) as client:
        client.ping()
        began = time.monotonic()
        client.ping()
        assert time.monotonic() - began >= 0.01  # time is the subject


def test_an_unknown_scenario_is_refused_before_anything_runs(tmp_path: Path) -> None:
    done = suite(tmp_path / "found.json", "--only", "process/7", "--contenders", "bullrush")
    assert done.returncode == 2
    assert "no scenario 'process/7'; there are add_sequential," in done.stderr
    assert not (tmp_path / "found.json").exists()


def test_a_quick_run_takes_few_cases_unless_told_which() -> None:
    quick, every = select([], quick=True), select([], quick=False)
    assert 8 <= len(quick) <= 12 < len(every)
    assert {"process/1000", "memory"} <= {variant.name for variant in quick}
    assert [variant.name for variant in select(["growth/10k"], quick=True)] == ["growth/10k"]
    assert set(QUICK) < set(LAUNCHERS)


def test_a_contender_can_have_another_pace_in_one_scenario() -> None:
    (variant,) = select(["latency_load"], quick=False)
    fast, _, slow = variant.scenario.rates
    assert fast > slow
    assert variant.order("bullrush", Pace.FAST, quick=False)["rate"] == fast
    assert variant.order("floor", Pace.FAST, quick=False)["rate"] == slow
