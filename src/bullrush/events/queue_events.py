"""What happens in a queue, as asyncio code sees it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, overload

from bullrush.errors import InvalidOption, InvalidOptionType
from bullrush.events.cursor import check_event_id
from bullrush.events.feed import Feed
from bullrush.events.kinds import EVENT_KINDS, Event
from bullrush.options import Duration, duration_ms
from bullrush.queue import Queue

if TYPE_CHECKING:
    from bullrush.app import Connection

logger = logging.getLogger("bullrush")

EventT = TypeVar("EventT", bound=Event)
ReturnT = TypeVar("ReturnT")

ALL_KINDS: Final[frozenset[type[Event]]] = frozenset(EVENT_KINDS.values())


class QueueEvents:
    """The events of a queue, from the moment `async with` is entered, with no hole.

        async with QueueEvents("emails", url) as events:
            async for event in events:
                match event:
                    case Completed(job_id, returnvalue): ...

    or with listeners: `@events.on(Failed)`. Either iterate or listen: both at once is an InvalidOption.
    Listeners may be `def` or `async def`; they run one after the other on the loop, in the order of the
    events, and one that raises is logged.

    `kinds` bounds what is decoded and delivered. `after` is the `id` of an event: what came behind it and is
    still kept comes first ("0-0": all that is kept). What is missing is told by a Gap, unless `kinds` leaves
    it out. All of one queue and process share a reader. It survives lost connections; while the server is
    away, iterating waits. Entering raises ConnectionLost when nothing is answered within `request_timeout`.
    """

    def __init__(
        self,
        queue: str | Queue[Any, Any],
        connection: Connection = None,
        *,
        prefix: str | None = None,
        kinds: Iterable[type[Event]] | None = None,
        after: str | None = None,
    ) -> None:
        self._owned = not isinstance(queue, Queue)
        self._queue: Queue[Any, Any] = _queue_of(queue, connection, prefix)
        self._chosen = None if kinds is None else _check_kinds(kinds)
        self._after = None if after is None else check_event_id(after)
        self._listeners: list[tuple[type[Event], Callable[[Any], object]]] = []
        self._iterated = False
        self._pump: asyncio.Task[None] | None = None
        self._feed: Feed | None = None

    # Life.

    async def __aenter__(self) -> Self:
        if self._feed is not None:
            raise InvalidOption("these events are entered already; make another QueueEvents")
        feed = Feed(self._queue, self.kinds)
        await feed.open(self._after)
        self._feed = feed
        if self._listeners:
            self._start_pump()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop; an iteration that waits ends."""
        feed, self._feed = self._feed, None
        pump, self._pump = self._pump, None
        self._iterated = False
        try:
            if pump is not None and pump is not asyncio.current_task():
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)
        finally:  # cancelled or not
            try:
                if feed is not None:
                    await feed.close()
            finally:
                if self._owned:
                    await self._queue.close()

    @property
    def kinds(self) -> frozenset[type[Event]]:
        """The kinds that are delivered."""
        if self._chosen is not None:
            return self._chosen
        if not self._listeners:
            return ALL_KINDS
        return frozenset(
            kind for kind in ALL_KINDS if any(issubclass(kind, heard) for heard, _ in self._listeners)
        )

    # Iterating.

    def __aiter__(self) -> AsyncIterator[Event]:
        if self._listeners:
            raise InvalidOption("these events have listeners: either iterate or listen")
        self._iterated = True
        return self

    async def __anext__(self) -> Event:
        feed = self._opened()
        event = await feed.next()
        if event is None:
            raise StopAsyncIteration
        return event

    async def get(self, timeout: Duration | None = None) -> Event | None:
        """Wait for the next event, at most `timeout`; None when none came, or these events were closed."""
        self.__aiter__()
        limit = None if timeout is None else duration_ms(timeout, "timeout") / 1000
        try:
            async with asyncio.timeout(limit):
                return await self._opened().next()
        except TimeoutError:
            return None

    async def next_events(self, most: int) -> list[Event]:
        """Wait for at least one event and return up to `most`; none: closed."""
        feed = self._opened()
        first = await feed.next()
        return [] if first is None else [first, *feed.take_buffered(most - 1)]

    def _opened(self) -> Feed:
        if self._feed is None:
            raise InvalidOption("events are read inside `async with QueueEvents(...) as events:`")
        return self._feed

    # Listening.

    @overload
    def on(self, kind: type[EventT], listener: Callable[[EventT], object], /) -> None: ...
    @overload
    def on(
        self, kind: type[EventT], /
    ) -> Callable[[Callable[[EventT], ReturnT]], Callable[[EventT], ReturnT]]: ...
    def on(self, kind: type[EventT], listener: Callable[[EventT], object] | None = None, /) -> object:
        """Call a listener for each event of a kind (`Event`: of every kind); also a decorator.

        Raises InvalidOption for what is no kind of event, for a kind that `kinds` leaves out, and when these
        events are iterated.
        """
        self._check_heard(kind)
        if listener is not None:
            self._listen(kind, listener)
            return None

        def decorate(function: Callable[[EventT], ReturnT]) -> Callable[[EventT], ReturnT]:
            return self._listen(kind, function)

        return decorate

    def _check_heard(self, kind: type[Event]) -> None:
        if self._iterated:
            raise InvalidOption("these events are iterated: either iterate or listen")
        if kind is not Event and kind not in ALL_KINDS:
            raise InvalidOptionType(f"{kind!r} is no kind of event; give a class such as Completed")
        if self._chosen is not None and kind is not Event and kind not in self._chosen:
            raise InvalidOption(
                f"{kind.__name__} is not among the kinds of these events, it would never be heard"
            )

    def _listen(
        self, kind: type[EventT], listener: Callable[[EventT], ReturnT]
    ) -> Callable[[EventT], ReturnT]:
        if not callable(listener):
            raise InvalidOptionType(f"listener of {kind.__name__} is {listener!r}; it must be callable")
        self._check_heard(kind)
        self._listeners.append((kind, listener))
        if self._feed is not None:
            self._feed.kinds = self.kinds
            self._start_pump()
        return listener

    def _start_pump(self) -> None:
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(
                self._call_listeners(), name="bullrush event listeners"
            )

    async def _call_listeners(self) -> None:
        feed = self._opened()
        while (event := await feed.next()) is not None:
            for kind, listener in list(self._listeners):
                if isinstance(event, kind):
                    await _call(listener, event)


async def _call(listener: Callable[[Any], object], event: Event) -> None:
    try:
        outcome = listener(event)
        if inspect.isawaitable(outcome):
            await outcome
    except Exception:
        logger.exception("a listener of %s raised; the others go on", type(event).__name__)


def _queue_of(queue: str | Queue[Any, Any], connection: Connection, prefix: str | None) -> Queue[Any, Any]:
    if not isinstance(queue, Queue):
        return Queue(queue, connection, prefix=prefix)
    for option, value in (("connection", connection), ("prefix", prefix)):
        if value is not None:
            raise InvalidOption(f"{option}={value!r}: queue {queue.name!r} has one already; leave it out")
    return queue


def _check_kinds(kinds: Iterable[type[Event]]) -> frozenset[type[Event]]:
    chosen = frozenset(kinds)
    for kind in chosen:
        if kind not in ALL_KINDS:
            raise InvalidOptionType(
                f"kinds has {kind!r}, which is no kind of event; give classes such as Completed"
            )
    if not chosen:
        raise InvalidOption("kinds is empty: no event would ever come; leave it out for all of them")
    return chosen
