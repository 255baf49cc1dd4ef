"""The budgets that the engine was built to, and whether a run keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.page import words
from benchmarks.page.results import NODE, OURS, WAITED, Measured, role

UVLOOP = "bullrush_uvloop"

# The figure of one case, None when there is none to quote.
Reading = Callable[[Measured, str], float | None]


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound for each of `cases` (or for the best of them), and perhaps a higher aim."""

    measure: str
    bound: float
    cases: Sequence[str]
    read: Reading
    aim: float | None = None
    at_least: bool = True
    any_case: bool = False
    write: Callable[[float], str] = words.exact

    def keeps(self, value: float, bound: float) -> bool:
        return value >= bound if self.at_least else value <= bound


def figure(key: str = "", contender: str = OURS) -> Reading:
    return lambda measured, case: measured.claim(case, contender, key)


def times_node(measured: Measured, case: str) -> float | None:
    """How many times better than BullMQ for Node."""
    return _times(measured, case, [NODE])


def times_best_python(measured: Measured, case: str) -> float | None:
    """How many times better than the best queue in Python that is not ours."""
    return _times(measured, case, [name for name in measured.others if role(name) == "rest"])


def _times(measured: Measured, case: str, rivals: Sequence[str]) -> float | None:
    ours = measured.quotable(case, OURS)
    # A rival that waits by its nature counts: to leave it out would flatter us.
    ratios = [ours.times_better(measured.usable(case, name)) for name in rivals] if ours else []
    return min((each for each in ratios if each is not None), default=None)


def of_node(measured: Measured, case: str) -> float | None:
    """Our share of what BullMQ for Node takes, of something that should be small."""
    times = times_node(measured, case)
    return None if times is None else 1 / times


def lost_far_away(measured: Measured, case: str) -> float | None:
    """The share of the throughput that a millisecond of network costs; `case` is the one far away."""
    far, near = measured.value(case, OURS), measured.value(case.removeprefix("far_"), OURS)
    return None if far is None or near is None else max(0.0, 1 - far / near)


BUSY = ("process/10", "process/100", "process/1000")
BULK = ("add_bulk/1", "add_bulk/2")
BATCHES = ("redis_cpu/1000", "redis_cpu/100")
FAR = ("far_process/10", "far_process/100", "far_process/1000")
FAR_ADDS = ("far_add_concurrent", "far_add_bulk/1")

BUDGETS = (
    Budget("process no-op `async def`, jobs/s", 300_000, BUSY, figure(), aim=400_000),
    Budget("… × BullMQ for Node", 13, BUSY, times_node),
    Budget("… × the best other queue in Python", 80, BUSY, times_best_python),
    Budget("… at concurrency 1, jobs/s", 120_000, ("process/1",), figure()),
    Budget("… at concurrency 1 on uvloop, jobs/s", 300_000, ("process/1",), figure(contender=UVLOOP)),
    Budget("process no-op `def` in threads, jobs/s", 200_000, ("process_threads/10",), figure()),
    Budget("producer and worker at once, jobs/s", 200_000, ("produce_and_process/100",), figure()),
    Budget("`add_bulk` of 1,000, jobs/s", 500_000, BULK, figure(), aim=800_000, any_case=True),
    Budget("… × BullMQ for Node", 15, BULK, times_node, any_case=True),
    Budget("`add` from 1,000 tasks, jobs/s", 250_000, ("add_concurrent",), figure()),
    Budget("… × BullMQ for Node", 6, ("add_concurrent",), times_node),
    Budget("`add` one by one, × a bare PING", 1.3, ("add_sequential",), figure("times_ping"), at_least=False),
    Budget("Redis CPU of a job, µs", 3.5, BATCHES, figure("redis_us"), at_least=False),
    Budget("… in batches of 10, µs", 15, ("redis_cpu/10",), figure("redis_us"), at_least=False),
    Budget("… one by one, × BullMQ for Node", 1, ("redis_cpu_paced",), of_node, at_least=False),
    Budget(
        "Redis memory of a waiting job, bytes", 110, ("memory",), figure("overhead_bytes"), at_least=False
    ),
    Budget("add to start, idle, p50 ms", 0.2, ("latency_idle",), figure("p50_ms"), at_least=False),
    Budget("… p99 ms", 1, ("latency_idle",), figure("p99_ms"), at_least=False),
    Budget("… at half load, p99 ms", 5, ("latency_load",), figure("p99_ms"), at_least=False),
    Budget("10 million waiting: Redis CPU of a job, µs", 7, ("growth/10m",), figure(), at_least=False),
    Budget("… the longest call, ms", 20, ("growth/10m",), figure("slowest_call_ms"), at_least=False),
    Budget("a worker without work, MB", 45, ("worker_idle",), figure("rss_mb"), at_least=False),
    Budget("… requests/s", 1, ("worker_idle",), figure("requests_per_s"), at_least=False),
    Budget(
        "lost to 1 ms of network latency, processing",
        0.3,
        FAR,
        lost_far_away,
        at_least=False,
        write=words.percent,
    ),
    Budget("… adding", 0.3, FAR_ADDS, lost_far_away, at_least=False, write=words.percent),
)


def budget_table(measured: Measured) -> list[str]:
    """Every budget that the run has anything about; nothing when it has none."""
    rows = [list(_cells(measured, budget)) for budget in BUDGETS if _applies(measured, budget)]
    return words.table(["measure", "budget", "aim", "measured", ""], rows) if rows else []


def _applies(measured: Measured, budget: Budget) -> bool:
    """Something was measured, be it thrown away; and the contender that it is compared with took part."""
    rival = NODE if budget.read in (times_node, of_node) else OURS
    if budget.measure.endswith("on uvloop, jobs/s"):
        rival = UVLOOP
    if budget.read is times_best_python and not [n for n in measured.others if role(n) == "rest"]:
        return False
    return any(measured.row(case, rival) and measured.row(case, OURS) for case in budget.cases)


def _cells(measured: Measured, budget: Budget) -> Iterator[str]:
    sign = "≥" if budget.at_least else "≤"
    yield budget.measure
    yield f"{sign} {_bound(budget, budget.bound)}"
    yield f"{sign} {_bound(budget, budget.aim)}" if budget.aim is not None else ""
    values = {case: budget.read(measured, case) for case in _present(measured, budget)}
    yield "; ".join(_named(measured, budget, case, value) for case, value in values.items())
    yield verdict(budget, list(values.values()))


def _present(measured: Measured, budget: Budget) -> list[str]:
    return [case for case in budget.cases if measured.row(case, OURS)]


def _bound(budget: Budget, bound: float) -> str:
    return words.percent(bound) if budget.write is words.percent else f"{bound:,g}"


def _named(measured: Measured, budget: Budget, case: str, value: float | None) -> str:
    written = _why_not(measured, case) if value is None else budget.write(value)
    if len(budget.cases) == 1:
        return written
    name = case if len({words.scenario_of(each) for each in budget.cases}) > 1 else words.variant_of(case)
    name = f"{int(name):,}" if name.isdigit() else name
    return f"{name}: {written}"


def _why_not(measured: Measured, case: str) -> str:
    """✕, or for a case that waited the sign of that alone."""
    row = measured.usable(case, OURS)
    return WAITED if row is not None and row.flagged else words.THROWN_AWAY


def verdict(budget: Budget, values: Sequence[float | None]) -> str:
    """``met``, ``missed``, or ``open`` while a figure that matters cannot be claimed."""
    known = [value for value in values if value is not None]
    kept = [budget.keeps(value, budget.bound) for value in known]
    if budget.any_case and any(kept):
        return _met(budget, known, any)
    if not all(kept):
        return "**missed**"
    if not known or (len(known) < len(values) and not budget.any_case):
        return "open"
    return _met(budget, known, all)


def _met(budget: Budget, known: Sequence[float], enough: Callable[[Iterable[bool]], bool]) -> str:
    if budget.aim is None:
        return "met"
    aim = budget.aim
    return "met, aim too" if enough(budget.keeps(value, aim) for value in known) else "met, aim missed"


def kept_and_missed(measured: Measured) -> tuple[int, int, int]:
    """How many budgets are met, missed, and open."""
    verdicts = [row.rsplit(" | ", 1)[1].removesuffix(" |") for row in budget_table(measured)[2:]]
    met = sum(each.startswith("met") for each in verdicts)
    missed = verdicts.count("**missed**")
    return met, missed, len(verdicts) - met - missed
