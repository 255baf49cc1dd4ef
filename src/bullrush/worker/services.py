"""What a running worker consists of, from its registration to its retirement.

Services, each with one duty.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from bullrush._core.dispatch import Route
from bullrush._core.session import ReplyError
from bullrush.connection.link import Link
from bullrush.errors import BullrushError, ConnectionLost, LeaseLost
from bullrush.job import Job, JobBase
from bullrush.operations.requests import Argument, read
from bullrush.options import WorkerSettings
from bullrush.worker.kinds import job_kinds
from bullrush.worker.lease import LeaseKeeper
from bullrush.worker.listeners import Listeners
from bullrush.worker.lookout import Lookout
from bullrush.worker.meter import Meter
from bullrush.worker.reaper import Reaper
from bullrush.worker.registration import Registration, new_number
from bullrush.worker.settler import LEASE_LOST, SHUTDOWN, Settler, Sink
from bullrush.worker.starter import Starter
from bullrush.worker.stats import Stats
from bullrush.worker.stopper import Stopper
from bullrush.worker.waker import Waker

if TYPE_CHECKING:
    from bullrush.queue import Queue

logger = logging.getLogger("bullrush")

CLOSE_LIMIT = 10.0
# A server that does not answer is waited for elsewhere, and told of.
KEEPER_LIMIT = 1.0


class Services:
    """What a running worker consists of, from its registration to its retirement."""

    def __init__(
        self,
        queue: Queue[Any, Any],
        settings: WorkerSettings,
        listeners: Listeners,
        route: Route | None,
        routes: dict[str, Route] | None,
        concurrency: int,
        kind: tuple[type, object] | None = None,
    ) -> None:
        self.queue = queue
        self.loop = asyncio.get_running_loop()
        self.dispatcher: Starter
        self.on_fatal: Callable[[BaseException], None] = lambda error: None
        self._settings = settings
        self._listeners = listeners
        self._keys = queue.keys
        self._registration = Registration(queue, settings)
        self._stack = contextlib.AsyncExitStack()
        self.settler = Settler(settings, listeners)
        self.sink = Sink(self.loop, listeners, self.settler)
        kinds = job_kinds(queue, kind or (Job, queue), route, routes)
        self.exchange = self._registration.make_exchange(self.sink, kinds, concurrency)
        self.settler.exchange = self.sink.exchange = self.exchange
        self.exchange.after = self._after_replies
        address = queue.app.address
        self._link = Link(
            address,
            reply_limit=settings.lease / 3000,
            on_error=self._connection_error,
            check=queue.app.start_check,
        )
        self._link.on_up = self._came_up
        self._link.attach(self.exchange, self)
        self._lookout = Lookout(self.loop, self.exchange, lambda: self.dispatcher.flush())
        self._waker = Waker(address, self._keys, self._lookout.woken, self._signalled, self._poke)
        self._stopper = Stopper(self.exchange, self.settler, self.loop)
        self._reaper = Reaper(self._link, self._keys, settings.lease, listeners)
        self._meter = Meter(
            self._link, self._keys, self.exchange, lambda: (self.dispatcher.waits, self.dispatcher.runs)
        )
        self._keeper = LeaseKeeper(
            self.exchange,
            address,
            self._keys,
            codec_name=self._registration.codec_name,
            hang_limit=settings.hang_limit / 1000,
            on_lost=lambda number: self._threadsafe(lambda: self._lease_lost_of(number)),
            on_difference=lambda: self._threadsafe(self._reopen),
        )
        self.exchange.on_opened = self._keeper.registered
        self._looked_at = self.loop.time()
        self._was_dry = False
        self._hurried = False
        self._leaving = False
        self._cut_off_at: float | None = None
        self._opened: asyncio.Future[None] = self.loop.create_future()
        self._adopting: asyncio.Task[None] | None = None
        self._cancels: set[asyncio.Task[None]] = set()

    def _after_replies(self) -> None:
        self.dispatcher.after_replies()

    # Start and stop.

    async def start(self) -> None:
        """Enter the lifespan, register, and begin to claim."""
        if self._settings.lifespan is not None:
            self.dispatcher.context = await self._stack.enter_async_context(self._settings.lifespan())
        self.hook_listeners()
        self._waker.watch(self.exchange.number)
        self._waker.start()
        await self._start_keeper()
        self._link.pump(self.exchange)
        await self._opened

    async def _start_keeper(self) -> None:
        """The first job may keep the interpreter's lock at once, so renewals come before claims."""
        ready = asyncio.Event()
        self._keeper.start(lambda: self._threadsafe(ready.set))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KEEPER_LIMIT):
                await ready.wait()

    @property
    def is_open(self) -> bool:
        """Say whether the server has answered: from then on jobs may be claimed."""
        return self._opened.done()

    def hook_listeners(self) -> None:
        """Plain completions call Python only where somebody listens."""
        wants, emit = self._listeners.wants, self._listeners.emit
        self.dispatcher.on_active = (lambda job: emit("active", job)) if wants("active") else None
        self.dispatcher.on_completed = (
            (lambda job, value: emit("completed", job, value)) if wants("completed") else None
        )

    async def abandon(self) -> None:
        """Close what is open; for a start that failed this is all."""
        self._keeper.stop()
        try:
            await self._waker.close()
        finally:
            try:
                await self._link.close()
            finally:
                await self._stack.aclose()

    def hurry(self) -> None:
        """A second close does not wait any longer: what runs is cancelled and given back."""
        self._hurried = True

    async def stop_claiming(self) -> bool:
        """Claim no more, and wait for calls in flight, which may bring jobs; False when they stay away."""
        self.exchange.claiming = False
        return await self._until(lambda: not self.exchange.inflight, CLOSE_LIMIT / 2)

    async def close(self, limit: float | None) -> None:
        """Close in order: no more claims, give back, let run, settle, retire.

        Cancelled meanwhile it leaves at once, as a crash would: whoever is gone must not renew a lease.
        """
        try:
            await self._wind_down(limit)
        except BaseException:
            self._cancel_running(SHUTDOWN)
            raise
        finally:
            self._leaving = True
            self._keeper.stop()
            self._meter.stop()
            self._stopper.close()
            self.dispatcher.stop_threads()
            self._lookout.close()
            for task in self._cancels:
                task.cancel()
            await self.abandon()

    async def _wind_down(self, limit: float | None) -> None:
        if await self.stop_claiming():
            self.give_back()
        await self._until(lambda: self._hurried or self._nothing_runs(), limit)
        if not self._nothing_runs():
            self._cancel_running(SHUTDOWN)
            await self._until(self._nothing_runs, CLOSE_LIMIT / 2)
        self.dispatcher.stop_threads()
        if await self._until(lambda: self.exchange.settled, CLOSE_LIMIT / 2):
            await self._meter.close()
            self._leaving = True
            await self._retire()
        self._keeper.stop()  # before the wait for the reaper: a number that has left is not renewed
        await self._reaper.close()

    def _nothing_runs(self) -> bool:
        return not self.exchange.running and not self.exchange.running_jobs and not self.settler.busy

    async def _until(self, condition: Callable[[], bool], limit: float | None) -> bool:
        deadline = None if limit is None else self.loop.time() + limit
        pause = 0.001
        while not condition():
            if deadline is not None and self.loop.time() >= deadline:
                return False
            self.dispatcher.flush()
            await asyncio.sleep(pause)
            pause = min(0.05, pause * 1.5)
        return True

    def give_back(self) -> None:
        """What was claimed and not started returns to the head, the last first: the order is kept."""
        exchange = self.exchange
        for job in [*exchange.ready, *exchange.unconfirmed][::-1]:
            exchange.release(job)
        exchange.ready.clear()
        exchange.unconfirmed.clear()
        self.dispatcher.flush()

    def _cancel_running(self, reason: str) -> None:
        # The last one first: each goes back to the head of the line.
        for job in sorted(self.exchange.running_jobs, key=lambda job: (len(job.id), job.id), reverse=True):
            job._cancel(reason)

    def started(self, job: JobBase) -> None:
        """A job with a timeout started."""
        self._stopper.arm(job)

    def ended(self, job: JobBase) -> None:
        """The handler of a job with options ended."""
        self._stopper.disarm(job)

    def _signalled(self, signal: bytes) -> None:
        """A signal: the id of a cancelled job and the reason. A bare poke has none."""
        id, _, reason = signal.decode(errors="replace").partition("\0")
        if id and not self._stopper.cancel(id, reason):
            # It is not here any more: perhaps it is on its way back to the queue, and must not run again.
            task = self.loop.create_task(self._cancel_elsewhere(id, reason))
            self._cancels.add(task)
            task.add_done_callback(self._cancels.discard)
        self.dispatcher.flush()

    async def _cancel_elsewhere(self, id: str, reason: str) -> None:
        await self._until(lambda: self.exchange.settled, CLOSE_LIMIT / 2)
        with contextlib.suppress(BullrushError, ReplyError):
            await self.queue.cancel(id, reason)

    def _poke(self) -> None:
        """Let our own waker look up from its list of signals."""
        number = self.exchange.number
        frame = self._registration.frame("signal", number)
        task = self.loop.create_task(self._link.call(frame.call(number, b"", by_text=True)))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _retire(self) -> None:
        number = self.exchange.number
        frame = self._registration.frame("retire", number)
        with contextlib.suppress(ConnectionLost, ReplyError):
            await self._link.call(frame.call(number, by_text=True), timeout=2.0)

    async def pause(self, wait: bool) -> None:
        """Stop claiming and give back what has not started."""
        await self.stop_claiming()
        self.give_back()
        if wait:
            await self._until(self._nothing_runs, None)

    def resume(self) -> None:
        """Claim again."""
        self.exchange.claiming = True
        self._lookout.ask()

    def resize(self, concurrency: int) -> None:
        """Change the number of slots."""
        self.exchange.concurrency = concurrency
        self._lookout.ask()

    @property
    def quiet(self) -> bool:
        """Say whether nothing runs, waits to be settled or is in flight here."""
        return self._nothing_runs() and self.exchange.settled and not self.exchange.ready

    @property
    def stats(self) -> Stats:
        """Counts and latencies since the start."""
        return Stats(
            self.exchange.claimed_total,
            self.exchange.settled_total,
            self.exchange.calls,
            self.dispatcher.waits,
            self.dispatcher.runs,
        )

    # What the dispatcher asks (its policy).

    def failed(self, job: JobBase, error: BaseException, cancel_reason: str | None) -> None:
        """See Settler."""
        self.settler.failed(job, error, cancel_reason)

    def broken(self, job: JobBase, error: BullrushError) -> None:
        """See Settler."""
        self.settler.broken(job, error)

    def unhandled(self, job: JobBase) -> None:
        """See Settler."""
        self._lookout.yields = True
        self.settler.unhandled(job)

    def awaitable(self, job: JobBase, value: Awaitable[object]) -> None:
        """See Settler."""
        self.settler.awaitable(job, value)

    def replied(self) -> None:
        """Look at what a reply said of the queue as a whole."""
        exchange = self.exchange
        if exchange.fatal is not None:
            self._fail(exchange.fatal)
            return
        if not self._opened.done() and exchange.state == 2:
            self._opened.set_result(None)
        if exchange.due_at:
            self._lookout.wait_for_due(exchange.due_at)
        if exchange.limited and exchange.ready:
            exchange.give_back_surplus()
        if exchange.dry:
            if not self._was_dry and not exchange.closed_by_limit:
                self._listeners.emit("drained")
            if exchange.claiming and exchange.running < exchange.concurrency:
                self._waker.need()
        self._was_dry = exchange.dry

    def notice(self) -> None:
        """Look at what is rare: a lost lease, late outcomes, leases that seem dead, claims nobody told of."""
        exchange = self.exchange
        if exchange.lease_lost:
            self._lease_lost()
            return
        for id in exchange.take_refused():
            logger.warning(
                "the outcome of job %s came too late: it is held by another worker or was removed", id
            )
        expired = exchange.take_expired()
        if expired:
            self._reaper.notice(expired, exchange.number)
        if exchange.unseen and (self._adopting is None or self._adopting.done()):
            self._adopting = self.loop.create_task(self._adopt())

    async def _adopt(self) -> None:
        """Fetch, in pages, the jobs that the server says we hold and whose claim's reply was lost."""
        exchange, keys = self.exchange, self._keys
        number = exchange.number
        while exchange.unseen:
            ids = exchange.unseen[:100]
            commands: list[tuple[Argument, ...]] = [
                ("HMGET", keys[name], *ids) for name in ("jobs", "attempts", "plans")
            ]
            try:
                replies = cast("list[list[bytes | None]]", await self._link.call_all(read(*commands).frames))
            except (ConnectionLost, ReplyError):
                return
            if exchange.number != number:
                return  # the lease was lost meanwhile, and these jobs with it
            exchange.adopt(ids, *replies)
        self.dispatcher.after_replies()
        self.dispatcher.flush()

    # Deadlines, ten times a second (see Link).

    def tick(self, now: float) -> bool:
        """Say that the loop turns, look for dead workers every quarter of a lease, give back the hoard."""
        self._keeper.tick(now)
        if now - self._looked_at >= self._settings.lease / 4000:
            self._looked_at = now
            self.exchange.look = True
        if not self.dispatcher.keeps_claims:
            self.exchange.give_back_stale()
        self._meter.tick(now)
        return False

    @property
    def busy(self) -> bool:
        """A worker always wants its connection."""
        return True

    # Trouble.

    def _came_up(self, protocol: object) -> None:
        self.dispatcher.protocol = protocol  # type: ignore[assignment]
        if self._cut_off_at is not None:
            seconds, self._cut_off_at = self.loop.time() - self._cut_off_at, None
            logger.warning("connected to %s again, after %.1f s", self.queue.app.address.label, seconds)

    def _connection_error(self, error: Exception) -> None:
        if isinstance(error, BullrushError):
            self._fail(error)
            return
        # One line for the beginning of an outage and one for its end: it may last all night.
        if self._cut_off_at is None:
            self._cut_off_at = self.loop.time()
            logger.warning("no connection to %s, trying again: %s", self.queue.app.address.label, error)
        self._listeners.emit("error", error)

    def _fail(self, error: BaseException) -> None:
        if not self._opened.done():
            self._opened.set_exception(error)
        else:
            self.on_fatal(error)

    def _lease_lost_of(self, number: bytes) -> None:
        """Two may find it lost, and by the time the second one says so there is a new number."""
        if number == self.exchange.number:
            self._lease_lost()

    def _lease_lost(self) -> None:
        """Others have our jobs: forget everything, stop what runs, and register under a new number."""
        if self._leaving:  # a renewal behind the retirement: the number is gone because it was given up
            return
        number = new_number()
        lost = LeaseLost(
            f"the lease of worker {self.exchange.number.decode()} on queue {self.queue.name!r} was lost: "
            "its jobs run elsewhere, their outcomes here are dropped; it registers anew"
        )
        logger.error("%s", lost)
        self._cancel_running(LEASE_LOST)
        self.exchange.start_over(number, self._registration.host(self.exchange.concurrency))
        self.exchange.rebind(*self._registration.frames(number))
        self._waker.watch(number)
        self._listeners.emit("error", lost)
        self._reopen()

    def _reopen(self) -> None:
        """Close the socket: the next `open` tells what the server knows."""
        if self._link.protocol is not None:
            self._link.protocol.abort()

    def _threadsafe(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(call)
