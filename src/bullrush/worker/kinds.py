"""Which class of job each handler gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bullrush._core.dispatch import Route

if TYPE_CHECKING:
    from bullrush.queue import Queue

Kind = tuple[type, object]  # a class of job, and the queue that its methods talk to


def job_kinds(
    queue: Queue[Any, Any], asynchronous: Kind, route: Route | None, routes: dict[str, Route] | None
) -> tuple[Kind, dict[str, Kind]]:
    """Return the kind of all jobs and of names that differ: a handler that blocks gets methods that block."""
    if route is not None:
        return (_blocking(queue) if route.blocking else asynchronous), {}
    named = routes or {}
    return asynchronous, {name: _blocking(queue) for name, route in named.items() if route.blocking}


def _blocking(queue: Queue[Any, Any]) -> Kind:
    from bullrush import sync

    return sync.Job, queue.app.sync_queue(queue.name)
