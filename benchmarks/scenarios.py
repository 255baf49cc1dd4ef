"""What is measured: each scenario, its variants, how many jobs it takes, and which figure decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

Figure = Literal["rate", "redis_us", "overhead_bytes", "p50_ms"]


class Pace(Enum):
    """How fast a contender is, so that each runs for about as long as the others."""

    FAST = 0
    MEDIUM = 1
    SLOW = 2


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row group of the report.

    `counts` are the jobs per pace. `figure` decides the ratios: jobs per second, or what should be small.
    `saturating`: the server or a client should be busy all the time, so a run where neither was is flagged.
    `pinned`: server on one core, contender on another; else the kernel places them.
    """

    name: str
    title: str
    counts: tuple[int, int, int]
    figure: Figure = "rate"
    saturating: bool = True
    pinned: bool = True
    variants: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: {"": {}})

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

    def count(self, pace: Pace, *, quick: bool) -> int:
        """Jobs for a contender of that pace; a quick run takes a tenth, but not too few to mean anything."""
        full = self.scenario.counts[pace.value]
        if not quick:
            return full
        least = (20_000, 4_000, 1_000)[pace.value]
        return min(full, max(full // 10, least))


def _concurrency(*values: int) -> dict[str, dict[str, int]]:
    return {str(n): {"concurrency": n} for n in values}


def _batches(*values: int) -> dict[str, dict[str, int]]:
    return {str(n): {"batch": n} for n in values}


SCENARIOS = (
    Scenario(
        "add_bulk",
        "add in chunks of 1,000, by callers at once",
        (300_000, 40_000, 30_000),
        variants=_concurrency(1, 2),
    ),
    Scenario("add_concurrent", "1,000 tasks that await add in a loop", (200_000, 40_000, 10_000)),
    Scenario(
        "add_sequential",
        "add one by one, beside a bare PING",
        (10_000, 10_000, 5_000),
        figure="p50_ms",
        saturating=False,
    ),
    Scenario(
        "process",
        "process no-op async handlers, by concurrency",
        (300_000, 20_000, 3_000),
        variants=_concurrency(1, 10, 100, 1_000),
    ),
    Scenario(
        "process_threads",
        "process no-op def handlers in threads, concurrency 10",
        (300_000, 20_000, 3_000),
        variants={"10": {"concurrency": 10}},
    ),
    Scenario(
        "produce_and_process",
        "producer and worker at once on both cores, end to end",
        (400_000, 20_000, 3_000),
        pinned=False,
        variants={"100": {"concurrency": 100}},
    ),
    Scenario(
        "redis_cpu",
        "server CPU of a job, add to finished, by batch",
        (100_000, 10_000, 3_000),
        figure="redis_us",
        saturating=False,
        variants=_batches(1_000, 100, 10),
    ),
    Scenario(
        "memory",
        "server memory of a waiting job beyond its payload",
        (100_000, 100_000, 100_000),
        figure="overhead_bytes",
        saturating=False,
    ),
    Scenario(
        "latency_idle",
        "add to handler start, idle, two processes",
        (2_000, 2_000, 2_000),
        figure="p50_ms",
        saturating=False,
        pinned=False,
    ),
)


def select(wanted: list[str]) -> list[Variant]:
    """Every variant, or those named by scenario (``process``) or exactly (``process/100``).

    Raises ValueError for a name that matches none.
    """
    every = [variant for scenario in SCENARIOS for variant in scenario.cases()]
    for name in wanted:
        if not any(variant.matches(name) for variant in every):
            known = ", ".join(variant.name for variant in every)
            raise ValueError(f"no scenario {name!r}; there are {known}")
    return [v for v in every if not wanted or any(v.matches(name) for name in wanted)]
