"""What contenders share whose calls block: producers at once are threads."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor

from benchmarks.harness.contender import Contender
from benchmarks.harness.work import Data

PRODUCERS = 50
# More threads than this only contend for the interpreter; handlers that wait may have as many as are asked for.
MOST_THREADS = 100
# redis-py's pools refuse the 101st connection; each thread that blocks in a read has one, or two with a subscription.
MOST_CONNECTIONS = 4_000


class Blocking(Contender):
    """A library without asyncio. Its `add` holds up the loop, where there is nothing else to do meanwhile."""

    @abstractmethod
    def add_now(self, data: Data, *, delay: float = 0.0, priority: int = 0) -> None:
        """Add one job; called from several threads at once."""

    async def add(self, data: Data, *, delay: float = 0.0, priority: int = 0) -> None:
        self.add_now(data, delay=delay, priority=priority)

    async def add_from_tasks(self, tasks: int, each: int) -> None:
        def adder(first: int) -> None:
            for i in range(first, first + each):
                self.add_now(self.payload(i))

        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(PRODUCERS) as pool:
            await asyncio.gather(*[loop.run_in_executor(pool, adder, n * each) for n in range(tasks)])

    def threads_for(self, concurrency: int) -> int:
        """How many threads a worker gets."""
        return concurrency if self.case.wait_us else min(concurrency, MOST_THREADS)
