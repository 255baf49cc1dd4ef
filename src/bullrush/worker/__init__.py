"""The worker: an owner of small services, each with one duty."""

from bullrush.worker.consumer import Consumer
from bullrush.worker.worker import Worker

__all__ = ["Consumer", "Worker"]
