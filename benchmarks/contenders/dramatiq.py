"""dramatiq on its Redis broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.rate_limits import WindowRateLimiter
from dramatiq.rate_limits.backends import RedisBackend

from benchmarks.harness.blocking import MOST_CONNECTIONS, MOST_THREADS, Blocking
from benchmarks.harness.case import Case
from benchmarks.harness.entry import main, package_versions
from benchmarks.harness.work import Data, Work

PRIORITIES = 10
REFUSED_MS = 1_000  # a job that the rate limit refuses is tried again after half of this to all of it


class Dramatiq(Blocking):
    label = "dramatiq"
    version = package_versions("dramatiq", "redis", "hiredis")
    notes = (
        "At-least-once with acks, default middleware, no results backend; a resent add stores the job twice. One "
        f"worker with a thread per handler, at most {MOST_THREADS} but for handlers that wait; it asks for work by "
        "polling, and priorities belong to actors and order only what a worker has prefetched. Its "
        "WindowRateLimiter counts in Redis, for all workers; what it refuses fails and is retried, here "
        "with a backoff of half a second to one. What a dead process held returns by chance (1 in "
        "1,000 calls, after 60 s), so recovery is left out."
    )
    absent = frozenset({"recovery"})

    def __init__(self, case: Case, name: str = "bench") -> None:
        super().__init__(case, name)
        self.client: Any = redis.Redis(host=case.host, port=case.port, max_connections=MOST_CONNECTIONS)
        self.broker = RedisBroker(client=self.client)
        self._handler: Callable[..., None] = _no_handler
        self._actors = [self._actor(priority) for priority in range(PRIORITIES + 1)]

    def _actor(self, priority: int) -> Any:
        def noop(data: Data) -> None:
            self._handler(data)

        retries: dict[str, int | None] = {"max_retries": 0}
        if self.case.scenario == "rate_limit":
            retries = {"max_retries": None, "min_backoff": REFUSED_MS, "max_backoff": REFUSED_MS}
        return dramatiq.actor(
            noop,
            broker=self.broker,
            actor_name=f"noop{priority}",
            queue_name=self.name,
            priority=priority,
            **retries,
        )

    async def open(self) -> None:
        self.client.ping()

    async def close(self) -> None:
        self.broker.close()
        self.client.close()

    def add_now(self, data: Data, *, delay: float = 0.0, priority: int = 0) -> None:
        actor = self._actors[priority]
        if delay > 0:
            actor.send_with_options(args=(data,), delay=round(delay * 1_000))
        else:
            actor.send(data)

    @asynccontextmanager
    async def worker(
        self, work: Work, *, concurrency: int, threads: bool = False, rate: int = 0
    ) -> AsyncIterator[None]:
        self._handler = self._limited(work.function(_data), rate) if rate else work.function(_data)
        worker = dramatiq.Worker(self.broker, worker_threads=self.threads_for(concurrency))
        worker.start()
        try:
            yield
        finally:
            await asyncio.to_thread(worker.stop, timeout=5_000)

    def _limited(self, handler: Callable[..., None], rate: int) -> Callable[..., None]:
        limiter = WindowRateLimiter(
            RedisBackend(client=self.client), f"{self.name}-starts", limit=rate, window=1
        )

        def limited(data: Data) -> None:
            with limiter.acquire():
                handler(data)

        return limited

    async def pending(self) -> int:
        failed = self.client.zcard(f"dramatiq:{self.name}.XQ")
        if failed:
            raise RuntimeError(f"{failed} jobs failed")
        return int(self.broker.do_qsize(self.name))

    async def clear(self) -> None:
        self.broker.flush(self.name)


def _data(data: Data) -> Data:
    return data


def _no_handler(_data: Data) -> None:
    raise RuntimeError("a job arrived before the worker had a handler")


if __name__ == "__main__":
    main(Dramatiq, warm_up_jobs=300)
