"""The consumer: jobs for code that fetches and settles them itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, cast

from bullrush._core.histogram import Histogram
from bullrush.errors import InvalidOption, JobNotInState, UnrecoverableError
from bullrush.job import DataT, Job
from bullrush.options import Duration, WorkerOptions, duration_ms, worker_settings
from bullrush.queue import Queue
from bullrush.worker.listeners import Listeners
from bullrush.worker.services import Services
from bullrush.worker.settler import Settler, Sink
from bullrush.worker.worker import queue_of

if TYPE_CHECKING:
    from bullrush._core.exchange import Exchange
    from bullrush._core.job import JobBase
    from bullrush._core.protocol import DataProtocol
    from bullrush.app import Connection


class Consumer(Generic[DataT]):
    """Take jobs and settle each by hand.

    With `job.complete(value)`, `job.fail(error)`, `job.release()` or `job.retry_later(delay)`.

    `prefetch` is how many jobs are held at a time, fetched ones included. The lease of all of them is renewed
    until they are settled. Leaving `async with` gives back what was fetched and not settled, uncharged.
    """

    def __init__(
        self,
        queue: str | Queue[Any, Any],
        connection: Connection = None,
        *,
        prefetch: int = 1,
        lease: Duration = 30_000,
        prefix: str | None = None,
    ) -> None:
        options: WorkerOptions = {"concurrency": prefetch, "lease": lease, "prefetch": 0}
        self.queue = queue_of(queue, connection, prefix)
        self._owns_queue = not isinstance(queue, Queue)
        self._settings = worker_settings(options)
        self._services: Services | None = None
        self._hands: _Hands | None = None
        self._fatal: BaseException | None = None

    async def __aenter__(self) -> Self:
        services = Services(self.queue, self._settings, Listeners(), None, None, self._settings.concurrency)
        hands = _Hands(services)
        services.dispatcher = hands
        services.on_fatal = self._die
        try:
            await services.start()
        except BaseException:
            await services.abandon()
            raise
        self._services, self._hands = services, hands
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Send what is settled, give back the rest, and leave."""
        services, self._services = self._services, None
        hands, self._hands = self._hands, None
        if services is not None and hands is not None:
            await services.stop_claiming()
            services.give_back()  # claimed last, so it goes back first
            hands.release_all()
            await services.close(0.0)
        if self._owns_queue:
            await self.queue.close()

    def _die(self, error: BaseException) -> None:
        self._fatal = error
        if self._hands is not None:
            self._hands.wake()

    async def fetch(self, max: int = 1, *, timeout: Duration | None = None) -> list[Job[DataT, Any]]:
        """Wait for a job and return what is there, at most `max` jobs; an empty list after `timeout`."""
        if max < 1:
            raise InvalidOption(f"max={max!r} must be at least 1")
        limit = None if timeout is None else duration_ms(timeout, "timeout", wait=True) / 1000
        hands = self._entered()
        try:
            async with asyncio.timeout(limit):
                while not (taken := hands.take(max)):
                    if self._fatal is not None:
                        raise self._fatal
                    await hands.arrival()
        except TimeoutError:
            return []
        return cast("list[Job[DataT, Any]]", taken)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Job[DataT, Any]:
        return (await self.fetch())[0]

    async def flush(self) -> None:
        """Wait until everything settled so far is stored."""
        await self._entered().flushed()

    def _entered(self) -> _Hands:
        if self._hands is None:
            raise InvalidOption(
                f"enter the consumer of queue {self.queue.name!r} first: `async with consumer:`"
            )
        return self._hands


class _Hands:
    """In the dispatcher's place: claimed jobs wait to be taken, and are settled by whoever took them."""

    def __init__(self, services: Services) -> None:
        self.protocol: DataProtocol | None = None
        self.keeps_claims = True
        self.context: object = None
        self.on_active: Callable[[JobBase], object] | None = None
        self.on_completed: Callable[[JobBase, object], object] | None = None
        self.waits = Histogram()
        self.runs = Histogram()
        self._exchange: Exchange = services.exchange
        self._services = services
        self._arrived = asyncio.Event()
        services.exchange.use_sink(_ManualSink(services.sink, services.settler, self))

    def after_replies(self) -> None:
        """Tell whoever waits that jobs may have come."""
        for job, error in self._exchange.take_broken():
            self._services.broken(job, error)
        self._services.notice()
        self._services.replied()
        self.wake()

    def wake(self) -> None:
        """Let fetches look."""
        self._arrived.set()

    async def arrival(self) -> None:
        """Wait until something may have come."""
        self._arrived.clear()
        await self._arrived.wait()

    def take(self, most: int) -> list[JobBase]:
        """Take claimed jobs."""
        return list(self._exchange.take_ready(most))

    def put_down(self, job: JobBase) -> None:
        """Free the slot of a job; raises JobNotInState when it is settled already."""
        if not self._exchange.put_down(job):
            raise JobNotInState(f"job {job.id} is settled already", job_id=job.id, state="unknown")

    def released(self) -> None:
        """Something was settled: send it, and claim again."""
        self._exchange.asked = True
        self.flush()

    def release_all(self) -> None:
        """Give back what was taken and not settled, the last one first."""
        jobs = sorted(self._exchange.running_jobs, key=lambda job: (len(job.id), job.id), reverse=True)
        for job in jobs:
            self.put_down(job)
            self._exchange.release(job)

    def flush(self) -> None:
        """Let the exchange send."""
        if self.protocol is not None:
            self.protocol.pump(self._exchange)

    async def flushed(self) -> None:
        """Wait until all outcomes are stored."""
        while not self._exchange.settled:
            self.flush()
            await self.arrival()

    def stop_threads(self) -> None:
        """Nothing runs here."""


class _ManualSink:
    """What a job of a consumer is settled through."""

    def __init__(self, sink: Sink, settler: Settler, hands: _Hands) -> None:
        self._settler = settler
        self._hands = hands
        self._exchange = sink.exchange
        self.report_progress = sink.report_progress
        self.report_line = sink.report_line

    def complete(self, job: JobBase, value: object) -> None:
        """Settle as completed."""
        self._hands.put_down(job)
        self._exchange.complete_with(job, value)
        self._hands.released()

    def fail(self, job: JobBase, error: BaseException | str, retry: bool) -> None:
        """Settle as failed, by attempts and backoff or for good."""
        self._hands.put_down(job)
        failure = RuntimeError(error) if isinstance(error, str) else error
        if not retry:
            failure = UnrecoverableError(str(failure)).with_traceback(failure.__traceback__)
        self._settler.failed(job, failure, None)
        self._hands.released()

    def release(self, job: JobBase) -> None:
        """Give back."""
        self._hands.put_down(job)
        self._exchange.release(job)
        self._hands.released()

    def postpone(self, job: JobBase, until: int) -> None:
        """Put off until a time."""
        self._hands.put_down(job)
        self._settler.postpone(job, until)
        self._hands.released()

    def retry_later(self, job: JobBase, delay: Duration) -> None:
        """Put off."""
        wait = duration_ms(delay, "delay")
        self._hands.put_down(job)
        self._exchange.later(job, wait)
        self._hands.released()
