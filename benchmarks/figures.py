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
    thrown_away: int = 0

    @property
    def disturbed(self) -> bool:
        return self.others > MAX_OTHERS

    def times_better(self, other: Row | None) -> float | None:
        """How many times better than `other` in the figure that decides the scenario."""
        if other is None or not self.decisive or not other.decisive:
            return None
        ratio = self.decisive / other.decisive
        return 1 / ratio if self.lower_is_better else ratio


def usable(scenario: Scenario, runs: Sequence[Run], cores: int) -> list[Run]:
    """The runs that say something of the contender, and not of whoever took the machine from it.

    Others may have had a tenth of the machine at most. Where the contender or the server should be busy all the time, a
    run that took more than 1.3 times as long as the busier of them worked is thrown away: two processes shared a core. A
    contender that never comes below that waits for round trips by its nature; its runs count, and its row is marked.
    """
    calm = [run for run in runs if run.others <= MAX_OTHERS]
    if not scenario.saturating:
        return calm
    return [run for run in calm if wall_to_busy(run.result, cores) <= MAX_WALL_TO_BUSY] or calm


def summarize(scenario: Scenario, contender: str, label: str, runs: Sequence[Run], cores: int) -> Row:
    """One row from the rounds of a contender (at least one); if all were disturbed, they are used and marked."""
    used = usable(scenario, runs, cores) or runs
    results = [run.result for run in used]

    def middle(figure: Callable[[Result], float]) -> float:
        return median(figure(result) for result in results)

    decisive = [_decisive(scenario, result) for result in results]
    waiting = middle(lambda r: wall_to_busy(r, cores))
    return Row(
        contender=contender,
        label=label,
        rounds=len(results),
        jobs=results[0]["jobs"],
        rate=middle(_rate),
        spread=(max(decisive) - min(decisive)) / median(decisive) if median(decisive) else 0.0,
        redis_us=middle(lambda r: r["redis_s"] / r["jobs"] * 1e6),
        client_us=middle(lambda r: sum(r["client_s"]) / r["jobs"] * 1e6),
        commands=middle(lambda r: r["commands"] / r["jobs"]),
        wall_to_busy=waiting,
        others=median(run.others for run in used),
        flagged=scenario.saturating and waiting > MAX_WALL_TO_BUSY,
        extra={key: median(result["extra"][key] for result in results) for key in results[0]["extra"]},
        decisive=median(decisive),
        lower_is_better=scenario.figure not in MORE_IS_BETTER,
        thrown_away=len(runs) - len(used),
    )


def wall_to_busy(result: Result, cores: int) -> float:
    """Wall time over the CPU time of whoever was busiest."""
    return result["seconds"] / busy_seconds(result, cores)


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
