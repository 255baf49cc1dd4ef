"""Celery on its Redis transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import redis
from celery import Celery
from celery.app.trace import setup_worker_optimizations
from celery.contrib.testing.worker import TestWorkController, start_worker
from celery.signals import task_failure

from benchmarks.harness.blocking import MOST_THREADS, PRODUCERS, Blocking
from benchmarks.harness.case import Case
from benchmarks.harness.entry import main, package_versions
from benchmarks.harness.work import Data, Work

STEPS = 10
SEPARATOR = ":"
PREFETCH = 64  # per thread: its guide advises a high multiplier for many short tasks
STOP_TIMEOUT_S = 10.0


class EmbeddedWorker(TestWorkController):  # type: ignore[misc]
    """A worker in a thread with the short cut to tasks that ``celery worker`` takes and the test worker does not."""

    def on_before_init(self, **options: object) -> None:
        setup_worker_optimizations(self.app, self.hostname)
        super().on_before_init(**options)


class CeleryContender(Blocking):
    label = "celery"
    version = package_versions("celery", "kombu", "redis", "hiredis")
    notes = (
        "At-least-once with task_acks_late, results ignored, prefetch multiplier 64; a resent add stores the job "
        f"twice. One worker with the threads pool, at most {MOST_THREADS} threads but for handlers that wait; its "
        "default, prefork, has a process per handler. What a crash held comes back after the visibility timeout of "
        "an hour, so recovery is left out; rate limits are per worker, not per queue."
    )
    absent = frozenset({"rate_limit", "recovery"})

    def __init__(self, case: Case, name: str = "bench") -> None:
        super().__init__(case, name)
        self.client: Any = redis.Redis(host=case.host, port=case.port)
        self.app: Any = Celery(name, broker=case.url, set_as_current=False)
        self.app.conf.update(
            task_default_queue=name,
            task_ignore_result=True,
            task_acks_late=True,
            worker_prefetch_multiplier=PREFETCH,
            worker_disable_rate_limits=True,
            broker_pool_limit=PRODUCERS,
            broker_connection_retry_on_startup=True,
            worker_hijack_root_logger=False,
        )
        if case.scenario == "priorities":
            self.app.conf.broker_transport_options = {
                "priority_steps": list(range(STEPS)),
                "sep": SEPARATOR,
                "queue_order_strategy": "priority",
            }
        self._handler: Callable[..., None] = _no_handler
        self._failed = 0

        def noop(data: Data) -> None:
            self._handler(data)

        # By default a task goes to every app of the process, in any order: these jobs could run in the warm-up's.
        self.task: Any = self.app.task(name="noop", shared=False)(noop)
        task_failure.connect(self._note_failure, weak=False)

    def _note_failure(self, **_: object) -> None:
        self._failed += 1

    async def open(self) -> None:
        self.client.ping()

    async def close(self) -> None:
        self.app.close()
        self.client.close()

    def add_now(self, data: Data, *, delay: float = 0.0, priority: int = 0) -> None:
        if delay > 0:
            self.task.apply_async((data,), countdown=delay)
        elif priority:
            self.task.apply_async((data,), priority=priority - 1)  # 0 is first on Redis
        else:
            self.task.apply_async((data,))

    @asynccontextmanager
    async def worker(
        self, work: Work, *, concurrency: int, threads: bool = False, rate: int = 0
    ) -> AsyncIterator[None]:
        self._handler = work.function(_data)
        running = start_worker(
            self.app,
            concurrency=self.threads_for(concurrency),
            pool="threads",
            WorkController=EmbeddedWorker,
            perform_ping_check=False,
            shutdown_timeout=STOP_TIMEOUT_S,
        )
        await asyncio.to_thread(running.__enter__)
        try:
            yield
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)

    async def pending(self) -> int:
        if self._failed:
            raise RuntimeError(f"{self._failed} jobs failed")
        with self.client.pipeline(transaction=False) as pipe:
            pipe.hlen("unacked").llen(self.name)
            for step in range(1, STEPS):
                pipe.llen(f"{self.name}{SEPARATOR}{step}")
            return int(sum(pipe.execute()))

    async def clear(self) -> None:
        self.client.delete(self.name)


def _data(data: Data) -> Data:
    return data


def _no_handler(_data: Data) -> None:
    raise RuntimeError("a job arrived before the worker had a handler")


if __name__ == "__main__":
    main(CeleryContender, warm_up_jobs=300)
