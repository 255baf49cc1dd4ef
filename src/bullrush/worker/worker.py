"""The worker of one queue: claims jobs, runs handlers, settles. It owns services and lets each do its one duty."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import time
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, cast, overload

from bullrush._core.dispatch import Dispatcher
from bullrush._core.exchange import Exchange
from bullrush._core.session import ReplyError
from bullrush.connection.link import Link
from bullrush.errors import BullrushError, ConnectionLost, InvalidOption, LeaseLost
from bullrush.job import Job
from bullrush.operations import jobs as job_operations
from bullrush.operations.requests import read, script_frame
from bullrush.options import (
    Batch,
    Duration,
    Keep,
    WorkerOptions,
    WorkerSettings,
    duration_ms,
    worker_settings,
)
from bullrush.queue import Queue
from bullrush.worker.handlers import BatchHandler, Handler, Handlers, routes_of
from bullrush.worker.lease import LeaseKeeper
from bullrush.worker.listeners import Listeners
from bullrush.worker.reaper import Reaper
from bullrush.worker.settler import LEASE_LOST, SHUTDOWN, Settler, Sink
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
from bullrush.worker.waker import Waker

if TYPE_CHECKING:
    from bullrush.app import Connection

logger = logging.getLogger("bullrush")

COMPLETED_KEPT = 1_000
CLOSE_LIMIT = 10.0
IDLE_LOOK = 0.02


class Worker:
    """Process the jobs of a queue with a handler, or with one for each name.

    `async def` handlers run on the loop and get `bullrush.Job`, `def` handlers run in threads and get `bullrush.sync.Job`;
    `concurrency` of them at a time. Use it as `async with`, or with `run` or `run_forever`. The constructor does no I/O.
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
        self.queue = _queue_of(queue, connection, prefix)
        self._owns_queue = not isinstance(queue, Queue)
        self.settings: WorkerSettings = worker_settings(options)
        self._route, self._routes = routes_of(
            cast("Handlers", handler), self.settings.executor, self.settings.middleware
        )
        self._listeners = Listeners()
        self._concurrency = self.settings.concurrency
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._stop: asyncio.Event | None = None
        self._paused = False
        self._started = False
        self._fatal: BaseException | None = None
        self._body: asyncio.Task[Any] | None = None
        self._running_services: _Services | None = None

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

        Listeners run on the loop; one that raises is logged and changes nothing. `failed` means for good; an attempt that
        another one follows is `retrying`.
        """
        if listener is None:
            return lambda function: (self._add_listener(event, function), function)[1]
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
        self._body = None
        await self.close()
        if self._fatal is not None:
            fatal, self._fatal = self._fatal, None
            raise fatal

    async def run(self, *, until_idle: bool = False) -> None:
        """Work until closed or cancelled, or until nothing is left to do. Inside `async with` it only waits."""
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
        """Work from blocking code, on a loop of its own. SIGINT and SIGTERM close gracefully, a second one at once."""
        from bullrush.worker.running import run_workers_forever

        run_workers_forever([self], until_idle=until_idle)

    async def _start(self) -> None:
        if self._running_services is not None:
            raise InvalidOption(f"this worker of queue {self.queue.name!r} runs already")
        self._started = True
        self._stop = asyncio.Event()
        services = _Services(self)
        try:
            await services.start()
        except BaseException:
            await services.abandon()
            raise
        self._running_services = services

    async def close(self, *, timeout: Duration | None = None, force: bool = False) -> None:
        """Stop claiming, let running jobs end, settle, and leave. What was claimed and not started goes back.

        After `timeout` what still runs is cancelled and given back without charge; `force` does so at once. Ends within 10 s
        when Redis is away; the lease then lapses by itself.
        """
        limit = 0.0 if force else None if timeout is None else duration_ms(timeout, "timeout", wait=True) / 1000
        services, self._running_services = self._running_services, None
        if services is not None:
            await services.close(limit)
            self._listeners.emit("closed")
            await self._listeners.finish()
        if self._stop is not None:
            self._stop.set()
        if self._owns_queue:
            await self.queue.close()

    def _die(self, error: BaseException) -> None:
        """A fatal error: the body of `async with` is cancelled, and the error is raised at its end."""
        self._fatal = error
        self._listeners.emit("error", error)
        if self._stop is not None:
            self._stop.set()
        if self._body is not None:
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
        """Wait until nothing is waiting, prioritized, due or active in the queue; raises TimeoutError after `timeout`."""
        limit = None if timeout is None else duration_ms(timeout, "timeout", wait=True) / 1000
        async with asyncio.timeout(limit):
            while self._running_services is not None and not await self._is_idle():
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
        counts = await port.run(job_operations.get_counts(self.queue.keys, ("waiting", "prioritized", "active")))
        if any(counts.values()):
            return False
        return not await port.run(_is_due(self.queue, int(services.exchange.server_now())))

    # State.

    @property
    def jobs(self) -> list[Job[Any, Any]]:
        """The jobs that run here now."""
        return [] if self._running_services is None else list(self._running_services.exchange.running_jobs)

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
                f"a worker of queue {self.queue.name!r} was never started: use `async with worker:` or worker.run()",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )


class _Services:
    """What a running worker consists of, from its registration to its retirement."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._settings = worker.settings
        self._listeners = worker._listeners
        self.queue = worker.queue
        self._loop = asyncio.get_running_loop()
        self._keys = worker.queue.keys
        self._stack = contextlib.AsyncExitStack()
        self._settler = Settler(self._settings, self._listeners)
        self._sink = Sink(self._loop)
        self.exchange = self._make_exchange()
        self._settler.exchange = self._sink.exchange = self.exchange
        self._dispatcher = Dispatcher(self.exchange, self, worker._route, worker._routes, self._loop)
        self.exchange.after = self._dispatcher.after_replies
        lease = self._settings.lease / 1000
        self._link = Link(self.queue.app.address, reply_limit=lease / 3, on_error=self._connection_error)
        self._link.on_up = self._came_up
        self._link.attach(self.exchange, self)
        self._waker = Waker(self.queue.app.address, self._keys, self._look)
        self._reaper = Reaper(self._link, self._keys, self._settings.lease)
        self._keeper = LeaseKeeper(
            self.exchange,
            self.queue.app.address,
            self._keys,
            hang_limit=self._settings.hang_limit / 1000,
            on_lost=lambda: self._threadsafe(self._lease_lost),
            on_difference=lambda: self._threadsafe(self._reopen),
        )
        self._looked_at = self._loop.time()
        self._due_timer: asyncio.TimerHandle | None = None
        self._due_at = 0
        self._was_dry = False
        self._opened = self._loop.create_future()
        self._adopting: asyncio.Task[None] | None = None

    def _make_exchange(self) -> Exchange:
        number = new_number()
        settings, queue = self._settings, self.queue
        keep = settings.remove_on_complete or Keep(COMPLETED_KEPT)
        default, kinds = self._kinds()
        return Exchange(
            *self._frames(number),
            default[1],
            self._sink,
            number=number,
            host=self._host(),
            codec_name=b"msgpack" if queue.codec is None else queue.codec.name.encode(),
            kind=default[0],
            kinds=kinds,
            concurrency=self._worker._concurrency,
            prefetch=-1 if settings.prefetch == "auto" else settings.prefetch,
            lease=settings.lease,
            keep=-1 if keep.count is None else keep.count,
            age=-1 if keep.age is None else keep.age,
        )

    def _kinds(self) -> tuple[tuple[type, object], dict[str, tuple[type, object]]]:
        """Which class of job each handler gets."""
        routes = self._worker._routes
        asynchronous: tuple[type, object] = (Job, self.queue)
        route = self._worker._route
        if route is not None:
            return (self._blocking_kind() if route.threaded else asynchronous), {}
        assert routes is not None
        kinds = {name: self._blocking_kind() for name, route in routes.items() if route.threaded}
        return asynchronous, kinds

    def _blocking_kind(self) -> tuple[type, object]:
        from bullrush import sync

        return sync.Job, self.queue.app.sync_queue(self.queue.name)

    def _frames(self, number: bytes) -> tuple[object, object]:
        held = (self._keys.held(number.decode()),)
        return script_frame("open", self._keys, held), script_frame("exchange", self._keys, held)

    def _host(self) -> bytes:
        return json.dumps(
            {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "name": self._settings.name,
                "concurrency": self._worker._concurrency,
                "lease": self._settings.lease,
                "max_crashes": self._settings.max_crashes,
                "started": int(time.time() * 1000),
            }
        ).encode()

    # Start and stop.

    async def start(self) -> None:
        """Enter the lifespan, register, and begin to claim."""
        if self._settings.lifespan is not None:
            self._dispatcher.context = await self._stack.enter_async_context(self._settings.lifespan())
        self.hook_listeners()
        if self._worker._paused:
            self.exchange.claiming = False
        self._waker.start()
        self._link.pump(self.exchange)
        self._keeper.start()
        await self._opened

    def hook_listeners(self) -> None:
        """Plain completions call Python only where somebody listens."""
        wants, emit = self._listeners.wants, self._listeners.emit
        self._dispatcher.on_active = (lambda job: emit("active", job)) if wants("active") else None
        self._dispatcher.on_completed = (lambda job, value: emit("completed", job, value)) if wants("completed") else None

    async def abandon(self) -> None:
        """Undo a start that failed."""
        self._keeper.stop()
        await self._waker.close()
        await self._link.close()
        await self._stack.aclose()

    async def close(self, limit: float | None) -> None:
        """Close in order: no more claims, give back, let run, settle, retire."""
        self.exchange.claiming = False
        started = self._loop.time()
        await self._until(lambda: not self.exchange.inflight, CLOSE_LIMIT)
        self._give_back()
        if not await self._until(self._nothing_runs, limit):
            self._cancel_running(SHUTDOWN)
            await self._until(self._nothing_runs, CLOSE_LIMIT)
        self._dispatcher.stop_threads()
        left = max(1.0, CLOSE_LIMIT - (self._loop.time() - started)) if limit is not None else CLOSE_LIMIT
        if await self._until(lambda: self.exchange.settled, left):
            await self._retire()
        self._keeper.stop()
        await self._reaper.close()
        await self._waker.close()
        if self._due_timer is not None:
            self._due_timer.cancel()
        await self._link.close()
        await self._stack.aclose()

    def _nothing_runs(self) -> bool:
        return not self.exchange.running and not self.exchange.running_jobs and not self._settler.busy

    async def _until(self, condition: Callable[[], bool], limit: float | None) -> bool:
        deadline = None if limit is None else self._loop.time() + limit
        pause = 0.001
        while not condition():
            if deadline is not None and self._loop.time() >= deadline:
                return False
            self._dispatcher.flush()
            await asyncio.sleep(pause)
            pause = min(0.05, pause * 1.5)
        return True

    def _give_back(self) -> None:
        """What was claimed and not started returns to the head, the last one first, so that the order is kept."""
        exchange = self.exchange
        for job in [*exchange.ready, *exchange.unconfirmed][::-1]:
            exchange.release(job)
        exchange.ready.clear()
        exchange.unconfirmed.clear()
        self._dispatcher.flush()

    def _cancel_running(self, reason: str) -> None:
        for job in list(self.exchange.running_jobs):
            job._cancel(reason)

    async def _retire(self) -> None:
        number = self.exchange.number
        frame = script_frame("retire", self._keys, (self._keys.held(number.decode()),))
        with contextlib.suppress(ConnectionLost, ReplyError):
            await self._link.call(frame.call(number, by_text=True), timeout=2.0)

    async def pause(self, wait: bool) -> None:
        """Stop claiming and give back what has not started."""
        self.exchange.claiming = False
        await self._until(lambda: not self.exchange.inflight, CLOSE_LIMIT)
        self._give_back()
        if wait:
            await self._until(self._nothing_runs, None)

    def resume(self) -> None:
        """Claim again."""
        self.exchange.claiming = True
        self._ask()

    def resize(self, concurrency: int) -> None:
        """Change the number of slots."""
        self.exchange.concurrency = concurrency
        self._ask()

    @property
    def quiet(self) -> bool:
        """Say whether nothing runs, waits to be settled or is in flight here."""
        return self._nothing_runs() and self.exchange.settled and not self.exchange.ready

    @property
    def stats(self) -> Stats:
        """Counts and latencies since the start."""
        return Stats(self.exchange.claimed_total, self.exchange.settled_total, self.exchange.calls, self._dispatcher.waits, self._dispatcher.runs)

    # What the dispatcher asks (its policy).

    def failed(self, job: Job, error: BaseException, cancel_reason: str | None) -> None:
        """See Settler."""
        self._settler.failed(job, error, cancel_reason)

    def broken(self, job: Job, error: BullrushError) -> None:
        """See Settler."""
        self._settler.broken(job, error)  # type: ignore[arg-type]

    def unhandled(self, job: Job) -> None:
        """See Settler."""
        self._settler.unhandled(job)

    def awaitable(self, job: Job, value: Any) -> None:
        """See Settler."""
        self._settler.awaitable(job, value)

    def replied(self) -> None:
        """Look at what a reply said of the queue as a whole."""
        exchange = self.exchange
        if exchange.fatal is not None:
            self._fail(exchange.fatal)
            return
        if not self._opened.done() and exchange.state == 2:
            self._opened.set_result(None)
        if exchange.due_at and exchange.due_at != self._due_at:
            self._wait_for_due(exchange.due_at)
        if exchange.dry:
            if not self._was_dry:
                self._listeners.emit("drained")
            if exchange.claiming and exchange.running < exchange.concurrency:
                self._waker.need()
        self._was_dry = exchange.dry

    def notice(self) -> None:
        """Look at what happens rarely: a lost lease, late outcomes, leases that seem dead, claims whose reply was lost."""
        exchange = self.exchange
        if exchange.lease_lost:
            self._lease_lost()
            return
        for id in exchange.take_refused():
            logger.warning("the outcome of job %s came too late: it is held by another worker or was removed", id)
        expired = exchange.take_expired()
        if expired:
            self._reaper.notice(expired, exchange.number)
        if exchange.unseen and (self._adopting is None or self._adopting.done()):
            self._adopting = self._loop.create_task(self._adopt())

    async def _adopt(self) -> None:
        """Fetch, in pages, the jobs that the server says we hold and whose claim's reply was lost."""
        exchange, keys = self.exchange, self._keys
        while exchange.unseen:
            ids = exchange.unseen[:100]
            frames = read(*[("HMGET", keys[name], *ids) for name in ("jobs", "attempts", "plans")]).frames
            try:
                replies = cast("list[list[bytes | None]]", await self._link.call_all(frames))
            except (ConnectionLost, ReplyError):
                return
            exchange.adopt(ids, *replies)
        self._dispatcher.after_replies()
        self._dispatcher.flush()

    # Waking.

    def _look(self, _token: bool) -> bool:
        """Something may be there. Returns whether this worker will claim."""
        exchange = self.exchange
        if not exchange.claiming or exchange.running + len(exchange.ready) >= exchange.concurrency:
            return False
        self._ask()
        return True

    def _ask(self) -> None:
        self.exchange.asked = True
        self._dispatcher.flush()

    def _wait_for_due(self, due_ms: int) -> None:
        """A delayed job this worker was told of: look when its time has come."""
        self._due_at = due_ms
        if self._due_timer is not None:
            self._due_timer.cancel()
        wait = max(0.0, (due_ms - self.exchange.server_now()) / 1000 + 0.001)
        self._due_timer = self._loop.call_later(wait, self._ask)

    # Deadlines, ten times a second (see Link).

    def tick(self, now: float) -> bool:
        """Say that the loop turns, look for dead workers every quarter of a lease, give back what was hoarded."""
        self._keeper.heartbeat = now
        if now - self._looked_at >= self._settings.lease / 4000:
            self._looked_at = now
            self.exchange.look = True
        self.exchange.give_back_stale()
        return False

    @property
    def busy(self) -> bool:
        """A worker always wants its connection."""
        return True

    # Trouble.

    def _came_up(self, protocol: object) -> None:
        self._dispatcher.protocol = protocol  # type: ignore[assignment]

    def _connection_error(self, error: Exception) -> None:
        if isinstance(error, BullrushError):
            self._fail(error)
            return
        logger.warning("no connection to %s, trying again: %s", self.queue.app.address.label, error)
        self._listeners.emit("error", error)

    def _fail(self, error: BaseException) -> None:
        if not self._opened.done():
            self._opened.set_exception(error)
        else:
            self._worker._die(error)

    def _lease_lost(self) -> None:
        """Others have our jobs: forget everything, stop what runs, and register under a new number."""
        number = new_number()
        lost = LeaseLost(
            f"the lease of worker {self.exchange.number.decode()} on queue {self.queue.name!r} was lost: "
            "its jobs run elsewhere, their outcomes here are dropped; it registers anew"
        )
        logger.error("%s", lost)
        self._cancel_running(LEASE_LOST)
        self.exchange.start_over(number, self._host())
        self.exchange.rebind(*self._frames(number))
        self._listeners.emit("error", lost)
        self._reopen()

    def _reopen(self) -> None:
        """Close the socket: the next `open` tells what the server knows."""
        if self._link.protocol is not None:
            self._link.protocol.abort()

    def _threadsafe(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)


def new_number() -> bytes:
    """Return a worker number: 40 random bits, so that no failover or restore hands one out twice."""
    return str(int.from_bytes(os.urandom(5))).encode()


def _queue_of(queue: str | Queue[Any, Any], connection: Connection, prefix: str | None) -> Queue[Any, Any]:
    if isinstance(queue, Queue):
        for option, value in (("connection", connection), ("prefix", prefix)):
            if value is not None:
                raise InvalidOption(f"{option}={value!r}: the queue brings its own; leave it out")
        return queue
    return Queue(queue, connection, prefix=prefix)


def _is_due(queue: Queue[Any, Any], now: int) -> job_operations.Operation[bool]:
    """Say whether a delayed job's time has come."""
    limit = (now + 1) * 4096
    replies = cast("list[int]", (yield read(("ZCOUNT", queue.keys["delayed"], "-inf", f"({limit}"))))
    return replies[0] > 0
