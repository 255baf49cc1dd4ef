"""The consumer for blocking code: the one for asyncio, run by the background thread of this process.

Jobs are taken and settled on the loop of that thread, and renewed there whatever their owners do. A call that
settles checks and packs in its own thread, where its errors are raised, and leaves the rest to the loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, cast

from bullrush.errors import InvalidOption, JobNotInState
from bullrush.events.blocking import Background, background, refuse_second, twin_of
from bullrush.job import DataT, JobBase
from bullrush.options import Duration, duration_ms
from bullrush.options.texts import check_int
from bullrush.queue import Queue
from bullrush.worker.consumer import Consumer, Hands, ManualSink, consumer_settings, failure_of

if TYPE_CHECKING:
    from bullrush import sync
    from bullrush._core.exchange import Exchange
    from bullrush.app import Bullrush, Connection
    from bullrush.worker.services import Services


class SyncConsumer(Generic[DataT]):
    """Take jobs and settle each by hand, in blocking code and from any number of threads.

        with Consumer("orders", url, prefetch=10) as consumer:
            for job in consumer:
                job.complete(handle(job.data))

    With `job.complete(value)`, `job.fail(error)`, `job.release()` or `job.retry_later(delay)`, in whatever
    thread; a second one raises JobNotInState. `prefetch` is how many jobs are held at a time, fetched ones
    included. Their lease is renewed until they are settled, by a thread of this process. Leaving `with` gives
    back what was fetched and not settled, uncharged. A forked child makes its own consumer.
    """

    def __init__(
        self,
        queue: str | sync.Queue[Any, Any],
        connection: Connection = None,
        *,
        prefetch: int = 1,
        lease: Duration = 30_000,
        prefix: str | None = None,
    ) -> None:
        from bullrush import sync

        if isinstance(queue, Queue):
            raise InvalidOption(f"queue={queue!r} is for asyncio: give a bullrush.sync.Queue or a name")
        self._owns_queue = isinstance(queue, str)
        if isinstance(queue, str):
            queue = sync.Queue(queue, connection, prefix=prefix)
        else:
            refuse_second(queue.name, connection, prefix)
        self.queue: sync.Queue[Any, Any] = queue
        consumer_settings(prefetch, lease)
        self._prefetch, self._lease = prefetch, lease
        self._running: _Running | None = None
        self._closed = False

    # Life.

    def __enter__(self) -> Self:
        if self._running is not None:
            raise InvalidOption(
                f"this consumer of queue {self.queue.name!r} is entered already; make another one"
            )
        running = _Running(self.queue, self._prefetch, self._lease)
        running.start()
        self._running, self._closed = running, False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Send what is settled, give back the rest, and leave. Fetches that wait end, with an empty list.

        Jobs that are settled later raise JobNotInState. Ends within 10 s when Redis is away; the lease then
        lapses by itself.
        """
        running, self._running = self._running, None
        self._closed = True
        if running is not None:
            running.close()
        if self._owns_queue:
            self.queue.close()

    # Jobs.

    def fetch(self, max: int = 1, *, timeout: Duration | None = None) -> list[sync.Job[DataT, Any]]:
        """Wait for a job and return what is there, at most `max` jobs; an empty list after `timeout`.

        What it returns is held until it is settled, and takes that many of the `prefetch` places: with all of
        them taken it waits until one is settled. A fetch that is interrupted (Ctrl-C, an error raised by a
        signal handler) loses nothing: what it would have returned comes with the next one. Ends with an empty
        list when the consumer is closed meanwhile. Raises InvalidOption for a `max` below 1, for a bare
        `timeout` below 100 (ms) and outside of `with`, and the error that ended the consumer if one did.
        """
        check_int(max, "max", 1)
        limit = None if timeout is None else duration_ms(timeout, "timeout", wait=True) / 1000
        return cast("list[sync.Job[DataT, Any]]", self._entered().fetch(max, limit))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> sync.Job[DataT, Any]:
        if not self._closed and (jobs := self.fetch()):
            return jobs[0]
        raise StopIteration

    def flush(self) -> None:
        """Wait until everything settled so far is stored.

        Raises ConnectionLost after the `request_timeout` of the queue's app; what is settled is kept, and
        sent when the server is there again.
        """
        self._entered().flush()

    def _entered(self) -> _Running:
        running = self._running
        if running is None:
            raise InvalidOption(f"enter the consumer of queue {self.queue.name!r} first: `with consumer:`")
        running.check_process()
        return running


class _LoopConsumer(Consumer[Any]):
    """The consumer on the loop of the background thread; its jobs are those of blocking code."""

    def __init__(self, owner: sync.Queue[Any, Any], twin: Bullrush, prefetch: int, lease: Duration) -> None:
        super().__init__(Queue(owner.name, twin), prefetch=prefetch, lease=lease)
        self._owner = owner
        self.sink: ThreadSink

    def _job_kind(self) -> tuple[type, object]:
        from bullrush import sync

        return sync.Job, self._owner

    def _make_hands(self, services: Services) -> Hands:
        hands = super()._make_hands(services)
        self.sink = ThreadSink(hands, services.exchange, services.loop)
        return hands

    def take_back(self, jobs: list[JobBase]) -> None:
        """Nobody got these: they are handed out again."""
        if self._hands is not None:
            self.sink.take_back(jobs)
            self._hands.put_back(jobs)


class _Running:
    """A consumer between enter and close, as other threads see it."""

    def __init__(self, queue: sync.Queue[Any, Any], prefetch: int, lease: Duration) -> None:
        self._pid = os.getpid()
        self._background: Background = background()
        self._twin: Bullrush = twin_of(queue.app)
        self._consumer = _LoopConsumer(queue, self._twin, prefetch, lease)

    def start(self) -> None:
        """Enter it."""
        self._background.run(self._start())

    async def _start(self) -> None:
        try:
            await self._consumer.__aenter__()
        except BaseException:
            await self._twin.close()
            raise

    def close(self) -> None:
        """Leave it, to the end even if this thread is interrupted.

        A forked child has nothing to leave: the sockets are its parent's.
        """
        if self._pid == os.getpid():
            self._background.run(self._close(), to_end=True)

    async def _close(self) -> None:
        await self._consumer.sink.close()
        await self._consumer.close()
        await self._twin.close()

    def check_process(self) -> None:
        """Refuse to work for a forked child."""
        if self._pid != os.getpid():
            raise InvalidOption(
                f"the consumer of queue {self._consumer.queue.name!r} belongs to the process that entered "
                "it; make another one after a fork"
            )

    def fetch(self, most: int, limit: float | None) -> list[JobBase]:
        """Take jobs; when this thread is interrupted they go back."""
        delivery = _Delivery()
        try:
            self._background.run(self._deliver(delivery, most, limit))
            return delivery.jobs
        except BaseException:
            self._background.loop.call_soon_threadsafe(self._take_back, delivery)
            raise

    async def _deliver(self, delivery: _Delivery, most: int, limit: float | None) -> None:
        delivery.jobs = await self._consumer._take(most, limit)
        if delivery.abandoned:
            self._take_back(delivery)
        else:
            self._consumer.sink.hand_out(delivery.jobs)

    def _take_back(self, delivery: _Delivery) -> None:
        """Nobody is there any more to get these, or those that are still to come."""
        delivery.abandoned = True
        jobs, delivery.jobs = delivery.jobs, []
        if jobs:
            self._consumer.take_back(jobs)

    def flush(self) -> None:
        """Wait until all outcomes are stored."""
        self._background.run(self._consumer.flush())


class _Delivery:
    """What one fetch gets, and whether it is still there to get it."""

    def __init__(self) -> None:
        self.jobs: list[JobBase] = []
        self.abandoned = False


class ThreadSink:
    """What jobs are settled through by other threads than that of the loop.

    Which jobs may be settled is known here, behind a lock, so that exactly one call settles each, and none
    comes after the end: what was accepted is in the loop's line before the consumer begins to close.
    """

    def __init__(self, hands: Hands, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._open = set[JobBase]()
        self._sink: ManualSink = hands.sink
        self._exchange = exchange
        self._loop = loop
        self.report_progress = self._sink.report_progress
        self.report_line = self._sink.report_line
        exchange.use_sink(self)

    # On the loop.

    def hand_out(self, jobs: list[JobBase]) -> None:
        """These may be settled."""
        with self._lock:
            self._open.update(jobs)

    def take_back(self, jobs: list[JobBase]) -> None:
        """These may not, until they are handed out again."""
        with self._lock:
            self._open.difference_update(jobs)

    async def close(self) -> None:
        """Accept nothing more, and let the loop do what was accepted."""
        with self._lock:
            self._open.clear()
            done = self._loop.create_future()
            self._loop.call_soon(done.set_result, None)
        await done

    # In any thread.

    def complete(self, job: JobBase, value: object) -> None:
        """Settle as completed; a value that cannot be stored settles nothing."""
        self._settle(job, self._sink.complete, self._exchange.pack(job, value))

    def fail(self, job: JobBase, error: BaseException | str, retry: bool) -> None:
        """Settle as failed, by attempts and backoff or for good."""
        self._settle(job, self._sink.fail, failure_of(error, retry), True)

    def release(self, job: JobBase) -> None:
        """Give back."""
        self._settle(job, self._sink.release)

    def postpone(self, job: JobBase, until: int) -> None:
        """Put off until a time."""
        self._settle(job, self._sink.postpone, until)

    def retry_later(self, job: JobBase, delay: Duration) -> None:
        """Put off."""
        self._settle(job, self._sink.retry_later, duration_ms(delay, "delay"))

    def _settle(self, job: JobBase, settle: Callable[..., None], *arguments: object) -> None:
        if self._pid != os.getpid():
            raise InvalidOption(f"job {job.id} is held by the process that fetched it; settle it there")
        with self._lock:
            if job not in self._open:
                raise JobNotInState(
                    f"job {job.id} is settled already, or was given back when its consumer closed",
                    job_id=job.id,
                    state="unknown",
                )
            self._loop.call_soon_threadsafe(settle, job, *arguments)
            self._open.discard(job)
