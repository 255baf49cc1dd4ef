"""A dispatcher with everything around it, for tests that have no server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bullrush._core.dispatch import Dispatcher, Route
from bullrush._core.exchange import Exchange
from bullrush._core.job import JobBase
from bullrush.errors import CodecError
from tests.unit.machines import claim, open_exchange, record
from tests.waiting import wait_until_async

Handler = Callable[[JobBase[Any, Any]], Any]


class Policy:
    """Writes down what the dispatcher asks."""

    def __init__(self) -> None:
        self.exchange: Exchange
        self.failures: list[tuple[str, BaseException, str | None]] = []
        self.unhandled_names: list[str] = []
        self.broken_ids: list[str] = []
        self.awaitables: list[tuple[str, Awaitable[object]]] = []
        self.replies = 0
        self.notices = 0

    def failed(self, job: Any, error: BaseException, cancel_reason: str | None, /) -> None:
        self.failures.append((job.id, error, cancel_reason))
        self.exchange.later(job, 0)

    def broken(self, job: Any, error: CodecError, /) -> None:
        self.broken_ids.append(job.id)

    def unhandled(self, job: Any, /) -> None:
        self.unhandled_names.append(job.name)
        self.exchange.later(job, 0)

    def awaitable(self, job: Any, value: Awaitable[object], /) -> None:
        self.awaitables.append((job.id, value))

    def replied(self) -> None:
        self.replies += 1

    def notice(self) -> None:
        self.notices += 1


class Crew:
    """A dispatcher with everything around it."""

    def __init__(
        self,
        handler: Handler | dict[str, Handler],
        *,
        threaded: bool = False,
        concurrency: int = 10,
        opened_ago: float = 0.0,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.policy = Policy()
        self.exchange = open_exchange(self.loop.time() - opened_ago, concurrency=concurrency)
        self.policy.exchange = self.exchange
        route = routes = None
        if isinstance(handler, dict):
            routes = {name: Route(function, threaded) for name, function in handler.items()}
        else:
            route = Route(handler, threaded)
        self.dispatcher = Dispatcher(self.exchange, self.policy, route, routes, self.loop)
        self.active: list[str] = []
        self.completed: list[tuple[str, object]] = []
        self.dispatcher.on_active = lambda job: self.active.append(job.id)
        self.dispatcher.on_completed = lambda job, value: self.completed.append((job.id, value))

    def claim(self, records: dict[str, bytes | None], **reply: Any) -> None:
        """Claim jobs, and go on as after any reply."""
        claim(self.exchange, records, self.loop.time(), **reply)
        self.dispatcher.after_replies()

    def jobs(self, count: int, name: str = "n") -> None:
        self.claim({str(id): record(name, id) for id in range(1, count + 1)})

    async def until(self, condition: Callable[[], object]) -> None:
        await wait_until_async(condition)

    async def until_ended(self, count: int) -> None:
        await self.until(lambda: len(self.completed) + len(self.policy.failures) == count)
        assert (self.exchange.running, self.exchange.running_jobs) == (0, set())


MakeCrew = Callable[..., Crew]
both = pytest.mark.parametrize("threaded", [False, True], ids=["loop", "thread"])


def either(threaded: bool, function: Handler) -> Handler:
    """The same handler as `def` and as `async def`."""
    if threaded:
        return function

    async def handler(job: JobBase[Any, Any]) -> object:
        return function(job)

    return handler
