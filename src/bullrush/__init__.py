"""bullrush: a job queue on Redis and Valkey with a compiled core.

    async with Queue("emails", "redis://localhost") as queue:
        await queue.add("welcome", {"to": "a@b.c"})

`bullrush.sync` has the same for blocking code.
"""

from bullrush.app import Bullrush
from bullrush.job import Job
from bullrush.queue import Queue
from bullrush.worker import Worker

__all__ = ["Bullrush", "Job", "Queue", "Worker"]
