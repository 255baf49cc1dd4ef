"""Listeners of a worker: kept by event, called on the loop, never in the way of the work."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Final, get_args

from bullrush.errors import InvalidOption, InvalidOptionType
from bullrush.worker.signatures import WorkerEvent

logger = logging.getLogger("bullrush")

EVENTS: Final[tuple[str, ...]] = tuple(
    name for part in get_args(WorkerEvent) for name in (get_args(part) or (part,))
)


class Listeners:
    """The functions that a worker calls; one that raises is logged and changes nothing."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Callable[..., object]]] = {}
        self._tasks: set[asyncio.Task[object]] = set()

    def add(self, event: str, listener: Callable[..., object]) -> None:
        """Add a listener; raises InvalidOption for an event that does not exist."""
        if event not in EVENTS:
            raise InvalidOption(f"a worker has no event {event!r}; there are {', '.join(EVENTS)}")
        if not callable(listener):
            raise InvalidOptionType(
                f"listener of {event!r} is {listener!r} ({type(listener).__name__}); it must be callable"
            )
        self._listeners.setdefault(event, []).append(listener)

    def wants(self, event: str) -> bool:
        """Say whether anybody listens."""
        return event in self._listeners

    def emit(self, event: str, *arguments: object) -> None:
        """Call the listeners of an event, on the loop."""
        for listener in self._listeners.get(event, ()):
            try:
                outcome = listener(*arguments)
            except Exception:
                logger.exception("a listener of the worker's %r raised; the work goes on", event)
                continue
            if inspect.isawaitable(outcome):
                self._follow(event, outcome)

    def _follow(self, event: str, outcome: Awaitable[object]) -> None:
        task = asyncio.ensure_future(outcome)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._finished(event, done))

    def _finished(self, event: str, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error(
                "a listener of the worker's %r raised; the work goes on", event, exc_info=task.exception()
            )

    async def finish(self) -> None:
        """Wait for asynchronous listeners that still run."""
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
