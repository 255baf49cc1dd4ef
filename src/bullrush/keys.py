"""Where a queue's keys are spelled: one hash tag for all, so that a queue lives in one cluster slot."""

from __future__ import annotations

TYPES = {
    "meta": "hash", "ids": "string", "sessions": "hash", "jobs": "hash", "plans": "hash", "attempts": "hash",
    "waiting": "list", "suspects": "list", "prioritized": "zset", "delayed": "zset", "workers": "zset",
    "hosts": "hash", "completed": "zset", "failed": "zset", "outcomes": "hash", "events": "stream",
    "wake": "list", "removed": "set", "progress": "hash", "logs": "zset", "logged": "hash", "dedup": "hash",
    "expiries": "zset", "limiter": "list", "metrics": "hash",
}  # fmt: skip
NAMES = tuple(TYPES)


class Keys:
    """The keys of one queue by the names that the scripts' headers use."""

    __slots__ = ("_base", "prefix", "queue")

    def __init__(self, prefix: str, queue: str) -> None:
        self.prefix = prefix
        self.queue = queue
        # A prefix with braces of its own puts all its queues into one slot.
        self._base = f"{prefix}:{queue}:" if "{" in prefix else f"{{{prefix}:{queue}}}:"

    def __getitem__(self, name: str) -> bytes:
        return (self._base + name).encode()

    def held(self, number: str) -> bytes:
        """Return the set of ids that a worker number holds."""
        return self[f"held:{number}"]

    def signals(self, number: str) -> bytes:
        """Return the list through which a worker number is told of cancelled jobs."""
        return self[f"signals:{number}"]

    def all(self) -> list[bytes]:
        """Return every key but those of worker numbers."""
        return [self[name] for name in NAMES]
