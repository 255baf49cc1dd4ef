"""What a queue publishes while a test does something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bullrush import Custom, Event, Queue


async def heard(queue: Queue, kinds: tuple[type[Event], ...], act: Callable[[], Any]) -> list[Any]:
    """What is published of these kinds while something is done."""
    async with queue.events(kinds=(*kinds, Custom)) as events:
        await act()
        await queue.publish_event("the end")
        found: list[Any] = []
        async for event in events:
            if isinstance(event, Custom) and event.kind == "the end":
                return found
            found.append(event)
    raise AssertionError("the events ended")
