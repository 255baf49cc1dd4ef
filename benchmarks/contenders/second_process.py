"""A producer in a process of its own, and the time a job takes from one process to the other."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace

from benchmarks.contenders.harness import Case, percentiles

WARM_UP_ADDS = 100


class Producer:
    """The same contender in a second process, which adds the jobs of a case when told to."""

    def __init__(self, case: Case) -> None:
        spec = sys.modules["__main__"].__spec__
        if spec is None:
            raise RuntimeError("run contenders with python -m")
        order = json.dumps(asdict(replace(case, role="producer")))
        self._process = subprocess.Popen(
            [sys.executable, "-m", spec.name, order], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._expect("ready")

    def go(self) -> None:
        """Let it add its jobs. Does not wait."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write("go\n")
        stdin.flush()

    def finish(self) -> float:
        """Wait for its end and return the CPU seconds it used while adding."""
        stdout = self._process.stdout
        assert stdout is not None
        line = stdout.readline()
        if self._process.wait(timeout=60) or not line:
            raise RuntimeError(f"the producer failed with exit code {self._process.returncode}")
        return float(json.loads(line)["cpu"])

    def _expect(self, word: str) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        if stdout.readline().strip() != word:
            raise RuntimeError(
                f"the producer did not say {word!r}; exit code {self._process.wait(timeout=10)}"
            )


async def produce_when_told(add: Callable[[], Awaitable[None]]) -> None:
    """The producer's side of `Producer`: call it when connected."""
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    cpu = time.process_time()
    await add()
    print(json.dumps({"cpu": time.process_time() - cpu}), flush=True)


async def spaced(count: int, add: Callable[[int], Awaitable[None]]) -> None:
    """Call `add` with the clock, `count` times and about 1 ms apart, so that the queue is idle in between."""
    for _ in range(count + WARM_UP_ADDS):
        await add(time.monotonic_ns())
        await asyncio.sleep(0.001)


@dataclass(slots=True)
class Stopwatch:
    """Times from add to handler start, by the clock that all processes of a machine share."""

    count: int
    seconds: list[float] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def arrived(self, sent_ns: int) -> None:
        self.seconds.append((time.monotonic_ns() - sent_ns) / 1e9)
        if len(self.seconds) == self.count + WARM_UP_ADDS:
            self.done.set()

    def percentiles(self) -> dict[str, float]:
        return percentiles(self.seconds[WARM_UP_ADDS:])
