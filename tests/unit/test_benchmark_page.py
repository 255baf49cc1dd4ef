"""docs/benchmarks.md says what the results say: winners, ratios, budgets, and what was thrown away."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.charts.specs import Bars, charts_of
from benchmarks.page.__main__ import CHARTS, PAGE, README, RESULTS, sources
from benchmarks.page.budgets import budget_table
from benchmarks.page.losses import where_others_win
from benchmarks.page.readme import with_section
from benchmarks.page.results import Measured, load, merged, newest
from benchmarks.page.sections import Sources, page, results_named_in
from benchmarks.page.tables import thrown_away, waited
from benchmarks.page.words import rounded

Figures = Mapping[str, float | bool | Mapping[str, float]]
LABELS = {
    "bullrush": "bullrush",
    "floor": "floor",
    "bullmq_node": "BullMQ for Node",
    "celery": "Celery",
    "rq": "RQ",
}


def row(contender: str, figures: Figures) -> dict[str, object]:
    decisive = figures.get("decisive", figures.get("rate", 0.0))
    return {
        "contender": contender,
        "label": LABELS[contender],
        "rounds": 5,
        "jobs": 1_000,
        "rate": 0.0,
        "spread": 0.05,
        "redis_us": 2.0,
        "client_us": 2.0,
        "commands": 1.0,
        "wall_to_busy": 1.1,
        "others": 0.0,
        "flagged": False,
        "extra": {},
        "lower_is_better": False,
        **figures,
        "decisive": decisive,
    }


def less(value: float, **extra: float) -> Figures:
    return {"decisive": value, "lower_is_better": True, "extra": extra}


CASES: Mapping[str, Mapping[str, Figures]] = {
    "process/10": {
        "bullrush": {"rate": 410_000.0},
        "floor": {"rate": 150_000.0},
        "bullmq_node": {"rate": 20_000.0},
        "celery": {"rate": 4_000.0},
        "rq": {"rate": 500.0},
    },
    "process/100": {
        "bullrush": {"rate": 390_000.0},
        "bullmq_node": {"rate": 39_000.0},
        "celery": {"rate": 1_000.0, "flagged": True, "wall_to_busy": 2.5},
    },
    "add_bulk/2": {"bullrush": {"rate": 900_000.0}, "bullmq_node": {"rate": 50_000.0}},
    "add_concurrent": {"bullrush": {"rate": 200_000.0, "others": 0.4}, "bullmq_node": {"rate": 50_000.0}},
    "memory": {
        "bullrush": less(77, overhead_bytes=77),
        "celery": {**less(70, overhead_bytes=70), "thrown_away": 2},
    },
    "latency_idle": {
        "bullrush": less(0.19, p50_ms=0.19, p99_ms=0.4),
        "celery": less(0.2, p50_ms=0.2, p99_ms=9),
    },
    "levitation/3m": {"bullrush": less(5), "rq": less(50)},
}


def write(folder: Path, name: str = "run.json", **changes: object) -> Path:
    content: dict[str, object] = {
        "machine": {
            "date": "2026-03-01T10:00:00+00:00",
            "commit": "abc1234",
            "server": "redis-server 7.0.15",
            "python": "CPython 3.11.7",
            "node": "v20.1.0",
            "cpu": "Imaginary CPU",
            "cores": 2,
            "pinning": "server on core 0, contender on core 1",
        },
        "quick": False,
        "contenders": {
            name: {"label": label, "version": f"{label} 1.0", "notes": "Promises much.", "scenarios": []}
            for name, label in LABELS.items()
        },
        "skipped": {"huey": "no network"},
        "failures": {"process/100": {"rq": "it fell over"}},
        "cases": {
            case: [row(name, figures) for name, figures in rows.items()] for case, rows in CASES.items()
        },
        **changes,
    }
    path = folder / name
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    return load(write(tmp_path))


@pytest.fixture
def text(measured: Measured, tmp_path: Path) -> str:
    return page(Sources([measured], tmp_path / "findings.md", tmp_path / "breakdown.json"))


def test_the_summary_compares_everybody_at_their_best(text: str) -> None:
    assert (
        "**410,000 jobs a second**, 10.5 times BullMQ for Node and 102 times the best other queue in Python, Celery"
        in text
    )


def test_no_figure_stands_without_where_it_was_measured(text: str, measured: Measured) -> None:
    for what in (
        "1 March 2026",
        "abc1234",
        "2 cores of an Imaginary CPU",
        "redis-server 7.0.15",
        "Celery 1.0",
    ):
        assert what in text
    for chart in charts_of(measured):
        assert "abc1234" in chart.where and "Imaginary CPU" in chart.where


def test_the_best_of_a_column_is_bold_and_the_floor_never(text: str) -> None:
    assert "| **bullrush** | **410,000** | **390,000** |" in text
    assert "| Celery | 4,000 | 1,000° |" in text
    assert "| RQ | 500 | failed |" in text


def test_budgets_are_met_missed_or_open(measured: Measured) -> None:
    table = "\n".join(budget_table(measured))
    assert "| ≥ 300,000 | ≥ 400,000 | 10: 410,000; 100: 390,000 | met, aim missed |" in table
    assert "| … × BullMQ for Node | ≥ 13 |  | 10: 20.50; 100: 10.00 | **missed** |" in table
    assert "| … × the best other queue in Python | ≥ 80 |  | 10: 102.50; 100: 390.00 | met |" in table
    assert "| 2: 900,000 | met, aim too |" in table
    assert "| `add` from 1,000 tasks, jobs/s | ≥ 250,000 |  | ✕ | open |" in table
    assert "| Redis memory of a waiting job, bytes | ≤ 110 |  | 77.00 | met |" in table
    assert "uvloop" not in table and "10 million" not in table


def test_a_figure_just_over_its_bound_is_not_rounded_to_it(tmp_path: Path) -> None:
    rows = [row("bullrush", less(0.2004, p50_ms=0.2004, p99_ms=1.0))]
    table = budget_table(load(write(tmp_path, cases={"latency_idle": rows})))
    assert "| 0.200 | **missed** |" in table[2]
    assert "| 1.00 | met |" in table[3]


def test_where_others_win(measured: Measured) -> None:
    said = "\n".join(where_others_win(measured))
    better, _, close = said.partition("Within 10 % of bullrush:")
    assert "Celery, 70.0 bytes against 77.0 bytes, 1.10 times better." in better
    assert "idle, two processes, p50: Celery, 0.200 ms against 0.190 ms, 5 % behind." in close
    assert said.count("\n- ") == 2


def test_nobody_wins_by_a_figure_that_was_thrown_away(tmp_path: Path) -> None:
    rows = [row("bullrush", {"rate": 100.0}), row("celery", {"rate": 900.0, "others": 0.3})]
    measured = load(write(tmp_path, cases={"process/10": rows}))
    assert where_others_win(measured)[0].startswith("No queue is better")


def test_what_was_thrown_away_is_named_and_not_quoted(measured: Measured, text: str) -> None:
    assert thrown_away(measured) == [
        "- `add_concurrent`: other programs used the machine: bullrush (40%).",
        "- `memory`: single runs, measured again: Celery 2.",
    ]
    assert "200,000 with single" not in text and "| 200,000 |" not in text


def test_who_waits_by_nature_is_marked_and_counts_against_us_only(tmp_path: Path) -> None:
    waiting = {"flagged": True, "wall_to_busy": 2.0}
    rows = [row("bullrush", {"rate": 350_000.0, **waiting}), row("celery", {"rate": 400_000.0, **waiting})]
    measured = load(write(tmp_path, cases={"process/10": rows}))
    assert waited(measured) == ["- `process/10`: bullrush 2.000, Celery 2.000."]
    assert (
        "Celery, 400,000 jobs/s against 350,000 jobs/s, 1.14 times better." in where_others_win(measured)[2]
    )
    assert "| ≥ 300,000 | ≥ 400,000 | 10: ° | open |" in budget_table(measured)[2]


def test_a_scenario_that_nobody_has_heard_of_is_shown(text: str) -> None:
    assert "| levitation (3m), less is better |" in text
    assert "<code>levitation/3m</code>" in text


def test_contenders_that_failed_or_were_missing_are_named(text: str) -> None:
    assert "RQ failed: it fell over" in text
    assert "huey did not take part: no network." in text


def test_findings_and_profile_are_left_out_until_they_say_something(
    measured: Measured, text: str, tmp_path: Path
) -> None:
    assert "What was tried" not in text and "Where the time goes" not in text
    findings, profile = tmp_path / "findings.md", tmp_path / "breakdown.json"
    findings.write_text("## What was tried\n\nEager tasks.\n")
    stage = {"stage": "encode", "side": "client", "us_per_job": 0.5, "floor_us": 0.125, "note": "memcpy"}
    profile.write_text(
        json.dumps({"title": "A plain job", "commit": "abc", "machine": "a CPU", "stages": [stage]})
    )
    full = page(Sources([measured], findings, profile))
    assert "## What was tried\n\nEager tasks.\n" in full
    assert "| encode | client | 0.50 | 0.12 | memcpy |" in full


def test_a_chart_says_thrown_away_in_place_of_a_bar(measured: Measured) -> None:
    charts = {chart.name: chart for chart in charts_of(measured)}
    assert set(charts) == {"processed", "added", "concurrency", "latency", "memory"}
    added = charts["added"].body
    assert isinstance(added, Bars)
    assert added.labels[0] == "bullrush"
    assert [panel.texts[0] for panel in added.panels] == ["900,000", "thrown away", "–"]


def test_a_later_file_replaces_cases_and_says_so(tmp_path: Path) -> None:
    again = {"add_concurrent": [row("bullrush", {"rate": 260_000.0})]}
    both = merged([write(tmp_path), write(tmp_path, "again.json", cases=again, failures={})])
    assert len(both) == 1 and both[0].value("add_concurrent", "bullrush") == 260_000
    text = page(Sources(both, tmp_path / "none", tmp_path / "none"))
    assert "Measured again by itself on 2026-03-01, commit abc1234." in text
    assert results_named_in(text) == ["run.json", "again.json"]


def test_the_newest_full_result_is_taken(tmp_path: Path) -> None:
    write(tmp_path, "a-part.json", cases={"process/10": []})
    write(tmp_path, "b-quick.json", quick=True)
    (tmp_path / "c-other.json").write_text('{"stages": []}')
    with pytest.raises(ValueError, match="there is no full result"):
        newest(tmp_path)
    write(tmp_path, "d-full.json")
    assert [run.file for run in newest(tmp_path)] == ["d-full.json"]


def test_a_quick_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="quick run"):
        load(write(tmp_path, quick=True))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (449_893.7, "450,000"),
        (3_612, "3,610"),
        (77.24, "77.2"),
        (0.20688, "0.207"),
        (0, "0"),
        (float("inf"), "never"),
    ],
)
def test_three_digits_count(value: float, written: str) -> None:
    assert rounded(value) == written


# What is in git


def test_the_page_and_the_readme_are_what_the_results_say() -> None:
    committed = PAGE.read_text()
    runs = merged([RESULTS / name for name in results_named_in(committed)])
    assert page(sources(runs)) == committed, "run `make bench-page`"
    assert with_section(README.read_text(), runs[0]) == README.read_text(), "run `make bench-page`"


def test_every_chart_of_the_page_is_there() -> None:
    runs = merged([RESULTS / name for name in results_named_in(PAGE.read_text())])
    wanted = {
        f"{chart.name}-{theme}.{kind}"
        for chart in charts_of(runs[0])
        for theme in ("light", "dark")
        for kind in ("svg", "png")
    }
    assert {path.name for path in CHARTS.iterdir()} == wanted, "run `make bench-page`"


@pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib comes with make bench-page"
)
def test_the_same_figures_draw_the_same_bytes(measured: Measured, tmp_path: Path) -> None:
    from benchmarks.charts.drawing import write as draw

    for chart in charts_of(measured):
        once = [path.read_bytes() for path in draw(chart, tmp_path)]
        assert once == [path.read_bytes() for path in draw(chart, tmp_path)]
        assert all(len(each) < 80_000 for each in once)
        assert b"commit abc1234" in once[0]  # text stays text
