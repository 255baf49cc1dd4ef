"""What happens in a queue: the classes of events, and how to follow them."""

from __future__ import annotations

from bullrush.events.kinds import (
    EVENT_KINDS,
    Active,
    Added,
    Cleaned,
    Completed,
    Custom,
    Deduplicated,
    Delayed,
    Drained,
    Duplicated,
    Event,
    Failed,
    Gap,
    Paused,
    Progress,
    Removed,
    Resumed,
    Retrying,
    Stalled,
    Waiting,
    WaitingChildren,
)
from bullrush.events.queue_events import QueueEvents

__all__ = [
    "EVENT_KINDS",
    "Active",
    "Added",
    "Cleaned",
    "Completed",
    "Custom",
    "Deduplicated",
    "Delayed",
    "Drained",
    "Duplicated",
    "Event",
    "Failed",
    "Gap",
    "Paused",
    "Progress",
    "QueueEvents",
    "Removed",
    "Resumed",
    "Retrying",
    "Stalled",
    "Waiting",
    "WaitingChildren",
]
