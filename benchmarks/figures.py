"""From the runs of a contender to its row: medians, spread, ratios, and whether to trust them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.harness.case import Result
from benchmarks.runner import Run
from benchmarks.scenarios import MORE_IS_BETTER, Scenario

MAX_WALL_TO_BUSY = 1.3
MAX_OTHERS = 0.1


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one contender in one case, medians over its rounds, µs and commands per job."""

    contender: str
    label: str
    rounds: int
    jobs: int
    rate: float
    spread: float
    redis_us: float
    client_us: float
    commands: float
    wall_to_busy: float
    others: float
    flagged: bool
    extra: Mapping[str, float]
    decisive: float
    lower_is_better: bool

    @property
    def disturbed(self) -> bool:
        return self.others > MAX_OTHERS

    def times_better(self, other: Row | None) -> float | None:
        """How many times better than `other` in the figure that decides the scenario."""
        if other is None or not self.decisive or not other.decisive:
            return None
        ratio = self.decisive / other.decisive
        return 1 / ratio if self.lower_is_better else ratio


def summarize(scenario: Scenario, contender: str, label: str, runs: Sequence[Run], cores: int) -> Row:
    """One row from the rounds of a contender (at least one)."""
    results = [run.result for run in runs]

    def middle(figure: Callable[[Result], float]) -> float:
        return median(figure(result) for result in results)

    decisive = [_decisive(scenario, result) for result in results]
    wall_to_busy = middle(lambda r: r["seconds"] / busy_seconds(r, cores) if r["seconds"] else 0.0)
    return Row(
        contender=contender,
        label=label,
        rounds=len(results),
        jobs=results[0]["jobs"],
        rate=middle(_rate),
        spread=(max(decisive) - min(decisive)) / median(decisive),
        redis_us=middle(lambda r: r["redis_s"] / r["jobs"] * 1e6),
        client_us=middle(lambda r: sum(r["client_s"]) / r["jobs"] * 1e6),
        commands=middle(lambda r: r["commands"] / r["jobs"]),
        wall_to_busy=wall_to_busy,
        others=median(run.others for run in runs),
        flagged=scenario.saturating and wall_to_busy > MAX_WALL_TO_BUSY,
        extra={key: median(result["extra"][key] for result in results) for key in results[0]["extra"]},
        decisive=median(decisive),
        lower_is_better=scenario.figure not in MORE_IS_BETTER,
    )


def busy_seconds(result: Result, cores: int) -> float:
    """The least wall time for the CPU used: the busiest process, or all of them over all cores."""
    used = [result["redis_s"], *result["client_s"]]
    return max(max(used), sum(used) / cores, 1e-9)


def _rate(result: Result) -> float:
    return result["jobs"] / result["seconds"] if result["seconds"] else 0.0


def _decisive(scenario: Scenario, result: Result) -> float:
    if scenario.figure == "rate":
        return _rate(result)
    if scenario.figure == "redis_us":
        return result["redis_s"] / result["jobs"] * 1e6
    return result["extra"][scenario.figure]
