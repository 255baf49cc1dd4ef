"""The one place where tests wait: for a condition, never for a time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

import redis

T = TypeVar("T")
POLL = 0.002


def wait_until(predicate: Callable[[], T], timeout: float = 10, *, what: str = "") -> T:
    """Call `predicate` until it returns something true, and return that; fail after `timeout` seconds.

    It blocks the thread: use `wait_until_async` where the condition needs the event loop to go on.
    """
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise _too_late(predicate, timeout, what, value)
        time.sleep(POLL)
    return value


@overload
async def wait_until_async(
    predicate: Callable[[], Awaitable[T]], timeout: float = 10, *, what: str = ""
) -> T: ...
@overload
async def wait_until_async(predicate: Callable[[], T], timeout: float = 10, *, what: str = "") -> T: ...
async def wait_until_async(
    predicate: Callable[[], T | Awaitable[T]], timeout: float = 10, *, what: str = ""
) -> T:
    """Like `wait_until`, with the event loop running meanwhile; `predicate` may be `async def`."""
    deadline = time.monotonic() + timeout
    while not (value := await _evaluate(predicate)):
        if time.monotonic() > deadline:
            raise _too_late(predicate, timeout, what, value)
        await asyncio.sleep(POLL)
    return value


def wait_for_clients(client: redis.Redis, count: int) -> None:
    """Wait until the server sees so many connections, the asking one included: it hears of a close a bit later."""
    wait_until(lambda: len(client.client_list()) == count, what=f"{count} connections")


async def _evaluate(predicate: Callable[[], T | Awaitable[T]]) -> T:
    value = predicate()
    return await value if inspect.isawaitable(value) else value


def _too_late(predicate: object, timeout: float, what: str, last: object) -> AssertionError:
    subject = what or getattr(predicate, "__qualname__", repr(predicate))
    return AssertionError(f"waited {timeout} s in vain for {subject}; the last answer was {last!r}")
