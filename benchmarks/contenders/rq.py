"""RQ: jobs are named functions, workers run one job at a time."""

from __future__ import annotations

import asyncio
import importlib
import logging
import pickle
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import redis
from rq import Queue, SimpleWorker
from rq.timeouts import TimerDeathPenalty

from benchmarks.harness.blocking import MOST_CONNECTIONS, MOST_THREADS, Blocking
from benchmarks.harness.case import Case
from benchmarks.harness.entry import main, package_versions
from benchmarks.harness.work import Data, Work

# RQ doesn't take functions of __main__, so the worker imports this file a second time, under its name.
MODULE = "benchmarks.contenders.rq"
FUNCTION = f"{MODULE}.noop"
MOST_WORKERS = 10
PRIORITIES = 10
NO_TIMEOUT = -1
STOP_TIMEOUT_S = 2.0


def _no_handler(_data: Data) -> None:
    raise RuntimeError("a job arrived before the worker had a handler")


handler: Callable[..., None] = _no_handler


def noop(data: Data) -> None:
    """What the jobs name."""
    handler(data)


class ThreadedWorker(SimpleWorker):
    """A worker that may run beside the main thread, where there are no signals."""

    death_penalty_class = TimerDeathPenalty
    stopping = False

    def dequeue_job_and_maintain_ttl(self, timeout: int | None, max_idle_time: int | None = None) -> Any:
        """Nothing more to do ends its loop. There is no call for that: its shutdown command signals the process."""
        return None if self.stopping else super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)

    def _install_signal_handlers(self) -> None:
        return


class Rq(Blocking):
    label = "rq"
    version = package_versions("rq", "redis", "hiredis")
    notes = (
        "SimpleWorker (no fork per job), no job timeout, result_ttl 0: nothing is kept. A job of a killed worker is "
        "marked as failed, not run again, so recovery is left out; a resent add stores the job twice. A worker runs "
        f"one job at a time: concurrency is workers in threads, at most {MOST_WORKERS} but for handlers that wait "
        f"(its own way is a process each), and then at most {MOST_THREADS}. A queue per priority; its scheduler, a "
        "process, moves delayed jobs once a second and keeps their time in whole seconds, so some start early. "
        "No queue-wide rate limit."
    )
    absent = frozenset({"rate_limit", "recovery"})

    def __init__(self, case: Case, name: str = "bench") -> None:
        super().__init__(case, name)
        self.client: Any = redis.Redis(host=case.host, port=case.port, max_connections=MOST_CONNECTIONS)
        levels = range(1, PRIORITIES + 1) if case.scenario == "priorities" else ()
        names = [name, *[f"{name}-{level}" for level in levels]]
        self.queues: list[Any] = [
            Queue(each, connection=self.client, default_timeout=NO_TIMEOUT) for each in names
        ]

    async def open(self) -> None:
        self.client.ping()

    async def close(self) -> None:
        self.client.close()

    def add_now(self, data: Data, *, delay: float = 0.0, priority: int = 0) -> None:
        queue = self.queues[priority]
        if delay > 0:
            queue.enqueue_in(timedelta(seconds=delay), FUNCTION, data, result_ttl=0)
        else:
            queue.enqueue(FUNCTION, data, result_ttl=0)

    async def add_bulk(self, batch: Sequence[Data], *, priorities: Sequence[int] = ()) -> None:
        jobs = [Queue.prepare_data(FUNCTION, (data,), result_ttl=0, timeout=NO_TIMEOUT) for data in batch]
        if not priorities:
            self.queues[0].enqueue_many(jobs)
            return
        for level, queue in enumerate(self.queues):
            queue.enqueue_many([job for job, own in zip(jobs, priorities, strict=True) if own == level])

    @asynccontextmanager
    async def worker(
        self, work: Work, *, concurrency: int, threads: bool = False, rate: int = 0
    ) -> AsyncIterator[None]:
        module: Any = importlib.import_module(MODULE)
        module.handler = work.function(_data)
        many = min(concurrency, MOST_THREADS if self.case.wait_us else MOST_WORKERS)
        scheduler = self.case.scenario == "delayed"
        workers = [ThreadedWorker(self.queues, connection=self.client) for _ in range(many)]
        running = [threading.Thread(target=_run, args=(worker, scheduler), daemon=True) for worker in workers]
        for thread in running:
            thread.start()
        try:
            yield
        finally:
            module.handler = _data
            await asyncio.to_thread(self._stop, workers, running)

    def _stop(self, workers: list[Any], running: list[threading.Thread]) -> None:
        """A worker looks whether it should stop after each job, so each gets one more."""
        for worker in workers:
            worker.stopping = True
        for _ in workers:
            self.add_now({})
        # Workers of another process may take these, so some of ours go on waiting; they end with the process.
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for thread in running:
            thread.join(max(0.0, deadline - time.monotonic()))

    async def pending(self) -> int:
        with self.client.pipeline(transaction=False) as pipe:
            for queue in self.queues:
                pipe.zcard(queue.failed_job_registry.key)
            for queue in self.queues:
                pipe.llen(queue.key).llen(queue.intermediate_queue_key)
                pipe.zcard(queue.started_job_registry.key).zcard(queue.scheduled_job_registry.key)
            counts = pipe.execute()
        failed, left = sum(counts[: len(self.queues)]), sum(counts[len(self.queues) :])
        if failed:
            raise RuntimeError(f"{failed} jobs failed")
        return int(left)

    async def clear(self) -> None:
        for queue in self.queues:
            queue.empty()

    def stored(self, data: Data) -> int:
        return len(pickle.dumps(data, pickle.HIGHEST_PROTOCOL))


def _run(worker: Any, scheduler: bool) -> None:
    worker.work(logging_level=logging.WARNING, with_scheduler=scheduler)


def _data(data: Data) -> Data:
    return data


if __name__ == "__main__":
    main(Rq, warm_up_jobs=200)
