"""Whether a measurement had the machine for itself."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path

STAT = Path("/proc/stat")
IDLE_COLUMNS = (3, 4)  # idle and iowait
COLUMNS = 8  # the two behind them, guest and guest_nice, are part of user and nice


@dataclass(frozen=True, slots=True)
class _Moment:
    wall: float
    machine: float
    ours: float

    @classmethod
    def now(cls) -> _Moment:
        return cls(time.monotonic(), _machine_cpu(), _our_cpu())


@dataclass(slots=True)
class Watch:
    """CPU that others used from its making to `others`, stolen time of a virtual machine included."""

    _began: _Moment = field(default_factory=_Moment.now)

    def others(self) -> float:
        """Their share of the whole machine, 0.0 to 1.0; 0.0 where the system does not tell.

        Call it when the processes that were started are gone: their CPU counts as ours only then.
        """
        if not STAT.exists():
            return 0.0
        now, began = _Moment.now(), self._began
        foreign = (now.machine - began.machine) - (now.ours - began.ours)
        return max(0.0, foreign / ((now.wall - began.wall) * (os.cpu_count() or 1)))


def _machine_cpu() -> float:
    if not STAT.exists():
        return 0.0
    with STAT.open() as stat:
        ticks = [int(word) for word in stat.readline().split()[1 : COLUMNS + 1]]
    busy = sum(ticks) - sum(ticks[column] for column in IDLE_COLUMNS)
    return busy / os.sysconf("SC_CLK_TCK")


def _our_cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
