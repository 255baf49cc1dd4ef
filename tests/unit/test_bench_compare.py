"""What make bench-compare keeps, and how it compares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.compare import Result, Timing, keep, last_kept, notes, table

OLD = Result(
    at="2026-11-24T12:00:00+00:00",
    commit="abc1234 with changes",
    python="CPython 3.11.7",
    cpu="one",
    benches={"add: test_add": Timing(min=1e-6, median=2e-6, rounds=100)},
)


def faster(factor: float) -> Result:
    timing = Timing(min=1e-6 / factor, median=2e-6, rounds=100)
    return replace(OLD, at="2026-11-25T12:00:00+00:00", benches={"add: test_add": timing})


def test_the_last_result_is_what_is_compared_with(tmp_path: Path) -> None:
    assert last_kept(tmp_path) is None
    new = faster(2)
    paths = [keep(result, tmp_path) for result in (new, OLD)]
    assert last_kept(tmp_path) == new
    assert [path.name for path in paths] == ["2026-11-25T1200-abc1234.json", "2026-11-24T1200-abc1234.json"]


def test_a_ratio_of_minima_stands_beside_each_bench() -> None:
    assert table(faster(2), OLD).endswith("500.0 ns     1.0 µs   0.50 faster")
    assert table(faster(0.5), OLD).endswith("2.0 µs     1.0 µs   2.00 slower")
    assert table(faster(1.05), OLD).endswith("952.4 ns     1.0 µs   0.95")


def test_a_bench_that_is_new_has_no_ratio() -> None:
    assert table(OLD, replace(OLD, benches={})).endswith("1.0 µs          -")


def test_another_cpu_is_said() -> None:
    assert len(notes(OLD, OLD)) == 1
    assert "one now, other then" in notes(OLD, replace(OLD, cpu="other"))[1]
