"""What a handler may be, and where its jobs run: coroutine functions on the loop, others in threads."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, cast

from bullrush._core.dispatch import Route
from bullrush.errors import InvalidOption, InvalidOptionType
from bullrush.options import check_text

if TYPE_CHECKING:
    from bullrush.job import Job, JobBase
    from bullrush.options import CallNext, Executor, Middleware
    from bullrush.sync import Job as SyncJob

# A `def` handler that takes the async Job fits neither: it returns no Awaitable, and a Job is no sync.Job.
Handler: TypeAlias = "Callable[[Job[Any, Any]], Awaitable[object]] | Callable[[SyncJob[Any, Any]], object]"
_AsyncBatchHandler: TypeAlias = "Callable[[list[Job[Any, Any]]], Awaitable[Sequence[object] | None]]"
_SyncBatchHandler: TypeAlias = "Callable[[list[SyncJob[Any, Any]]], Sequence[object] | None]"
BatchHandler: TypeAlias = "_AsyncBatchHandler | _SyncBatchHandler"
Handlers: TypeAlias = "Handler | Mapping[str, Handler]"


def is_coroutine_handler(handler: object) -> bool:
    """Say whether calling it gives a coroutine; partials and callable objects are looked through."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if inspect.iscoroutinefunction(handler):
        return True
    return callable(handler) and inspect.iscoroutinefunction(type(handler).__call__)


def routes_of(
    handlers: Handlers, executor: Executor, middleware: Sequence[Middleware], concurrency: int
) -> tuple[Route | None, dict[str, Route] | None]:
    """Return the route of every job, or those by name; checked, with the middleware around each."""
    if _are_named(handlers):
        if not handlers:
            raise InvalidOption("the mapping of handlers is empty: give at least one name")
        return None, {
            check_text(name, "name of a handler"): _route(
                handler, executor, middleware, concurrency, f"handler {name!r}"
            )
            for name, handler in handlers.items()
        }
    return _route(handlers, executor, middleware, concurrency, "handler"), None


def _are_named(handlers: Handlers) -> TypeGuard[Mapping[str, Handler]]:
    return isinstance(handlers, Mapping)


def _route(
    handler: object, executor: Executor, middleware: Sequence[Middleware], concurrency: int, what: str
) -> Route:
    if not callable(handler):
        raise InvalidOptionType(
            f"{what} is {handler!r} ({type(handler).__name__}); it must be a function that takes a job"
        )
    coroutine = is_coroutine_handler(handler)
    threaded = executor == "thread" or (executor == "auto" and not coroutine)
    if threaded and coroutine:
        raise InvalidOption(f'{what} is an async function: it runs on the loop, leave executor="thread" out')
    if not middleware:
        return Route(handler if threaded or coroutine else _on_loop(handler), threaded)
    if threaded:
        # The layers run on the loop, the handler in a thread; it gets the blocking job all the same.
        return Route(_surround(_in_thread(handler, concurrency), middleware), False, True)
    innermost = cast("CallNext", handler) if coroutine else _on_loop(handler)
    return Route(_surround(innermost, middleware), False)


def _on_loop(handler: Callable[..., object]) -> Callable[[JobBase], Awaitable[object]]:
    async def run(job: JobBase) -> object:
        return handler(job)

    return run


def _in_thread(handler: Callable[..., object], concurrency: int) -> Callable[[JobBase], Awaitable[object]]:
    threads = ThreadPoolExecutor(concurrency, "bullrush-handler")

    async def run(job: JobBase) -> object:
        context = contextvars.copy_context()
        value = await asyncio.get_running_loop().run_in_executor(threads, lambda: context.run(handler, job))
        return await value if inspect.isawaitable(value) else value

    return run


def _surround(innermost: CallNext, middleware: Sequence[Middleware]) -> CallNext:
    """Put the layers around a handler, the first one outermost."""
    for layer in reversed(middleware):
        innermost = _layer(layer, innermost)
    return innermost


def _layer(layer: Middleware, call_next: CallNext) -> CallNext:
    async def run(job: JobBase[Any, Any]) -> object:
        return await layer(job, call_next)

    return run
