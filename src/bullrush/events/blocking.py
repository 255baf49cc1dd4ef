"""Events and results for blocking code, read by one thread with an event loop for the whole process.

So what is waited for, and in which order, is written once, in the asyncio classes. The thread starts at the
first use and is a daemon; a forked child starts its own.
"""

from __future__ import annotations

import asyncio
import atexit
import inspect
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from bullrush.app import Bullrush
from bullrush.errors import InvalidOption, InvalidOptionType
from bullrush.events.kinds import Event
from bullrush.events.queue_events import QueueEvents
from bullrush.events.results import Results
from bullrush.events.waits import Settled, load_settled
from bullrush.options import Duration, duration_ms
from bullrush.queue import Queue

if TYPE_CHECKING:
    from bullrush import sync
    from bullrush._core.job import JobBase
    from bullrush.app import Connection

EventT = TypeVar("EventT", bound=Event)
JobT = TypeVar("JobT", bound="JobBase[Any, Any]")
ReturnT = TypeVar("ReturnT")

BATCH = 1000


class Background:
    """A thread that runs an event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="bullrush events", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, ReturnT], *, to_end: bool = False) -> ReturnT:
        """Run a coroutine there and return what it returns.

        An interrupt of this thread cancels it; with `to_end` it goes on alone.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise InvalidOption(
                "blocking calls cannot be made on the thread that serves them; use the asyncio classes"
            )
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:
            if not to_end:
                future.cancel()
            raise

    def stop(self) -> None:
        """End the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(1)
        if not self._thread.is_alive():
            self.loop.close()


class _Process:
    """The thread of this process: none before the first use, and never the one of a parent."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Become new in a forked child: the parent's thread is not here."""
        self._lock = threading.Lock()
        self._background: Background | None = None

    @property
    def background(self) -> Background:
        """The thread, started at the first use."""
        with self._lock:
            if self._background is None:
                self._background = Background()
            return self._background

    def stop(self) -> None:
        """End the thread at the end of the program."""
        if self._background is not None:
            self._background.stop()


_process = _Process()
atexit.register(_process.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.forget)


def background() -> Background:
    """Return the thread of this process, started at the first use."""
    return _process.background


def twin_of(app: Bullrush) -> Bullrush:
    """Return an app for the loop of the thread: the connections of `app` itself belong to others."""
    timeout = int(app.request_timeout * 1000)
    twin = Bullrush(app._connection, prefix=app.prefix, codec=app.codec, request_timeout=timeout)
    twin._address = app.address
    return twin


class SyncResults:
    """`Results` for blocking code: the same methods without await."""

    def __init__(self, queue: sync.Queue[Any, Any]) -> None:
        self._queue = queue
        self._pid = os.getpid()
        self._made: Results | None = None

    @property
    def _results(self) -> Results:
        if self._made is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._made = Results(Queue(self._queue.name, twin_of(self._queue.app)))
        return self._made

    def wait(self, job: JobBase[Any, Any], limit: float | None) -> object:
        """Wait for one job; see `Results.wait`."""
        return _process.background.run(self._results.wait(job, limit))

    def wait_all(self, jobs: Sequence[JobBase[Any, Any]], limit: float | None) -> list[object]:
        """Wait for all jobs; see `Results.wait_all`."""
        return _process.background.run(self._results.wait_all(jobs, limit))

    def as_completed(self, jobs: Sequence[JobT], limit: float | None) -> Iterator[JobT]:
        """Yield jobs as they finish, those that failed too, with their outcome loaded."""
        by_id: dict[str, list[JobT]] = {}
        for job in jobs:
            by_id.setdefault(job.id, []).append(job)
        background = _process.background
        outcomes = self._results.settled(jobs, limit)
        try:
            while (fresh := background.run(_next_outcomes(outcomes))) is not None:
                for id, settled in fresh:
                    for job in by_id[id]:
                        load_settled(job, settled)
                        yield job
        finally:
            background.run(_end(outcomes))

    def close(self) -> None:
        """End all waits, with ConnectionLost."""
        made, self._made = self._made, None
        if made is not None and self._pid == os.getpid():
            _process.background.run(_close(made))


async def _close(results: Results) -> None:
    await results.close()
    await results._queue.close()
    await results._queue.app.close()


async def _next_outcomes(
    outcomes: AsyncGenerator[list[tuple[str, Settled]], None],
) -> list[tuple[str, Settled]] | None:
    return await anext(outcomes, None)


async def _end(outcomes: AsyncGenerator[list[tuple[str, Settled]], None]) -> None:
    await outcomes.aclose()


class SyncQueueEvents:
    """The events of a queue for blocking code, from the moment `with` is entered, with no hole.

        with SyncQueueEvents("emails", url) as events:
            for event in events:
                match event:
                    case Completed(job_id, returnvalue): ...

    or with listeners: `@events.on(Failed)`. Either iterate or listen: both at once is an InvalidOption.
    Listeners are `def`; they run in one thread of these events, one after the other, in the order of the
    events, and one that raises is logged. `kinds` and `after` are those of `QueueEvents`. One thread iterates
    at a time; `close` from another one ends it.
    """

    def __init__(
        self,
        queue: str | sync.Queue[Any, Any],
        connection: Connection = None,
        *,
        prefix: str | None = None,
        kinds: Iterable[type[Event]] | None = None,
        after: str | None = None,
    ) -> None:
        self._buffer: deque[Event] = deque()
        self._executor: ThreadPoolExecutor | None = None
        self._entered = False
        self._thread_name = f"bullrush listeners {id(self)}"
        self._twin: Bullrush | None = None
        if not isinstance(queue, str):
            refuse_second(queue.name, connection, prefix)
            self._twin = twin_of(queue.app)
            twin_queue: str | Queue[Any, Any] = Queue(queue.name, self._twin)
            self._events = QueueEvents(twin_queue, kinds=kinds, after=after)
        elif isinstance(connection, Bullrush):
            self._twin = twin_of(connection)
            self._events = QueueEvents(queue, self._twin, prefix=prefix, kinds=kinds, after=after)
        else:
            self._events = QueueEvents(queue, connection, prefix=prefix, kinds=kinds, after=after)

    def __enter__(self) -> Self:
        _process.background.run(self._events.__aenter__())
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop; waits for a listener that runs."""
        self._entered = False
        _process.background.run(self._close())
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=not threading.current_thread().name.startswith(self._thread_name))

    async def _close(self) -> None:
        await self._events.close()
        if self._twin is not None:
            await self._twin.close()

    # Iterating.

    def __iter__(self) -> Iterator[Event]:
        self._events.__aiter__()
        return self

    def __next__(self) -> Event:
        event = self._next(None)
        if event is None:
            raise StopIteration
        return event

    def get(self, timeout: Duration | None = None) -> Event | None:
        """Wait for the next event, at most `timeout`; None when none came, or these events were closed."""
        self._events.__aiter__()
        return self._next(None if timeout is None else duration_ms(timeout, "timeout") / 1000)

    def _next(self, limit: float | None) -> Event | None:
        if not self._buffer:
            self._buffer.extend(_process.background.run(_next_events(self._events, limit)))
        return self._buffer.popleft() if self._buffer else None

    # Listening.

    @overload
    def on(self, kind: type[EventT], listener: Callable[[EventT], object], /) -> None: ...
    @overload
    def on(
        self, kind: type[EventT], /
    ) -> Callable[[Callable[[EventT], ReturnT]], Callable[[EventT], ReturnT]]: ...
    def on(self, kind: type[EventT], listener: Callable[[EventT], object] | None = None, /) -> object:
        """Call a listener for each event of a kind (`Event`: of every kind); also a decorator.

        Raises InvalidOption as `QueueEvents.on` does, and for a listener that is `async def`.
        """
        if listener is not None:
            self._listen(kind, listener)
            return None

        def decorate(function: Callable[[EventT], ReturnT]) -> Callable[[EventT], ReturnT]:
            return self._listen(kind, function)

        return decorate

    def _listen(
        self, kind: type[EventT], listener: Callable[[EventT], ReturnT]
    ) -> Callable[[EventT], ReturnT]:
        if not callable(listener) or inspect.iscoroutinefunction(listener):
            raise InvalidOptionType(f"listener of {kind!r} is {listener!r}; here it must be a def function")
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix=self._thread_name)
        executor = self._executor

        async def hand_over(event: EventT) -> None:
            await asyncio.get_running_loop().run_in_executor(executor, listener, event)

        if self._entered:
            _process.background.run(_listen_later(self._events, kind, hand_over))
        else:
            self._events.on(kind, hand_over)
        return listener


def refuse_second(name: str, connection: Connection, prefix: str | None) -> None:
    """Refuse a connection or prefix beside a queue, which brings its own."""
    for option, value in (("connection", connection), ("prefix", prefix)):
        if value is not None:
            raise InvalidOption(f"{option}={value!r}: queue {name!r} has one already; leave it out")


async def _next_events(events: QueueEvents, limit: float | None) -> list[Event]:
    try:
        async with asyncio.timeout(limit):
            return await events.next_events(BATCH)
    except TimeoutError:
        return []


async def _listen_later(
    events: QueueEvents, kind: type[EventT], listener: Callable[[EventT], object]
) -> None:
    events.on(kind, listener)
