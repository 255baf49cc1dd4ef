"""What a worker counts."""

from __future__ import annotations

from dataclasses import dataclass

from bullrush._core.histogram import Histogram


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts since the start, and two histograms in µs.

    `wait` is from due to started (first attempts), `run` of completed jobs.
    """

    claimed: int
    settled: int
    calls: int
    wait: Histogram
    run: Histogram

    @classmethod
    def none(cls) -> Stats:
        """Return the counts of a worker that has not started."""
        return cls(0, 0, 0, Histogram(), Histogram())
