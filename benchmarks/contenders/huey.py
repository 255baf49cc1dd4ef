"""huey on Redis."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from huey import PriorityRedisHuey, RedisHuey
from huey.signals import SIGNAL_COMPLETE, SIGNAL_ERROR, SIGNAL_EXECUTING, SIGNAL_RATE_LIMITED

from benchmarks.harness.blocking import MOST_CONNECTIONS, MOST_THREADS, Blocking
from benchmarks.harness.case import Case
from benchmarks.harness.entry import main, package_versions
from benchmarks.harness.work import Data, Work


class HueyContender(Blocking):
    label = "huey"
    version = package_versions("huey", "redis", "hiredis")
    notes = (
        "At-most-once: a job is popped before it runs, and a crash loses it, so recovery is left out; a resent add "
        "stores the job twice. Blocking reads, default settings, results on but None is not stored; the sorted set "
        f"for priorities only where there are any. A thread per handler, at most {MOST_THREADS} but for handlers "
        "that wait; delayed jobs are looked for once a second, its least interval. Its rate_limit counts in Redis, for "
        "all consumers, in fixed windows: a second across two of them may see twice the limit. A refused job is "
        "scheduled for the next window."
    )
    absent = frozenset({"recovery"})

    def __init__(self, case: Case, name: str = "bench") -> None:
        super().__init__(case, name)
        kind = PriorityRedisHuey if case.scenario == "priorities" else RedisHuey
        self.huey: Any = kind(name, host=case.host, port=case.port, max_connections=MOST_CONNECTIONS)
        self._size = "zcard" if case.scenario == "priorities" else "llen"
        self._handler: Callable[..., None] = _no_handler

        def noop(data: Data) -> None:
            self._handler(data)

        # A failure is kept among the results, and so is the window of a rate limit.
        self._not_failed = 0
        # It pops what it runs, so what runs is known to this process only.
        self._running: set[str] = set()
        self.huey.signal(SIGNAL_EXECUTING)(lambda _signal, task: self._running.add(task.id))
        self.huey.signal(SIGNAL_COMPLETE, SIGNAL_ERROR, SIGNAL_RATE_LIMITED)(
            lambda _signal, task, *_error: self._running.discard(task.id)
        )
        self.task: Any = self.huey.task(name=f"noop-{name}")(noop)

    async def open(self) -> None:
        self.huey.storage.conn.ping()

    async def close(self) -> None:
        self.huey.storage.conn.close()
        self.huey.storage.pool.disconnect()

    def add_now(self, data: Data, *, delay: float = 0.0, priority: int = 0) -> None:
        if delay > 0:
            self.task.schedule((data,), delay=delay)
        elif priority:
            self.task(data, priority=11 - priority)  # the highest is first
        else:
            self.task(data)

    @asynccontextmanager
    async def worker(
        self, work: Work, *, concurrency: int, threads: bool = False, rate: int = 0
    ) -> AsyncIterator[None]:
        self._handler = work.function(_data)
        if rate:
            self._handler = self.huey.rate_limit("starts", limit=rate, per=1)(self._handler)
            self._not_failed = 1
        consumer = self.huey.create_consumer(workers=self.threads_for(concurrency), periodic=False)
        consumer.start()
        try:
            yield
        finally:
            await asyncio.to_thread(consumer.stop, graceful=True)

    async def pending(self) -> int:
        """Jobs that other processes run are not known to the server; no-op handlers leave next to none."""
        storage = self.huey.storage
        with storage.conn.pipeline(transaction=False) as pipe:
            getattr(pipe, self._size)(storage.queue_key)
            pipe.zcard(storage.schedule_key).hlen(storage.result_key)
            waiting, delayed, failed = pipe.execute()
        if failed > self._not_failed:
            raise RuntimeError(f"{failed - self._not_failed} jobs failed")
        return int(waiting + delayed + len(self._running))

    async def clear(self) -> None:
        self.huey.flush()

    def stored(self, data: Data) -> int:
        return len(pickle.dumps(data, pickle.HIGHEST_PROTOCOL))


def _data(data: Data) -> Data:
    return data


def _no_handler(_data: Data) -> None:
    raise RuntimeError("a job arrived before the worker had a handler")


if __name__ == "__main__":
    main(HueyContender, warm_up_jobs=300)
