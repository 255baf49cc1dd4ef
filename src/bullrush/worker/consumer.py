"""The consumer: jobs for code that fetches and settles them itself."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, cast

from bullrush._core.histogram import Histogram
from bullrush.errors import (
    ConnectionLost,
    InvalidOption,
    InvalidOptionType,
    JobNotInState,
    UnrecoverableError,
)
from bullrush.job import DataT, Job, JobBase
from bullrush.options import Duration, WorkerOptions, WorkerSettings, duration_ms, worker_settings
from bullrush.options.texts import check_int
from bullrush.queue import Queue
from bullrush.worker.listeners import Listeners
from bullrush.worker.services import Services
from bullrush.worker.settler import Settler, Sink
from bullrush.worker.worker import queue_of

if TYPE_CHECKING:
    from bullrush._core.exchange import Exchange
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
        self.queue = queue_of(queue, connection, prefix)
        self._owns_queue = not isinstance(queue, Queue)
        self._settings = consumer_settings(prefetch, lease)
        self._services: Services | None = None
        self._hands: Hands | None = None
        self._fatal: BaseException | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._services is not None:
            raise InvalidOption(
                f"this consumer of queue {self.queue.name!r} is entered already; make another one"
            )
        slots = self._settings.concurrency
        services = Services(self.queue, self._settings, Listeners(), None, None, slots, self._job_kind())
        hands = self._make_hands(services)
        services.dispatcher = hands
        services.on_fatal = self._die
        try:
            await services.start()
        except BaseException:
            await services.abandon()
            raise
        self._services, self._hands = services, hands
        self._closed, self._fatal = False, None
        return self

    def _job_kind(self) -> tuple[type, object]:
        """The class of its jobs, and the queue that they belong to."""
        return Job, self.queue

    def _make_hands(self, services: Services) -> Hands:
        """Make what jobs are taken from and settled through, before the first one is claimed."""
        return Hands(services)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Send what is settled, give back the rest, and leave.

        A fetch that waits ends, with an empty list.
        """
        services, self._services = self._services, None
        hands, self._hands = self._hands, None
        self._closed = True
        if services is not None and hands is not None:
            hands.close()
            try:
                await services.stop_claiming()
            finally:  # cancelled or not
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
        """Wait for a job and return what is there, at most `max` jobs; an empty list after `timeout`.

        What it returns is held until it is settled, and takes that many of the `prefetch` places: with all of
        them taken it waits until one is settled. A fetch that is cancelled loses nothing: what it would have
        returned comes with the next one. Ends with an empty list when the consumer is closed meanwhile.
        Raises InvalidOption for a `max` below 1, for a bare `timeout` below 100 (ms) and outside of `async
        with`, and the error that ended the consumer if one did (the server refuses it, say).
        """
        check_int(max, "max", 1)
        limit = None if timeout is None else duration_ms(timeout, "timeout", wait=True) / 1000
        return cast("list[Job[DataT, Any]]", await self._take(max, limit))

    async def _take(self, most: int, limit: float | None) -> list[JobBase]:
        """Wait for jobs. Nothing is awaited once they are taken, so that no cancellation can lose them."""
        hands = self._entered()
        try:
            async with asyncio.timeout(limit):
                while not (taken := hands.take(most)) and not hands.closed:
                    if self._fatal is not None:
                        raise self._fatal
                    await hands.arrival()
        except TimeoutError:
            return []
        return taken

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Job[DataT, Any]:
        if not self._closed and (jobs := await self.fetch()):
            return jobs[0]
        raise StopAsyncIteration

    async def flush(self) -> None:
        """Wait until everything settled so far is stored.

        Raises ConnectionLost after the `request_timeout` of the queue's app; what is settled is kept, and
        sent when the server is there again.
        """
        await self._entered().flushed(self.queue.app.request_timeout)

    def _entered(self) -> Hands:
        if self._hands is None:
            raise InvalidOption(
                f"enter the consumer of queue {self.queue.name!r} first: `async with consumer:`"
            )
        return self._hands


def consumer_settings(prefetch: int, lease: Duration) -> WorkerSettings:
    """Check the options of a consumer: it is a worker whose slots are what is held at a time."""
    check_int(prefetch, "prefetch", 1)
    options: WorkerOptions = {"concurrency": prefetch, "lease": lease, "prefetch": 0}
    return worker_settings(options)


class Hands:
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
        self._returned: deque[JobBase] = deque()
        self.closed = False
        self.sink = ManualSink(services.sink, services.settler, self)
        services.exchange.use_sink(self.sink)

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
        """Take claimed jobs, those that were put back first."""
        taken = list[JobBase]()
        while self._returned and len(taken) < most:
            job = self._returned.popleft()
            if self._exchange.owns(job):
                taken.append(job)
            else:  # cancelled meanwhile, or its lease was lost
                self.put_down(job)
        return taken + list(self._exchange.take_ready(most - len(taken)))

    def put_back(self, jobs: list[JobBase]) -> None:
        """Whoever took these is gone: they stay held, and come first at the next look."""
        self._returned.extendleft(reversed(jobs))
        self.wake()

    def check_open(self, job: JobBase) -> None:
        """Raise JobNotInState when a job is settled already, or went back with the end of its consumer."""
        if job not in self._exchange.running_jobs:
            raise JobNotInState(
                f"job {job.id} is settled already, or was given back when its consumer closed",
                job_id=job.id,
                state="unknown",
            )

    def put_down(self, job: JobBase) -> None:
        """Free the slot of a job."""
        self.check_open(job)
        self._exchange.put_down(job)

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

    async def flushed(self, limit: float) -> None:
        """Wait until all outcomes are stored."""
        try:
            async with asyncio.timeout(limit):
                while not self._exchange.settled:
                    self.flush()
                    await self.arrival()
        except TimeoutError:
            raise ConnectionLost(
                f"what was settled was not stored within {limit:g} s; it is kept and sent again",
                took_effect=None,
            ) from None

    def close(self) -> None:
        """Let fetches end."""
        self.closed = True
        self.wake()

    def stop_threads(self) -> None:
        """Nothing runs here."""


class ManualSink:
    """What a job of a consumer is settled through."""

    def __init__(self, sink: Sink, settler: Settler, hands: Hands) -> None:
        self._settler = settler
        self._hands = hands
        self._exchange = sink.exchange
        self.report_progress = sink.report_progress
        self.report_line = sink.report_line

    def complete(self, job: JobBase, value: object) -> None:
        """Settle as completed; a value that cannot be stored settles nothing."""
        self._hands.check_open(job)
        self._exchange.complete_with(job, value)
        self._put_down(job)

    def fail(self, job: JobBase, error: BaseException | str, retry: bool) -> None:
        """Settle as failed, by attempts and backoff or for good."""
        failure = failure_of(error, retry)
        self._hands.check_open(job)
        self._settler.failed(job, failure, None)
        self._put_down(job)

    def release(self, job: JobBase) -> None:
        """Give back."""
        self._hands.check_open(job)
        self._exchange.release(job)
        self._put_down(job)

    def postpone(self, job: JobBase, until: int) -> None:
        """Put off until a time."""
        self._hands.check_open(job)
        self._settler.postpone(job, until)
        self._put_down(job)

    def retry_later(self, job: JobBase, delay: Duration) -> None:
        """Put off."""
        wait = duration_ms(delay, "delay")
        self._hands.check_open(job)
        self._exchange.later(job, wait)
        self._put_down(job)

    def _put_down(self, job: JobBase) -> None:
        self._hands.put_down(job)
        self._hands.released()


def failure_of(error: object, retry: bool) -> BaseException:
    """Return the error that a job is to fail with; raises InvalidOptionType for what is none."""
    if isinstance(error, str):
        failure: BaseException = RuntimeError(error)
    elif isinstance(error, BaseException):
        failure = error
    else:
        raise InvalidOptionType(
            f"error is {error!r} ({type(error).__name__}); it must be an exception or a text: "
            "nothing was settled"
        )
    return failure if retry else UnrecoverableError(str(failure)).with_traceback(failure.__traceback__)
