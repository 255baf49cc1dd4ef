"""What is measured: each scenario, its variants, how many jobs it takes, and which figure decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

Figure = Literal[
    "rate",
    "redis_us",
    "overhead_bytes",
    "p50_ms",
    "p99_ms",
    "of_the_possible",
    "rss_mb",
    "seconds",
    "job_redis_us",
]
MORE_IS_BETTER: frozenset[Figure] = frozenset({"rate", "of_the_possible"})


class Pace(Enum):
    """How fast a contender is, so that each runs for about as long as the others."""

    FAST = 0
    MEDIUM = 1
    SLOW = 2


class Weight(Enum):
    """How much a scenario matters; a contender says how many rounds it gets for each."""

    HEAD = 0
    REST = 1
    ONCE = 2


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row group of the report.

    `counts` are the jobs per pace. `figure` decides the ratios: jobs per second, or what else counts.
    `runs` is the contender's function, if it isn't named like the scenario.
    `saturating`: the server or a client should be busy all the time, so a run where neither was is thrown away.
    `pinned`: server on one core, contender on another; else the kernel places them.
    `far`: microseconds that the network takes each way.
    `rates` are jobs a second per pace, where the scenario has a rate; `waits` the us between two, where it has pauses.
    `only`: contenders for which it is worth the time; none: all that have the feature.
    `paces`: contenders that are slower here than elsewhere.
    `quick`: the variants that a quick run takes, unless it is told what to run.
    """

    name: str
    title: str
    counts: tuple[int, int, int]
    figure: Figure = "rate"
    runs: str = ""
    weight: Weight = Weight.REST
    saturating: bool = True
    pinned: bool = True
    far: int = 0
    rates: tuple[int, int, int] = (0, 0, 0)
    waits: tuple[int, int, int] = (0, 0, 0)
    only: frozenset[str] = frozenset()
    paces: Mapping[str, Pace] = field(default_factory=dict)
    quick: tuple[str, ...] = ()
    variants: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: {"": {}})

    @property
    def function(self) -> str:
        return self.runs or self.name

    def cases(self) -> Iterator[Variant]:
        for name, parameters in self.variants.items():
            yield Variant(self, name, parameters)


@dataclass(frozen=True, slots=True)
class Variant:
    """A scenario with its parameters: ``process/100``."""

    scenario: Scenario
    variant: str
    parameters: Mapping[str, int]

    @property
    def name(self) -> str:
        return f"{self.scenario.name}/{self.variant}" if self.variant else self.scenario.name

    def matches(self, wanted: str) -> bool:
        return wanted in (self.scenario.name, self.name)

    def order(self, contender: str, pace: Pace, *, quick: bool) -> dict[str, int | str]:
        """What a contender of that pace is asked to do; a quick run takes a tenth, but not too few to mean anything."""
        pace = self.scenario.paces.get(contender, pace)
        full = self.parameters.get("count", self.scenario.counts[pace.value])
        least = (20_000, 4_000, 500)[pace.value]
        count = min(full, max(full // 10, least)) if quick else full
        rate = self.scenario.rates[pace.value]
        return {
            "concurrency": 1,
            "rate": rate,
            "wait_us": self.scenario.waits[pace.value],
            **self.parameters,
            "scenario": self.scenario.function,
            "count": count,
        }


def _concurrency(*values: int) -> dict[str, dict[str, int]]:
    return {str(n): {"concurrency": n} for n in values}


def _batches(*values: int) -> dict[str, dict[str, int]]:
    return {str(n): {"batch": n, "concurrency": n} for n in values}


# Where the question is one of design (batches, round trips, growth), some contenders stand for all.
FEW = frozenset({"bullrush", "bullrush_valkey", "floor", "bullmq_node", "bullmq_pypi"})
# The floor sends single adds one by one.
ALONE = {"floor": Pace.MEDIUM}
BIG = frozenset({"bullrush", "bullrush_valkey", "bullmq_node"})
# At the rate of the others these would be idle, and at theirs the others would drown. Half load is half of what two
# cores can do when a job takes 13.5, 158 and 200 µs of server, producer and worker together.
LOADED = frozenset({"bullrush", "bullrush_valkey", "bullrush_uvloop", "floor", "bullmq_node"})

SCENARIOS = (
    Scenario(
        "add_sequential",
        "add one by one, beside a bare PING",
        (10_000, 10_000, 3_000),
        figure="p50_ms",
        weight=Weight.HEAD,
        saturating=False,
        quick=("",),
    ),
    Scenario(
        "add_concurrent",
        "1,000 callers that add in a loop",
        (300_000, 40_000, 3_000),
        weight=Weight.HEAD,
        paces=ALONE,
        quick=("",),
    ),
    Scenario(
        "add_bulk",
        "add in chunks of 1,000, by callers at once",
        (600_000, 40_000, 4_000),
        weight=Weight.HEAD,
        variants=_concurrency(1, 2),
        quick=("2",),
    ),
    Scenario(
        "process",
        "process no-op handlers, by concurrency",
        (500_000, 20_000, 1_500),
        weight=Weight.HEAD,
        variants=_concurrency(1, 10, 100, 1_000),
        quick=("1", "100", "1000"),
    ),
    Scenario(
        "process_threads",
        "process no-op def handlers in threads, concurrency 10",
        (500_000, 20_000, 1_500),
        weight=Weight.HEAD,
        variants=_concurrency(10),
        quick=("10",),
    ),
    Scenario(
        "process_two",
        "two worker processes share the jobs",
        (400_000, 20_000, 3_000),
        pinned=False,
        variants=_concurrency(100),
    ),
    Scenario(
        "produce_and_process",
        "producer and worker at once on both cores, end to end",
        (500_000, 20_000, 1_500),
        weight=Weight.HEAD,
        pinned=False,
        variants=_concurrency(100),
        quick=("100",),
    ),
    Scenario(
        "wait",
        "handlers that wait, as one that asks a remote service does",
        (60_000, 10_000, 2_000),
        figure="rate",
        saturating=False,
        variants={
            "1ms": {"concurrency": 100, "wait_us": 1_000},
            "100ms": {"concurrency": 1_000, "wait_us": 100_000},
        },
    ),
    Scenario(
        "hash",
        "handlers that hash 64 KiB each, in threads where there is a choice",
        (10_000, 10_000, 2_000),
        runs="compute",
        saturating=False,
        variants=_concurrency(10),
    ),
    Scenario(
        "payload",
        "add and process jobs of one size",
        (100_000, 10_000, 1_000),
        variants={
            "50B": {"concurrency": 100, "size": 50},
            "1KB": {"concurrency": 100, "size": 1_000},
            "100KB": {"concurrency": 100, "size": 100_000, "count": 1_000},
        },
    ),
    Scenario(
        "priorities",
        "add and process jobs of ten priorities",
        (200_000, 10_000, 1_000),
        variants=_concurrency(100),
    ),
    Scenario(
        "delayed",
        "how late jobs start that fall due over a second",
        (5_000, 2_000, 300),
        figure="p99_ms",
        saturating=False,
        rates=(5_000, 2_000, 300),
        variants=_concurrency(100),
    ),
    Scenario(
        "rate_limit",
        "a queue-wide limit of 500 a second, how much of it is used",
        (2_001, 2_001, 2_001),
        figure="of_the_possible",
        saturating=False,
        rates=(500, 500, 500),
        variants=_concurrency(100),
    ),
    Scenario(
        "latency_idle",
        "add to handler start, idle, two processes",
        (2_000, 2_000, 500),
        runs="latency",
        figure="p50_ms",
        weight=Weight.HEAD,
        saturating=False,
        pinned=False,
        waits=(1_000, 1_000, 10_000),
        quick=("",),
    ),
    Scenario(
        "latency_paced",
        "add to handler start at 300 adds a second, two processes",
        (1_000, 1_000, 1_000),
        runs="latency",
        figure="p50_ms",
        saturating=False,
        pinned=False,
        rates=(300, 300, 300),
        variants=_concurrency(100),
    ),
    Scenario(
        "latency_load",
        "add to handler start at half load (75,000 adds a second; BullMQ 6,000, the floor 4,000), two processes",
        (225_000, 18_000, 12_000),
        runs="latency",
        figure="p99_ms",
        saturating=False,
        pinned=False,
        rates=(75_000, 6_000, 4_000),
        variants=_concurrency(100),
        only=LOADED,
        paces={"floor": Pace.SLOW},
    ),
    Scenario(
        "memory",
        "server memory of a waiting job beyond its payload",
        (100_000, 50_000, 10_000),
        figure="overhead_bytes",
        saturating=False,
        quick=("",),
    ),
    Scenario(
        "worker_idle",
        "a worker without work",
        (1, 1, 1),
        figure="rss_mb",
        saturating=False,
        pinned=False,
        variants=_concurrency(10),
    ),
    Scenario(
        "redis_cpu",
        "server CPU of a job, add to finished, by batch",
        (200_000, 10_000, 2_000),
        figure="redis_us",
        only=FEW,
        saturating=False,
        variants=_batches(1_000, 100, 10),
        quick=("100",),
    ),
    Scenario(
        "redis_cpu_paced",
        "server CPU of a job when they come one by one",
        (3_000, 3_000, 900),
        figure="redis_us",
        saturating=False,
        pinned=False,
        rates=(1_000, 1_000, 300),
        variants=_concurrency(100),
    ),
    Scenario(
        "recovery",
        "a worker is killed with 10 jobs: seconds until another one has run them, by default settings",
        (10, 10, 10),
        figure="seconds",
        weight=Weight.ONCE,
        saturating=False,
        pinned=False,
        variants=_concurrency(10),
    ),
    Scenario(
        "far_add_concurrent",
        "add from 1,000 callers, 1 ms from the server and back",
        (200_000, 40_000, 4_000),
        runs="add_concurrent",
        saturating=False,
        only=FEW,
        far=500,
        paces=ALONE,
    ),
    Scenario(
        "far_add_bulk",
        "add in bulk, 1 ms from the server and back",
        (500_000, 40_000, 10_000),
        runs="add_bulk",
        saturating=False,
        only=FEW,
        far=500,
        variants={"1": {"concurrency": 1}, "10000": {"concurrency": 1, "batch": 10_000}},
    ),
    Scenario(
        "far_process",
        "process no-op handlers, 1 ms from the server and back",
        (400_000, 20_000, 2_000),
        runs="process",
        saturating=False,
        only=FEW,
        far=500,
        variants=_concurrency(10, 100, 1_000),
    ),
    Scenario(
        "growth",
        "server CPU of a job, add to finished, with so many waiting",
        (0, 0, 0),
        figure="job_redis_us",
        weight=Weight.ONCE,
        saturating=False,
        rates=(200_000, 10_000, 1_000),
        only=BIG,
        variants={
            "10k": {"concurrency": 100, "count": 10_000},
            "100k": {"concurrency": 100, "count": 100_000},
            "1m": {"concurrency": 100, "count": 1_000_000},
            "10m": {"concurrency": 100, "count": 10_000_000},
        },
    ),
)


def select(wanted: Sequence[str], *, quick: bool) -> list[Variant]:
    """Every variant, or those named by scenario (``process``) or exactly (``process/100``); by default few if quick.

    Raises ValueError for a name that matches none.
    """
    every = [variant for scenario in SCENARIOS for variant in scenario.cases()]
    for name in wanted:
        if not any(variant.matches(name) for variant in every):
            known = ", ".join(variant.name for variant in every)
            raise ValueError(f"no scenario {name!r}; there are {known}")
    if quick and not wanted:
        return [v for v in every if v.variant in v.scenario.quick]
    return [v for v in every if not wanted or any(v.matches(name) for name in wanted)]
