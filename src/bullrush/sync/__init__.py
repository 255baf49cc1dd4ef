"""bullrush for blocking code: the same without `await`, safe to use from several threads.

with Queue("emails", "redis://localhost") as queue:
    queue.add("welcome", {"to": "a@b.c"})
"""

from bullrush.events.blocking import SyncQueueEvents as QueueEvents
from bullrush.sync.job import Job
from bullrush.sync.queue import Queue
from bullrush.worker.blocking import SyncConsumer as Consumer

__all__ = ["Consumer", "Job", "Queue", "QueueEvents"]
