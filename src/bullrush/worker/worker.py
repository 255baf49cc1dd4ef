"""The worker of one queue: claims jobs, runs handlers, settles.

It owns services and lets each do its one duty.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, cast, overload

from bullrush._core.dispatch import Dispatcher
from bullrush.errors import InvalidOption
from bullrush.job import Job
from bullrush.operations import control
from bullrush.operations import jobs as job_operations
from bullrush.options import Batch, Duration, WorkerOptions, WorkerSettings, duration_ms, worker_settings
from bullrush.queue import Queue
from bullrush.worker.handlers import BatchHandler, Handler, Handlers, routes_of
from bullrush.worker.listeners import Listeners
from bullrush.worker.services import Services
from bullrush.worker.signatures import (
    ErrorEvent,
    ErrorListener,
    ErrorListenerT,
    JobErrorEvent,
    JobErrorListener,
    JobErrorListenerT,
    JobEvent,
    JobListener,
    JobListenerT,
    JobValueEvent,
    JobValueListener,
    JobValueListenerT,
    PlainEvent,
    PlainListener,
    PlainListenerT,
    TextEvent,
    TextListener,
    TextListenerT,
    WorkerEvent,
)
from bullrush.worker.stats import Stats

if TYPE_CHECKING:
    from bullrush.app import Connection

IDLE_LOOK = 0.02


class Worker:
    """Process the jobs of a queue with a handler, or with one for each name.

    `async def` handlers run on the loop and get `bullrush.Job`, `def` handlers run in threads and get
    `bullrush.sync.Job`; `concurrency` of them at a time. Use it as `async with`, or with `run` or
    `run_forever`. The constructor does no I/O.
    """

    @overload
    def __init__(
        self,
        queue: str | Queue[Any, Any],
        handler: Handler | Mapping[str, Handler],
        connection: Connection = None,
        *,
        prefix: str | None = None,
        batch: None = None,
        **options: Unpack[WorkerOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        queue: str | Queue[Any, Any],
        handler: BatchHandler,
        connection: Connection = None,
        *,
        prefix: str | None = None,
        batch: Batch,
        **options: Unpack[WorkerOptions],
    ) -> None: ...
    def __init__(
        self,
        queue: str | Queue[Any, Any],
        handler: Handlers | BatchHandler,
        connection: Connection = None,
        *,
        prefix: str | None = None,
        batch: Batch | None = None,
        **options: Unpack[WorkerOptions],
    ) -> None:
        if batch is not None:
            raise InvalidOption(f"batch={batch!r}: batches are not available in this version; leave it out")
        self.queue = queue_of(queue, connection, prefix)
        self._owns_queue = not isinstance(queue, Queue)
        self.settings: WorkerSettings = worker_settings(options)
        self._route, self._routes = routes_of(
            cast("Handlers", handler),
            self.settings.executor,
            self.settings.middleware,
            self.settings.concurrency,
        )
        self._listeners = Listeners()
        self._concurrency = self.settings.concurrency
        self._stop: asyncio.Event | None = None
        self._paused = False
        self._starting: tuple[asyncio.Task[Any] | None, Services] | None = None
        self._start_is_off = False
        self._closing: Services | None = None
        self._cancelled_body = False
        self._started = False
        self._fatal: BaseException | None = None
        self._body: asyncio.Task[Any] | None = None
        self._running_services: Services | None = None

    # Listeners.

    @overload
    def on(self, event: JobEvent, listener: JobListener, /) -> None: ...
    @overload
    def on(self, event: JobValueEvent, listener: JobValueListener, /) -> None: ...
    @overload
    def on(self, event: JobErrorEvent, listener: JobErrorListener, /) -> None: ...
    @overload
    def on(self, event: TextEvent, listener: TextListener, /) -> None: ...
    @overload
    def on(self, event: ErrorEvent, listener: ErrorListener, /) -> None: ...
    @overload
    def on(self, event: PlainEvent, listener: PlainListener, /) -> None: ...
    @overload
    def on(self, event: JobEvent, /) -> Callable[[JobListenerT], JobListenerT]: ...
    @overload
    def on(self, event: JobValueEvent, /) -> Callable[[JobValueListenerT], JobValueListenerT]: ...
    @overload
    def on(self, event: JobErrorEvent, /) -> Callable[[JobErrorListenerT], JobErrorListenerT]: ...
    @overload
    def on(self, event: TextEvent, /) -> Callable[[TextListenerT], TextListenerT]: ...
    @overload
    def on(self, event: ErrorEvent, /) -> Callable[[ErrorListenerT], ErrorListenerT]: ...
    @overload
    def on(self, event: PlainEvent, /) -> Callable[[PlainListenerT], PlainListenerT]: ...
    def on(self, event: WorkerEvent, listener: Callable[..., object] | None = None, /) -> object:
        """Call a function on an event of this worker: `worker.on("failed", f)`, or as a decorator.

        Listeners run on the loop; one that raises is logged and changes nothing. `failed` means for good; an
        attempt that another one follows is `retrying`.
        """
        if listener is None:

            def register(function: Callable[..., object]) -> Callable[..., object]:
                self._add_listener(event, function)
                return function

            return register
        self._add_listener(event, listener)
        return None

    def _add_listener(self, event: str, listener: Callable[..., object]) -> None:
        self._listeners.add(event, listener)
        if self._running_services is not None:
            self._running_services.hook_listeners()

    # Life.

    async def __aenter__(self) -> Self:
        self._body = asyncio.current_task()
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        body, self._body = self._body, None
        if self._cancelled_body and body is not None:
            self._cancelled_body = False
            body.uncancel()
        await self.close()
        if self._fatal is not None:
            fatal, self._fatal = self._fatal, None
            raise fatal

    async def run(self, *, until_idle: bool = False) -> None:
        """Work until closed or cancelled, or until nothing is left to do.

        Inside `async with` it only waits.
        """
        own = self._running_services is None
        if own:
            await self._start()
        try:
            if until_idle:
                await self.wait_idle()
            else:
                assert self._stop is not None
                await self._stop.wait()
        finally:
            if own:
                await self.close()
        if self._fatal is not None:
            fatal, self._fatal = self._fatal, None
            raise fatal

    def run_forever(self, *, until_idle: bool = False) -> None:
        """Work from blocking code, on a loop of its own.

        SIGINT and SIGTERM close gracefully, a second one at once.
        """
        from bullrush.worker.running import run_workers_forever

        run_workers_forever([self], until_idle=until_idle)

    async def _start(self) -> None:
        if self._running_services is not None:
            raise InvalidOption(f"this worker of queue {self.queue.name!r} runs already")
        self._started = True
        self._stop = asyncio.Event()
        services = self._make_services()
        self._starting, self._start_is_off = (asyncio.current_task(), services), False
        try:
            await services.start()
        except BaseException as error:
            await services.abandon()
            if not self._is_called_off(error):
                raise
        else:
            self._running_services = services
        finally:
            self._starting = None

    def _is_called_off(self, error: BaseException) -> bool:
        """Say whether it was `close` that ended a start, and nobody else."""
        if not self._start_is_off or not isinstance(error, asyncio.CancelledError):
            return False
        task = asyncio.current_task()
        return task is None or task.uncancel() == 0

    def _call_off_start(self) -> None:
        """A start that waits for a server, or for its lifespan, would keep a closed worker waiting."""
        if self._starting is not None and not self._start_is_off:
            task, services = self._starting
            if task is not None and not services.is_open:
                self._start_is_off = True
                task.cancel()

    def _make_services(self) -> Services:
        services = Services(
            self.queue, self.settings, self._listeners, self._route, self._routes, self._concurrency
        )
        services.on_fatal = self._die
        services.dispatcher = Dispatcher(
            services.exchange, services, self._route, self._routes, services.loop
        )
        services.exchange.claiming = not self._paused
        return services

    async def close(self, *, timeout: Duration | None = None, force: bool = False) -> None:
        """Stop claiming, let running jobs end, settle, and leave. What was claimed and not started goes back.

        After `timeout` what still runs is cancelled and given back without charge; `force` does so at once.
        Ends within 10 s when Redis is away; the lease then lapses by itself.
        """
        limit = (
            0.0 if force else None if timeout is None else duration_ms(timeout, "timeout", wait=True) / 1000
        )
        services, self._running_services = self._running_services, None
        self._call_off_start()
        if services is None and self._closing is not None:
            if limit is not None:
                await self._hurry(self._closing, limit)
            return
        try:
            if services is not None:
                await self._close(services, limit)
        finally:
            if self._stop is not None:
                self._stop.set()
            if self._owns_queue:
                await self.queue.close()

    async def _close(self, services: Services, limit: float | None) -> None:
        self._closing = services
        try:
            await services.close(limit)
        finally:
            self._closing = None
        self._listeners.emit("closed")
        await self._listeners.finish()

    async def _hurry(self, services: Services, limit: float) -> None:
        """Another close is under way: it ends at this one's limit."""
        await asyncio.sleep(limit)
        services.hurry()

    def _die(self, error: BaseException) -> None:
        """A fatal error: the body of `async with` is cancelled, and the error is raised at its end."""
        self._fatal = error
        self._listeners.emit("error", error)
        if self._stop is not None:
            self._stop.set()
        if self._body is not None:
            self._cancelled_body = True
            self._body.cancel()

    # Control.

    async def pause(self, *, wait: bool = True) -> None:
        """Stop claiming; leases are renewed all the same. With `wait`, return once nothing runs here."""
        self._paused = True
        if self._running_services is not None:
            await self._running_services.pause(wait)
        self._listeners.emit("paused")

    async def resume(self) -> None:
        """Claim again."""
        self._paused = False
        if self._running_services is not None:
            self._running_services.resume()
        self._listeners.emit("resumed")

    async def wait_idle(self, timeout: Duration | None = None) -> None:
        """Wait until nothing is waiting, prioritized, due or active in the queue.

        Raises TimeoutError after `timeout`.
        """
        limit = None if timeout is None else duration_ms(timeout, "timeout", wait=True) / 1000
        async with asyncio.timeout(limit):
            while self._running_services is not None and not await self._is_idle():  # noqa: ASYNC110
                await asyncio.sleep(IDLE_LOOK)

    async def _is_idle(self) -> bool:
        services = self._running_services
        if services is None:
            return True
        if self._fatal is not None:
            raise self._fatal
        if not services.quiet:
            return False
        port = self.queue._port
        counts = await port.run(
            job_operations.get_counts(self.queue.keys, ("waiting", "prioritized", "active"))
        )
        if any(counts.values()):
            return False
        return not await port.run(control.is_due(self.queue.keys, int(services.exchange.server_now())))

    # State.

    @property
    def jobs(self) -> list[Job[Any, Any]]:
        """The jobs that run here now."""
        services = self._running_services
        return [] if services is None else cast("list[Job[Any, Any]]", list(services.exchange.running_jobs))

    @property
    def is_running(self) -> bool:
        """Say whether the worker works."""
        return self._running_services is not None

    @property
    def is_paused(self) -> bool:
        """Say whether this worker was paused."""
        return self._paused

    @property
    def concurrency(self) -> int:
        """How many jobs run here at a time; may be changed while it works."""
        return self._concurrency

    @concurrency.setter
    def concurrency(self, n: int) -> None:
        self._concurrency = worker_settings({"concurrency": n}).concurrency
        if self._running_services is not None:
            self._running_services.resize(n)

    @property
    def stats(self) -> Stats:
        """Counts and latencies of this worker since it started."""
        return Stats.none() if self._running_services is None else self._running_services.stats

    def __repr__(self) -> str:
        return f"<bullrush.Worker of {self.queue.name!r}{'' if self.is_running else ', not running'}>"

    def __del__(self) -> None:
        if not getattr(self, "_started", True):
            warnings.warn(
                f"a worker of queue {self.queue.name!r} was never started: "
                "use `async with worker:` or worker.run()",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )


def queue_of(queue: str | Queue[Any, Any], connection: Connection, prefix: str | None) -> Queue[Any, Any]:
    """Return the queue that was given or named; one that was given brings its connection and prefix along."""
    if isinstance(queue, Queue):
        for option, value in (("connection", connection), ("prefix", prefix)):
            if value is not None:
                raise InvalidOption(f"{option}={value!r}: the queue brings its own; leave it out")
        return queue
    return Queue(queue, connection, prefix=prefix)
