"""The producer: reads the CSV file line by line and adds one job for each."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from bullrush import Backoff, JobSpec, Queue
from examples.email_campaign.recipients import Recipient

# Five tries in all. The jitter keeps messages that were refused together from coming back together.
RETRIES = Backoff.exponential("100ms", jitter=0.5)


def read_jobs(path: Path) -> Iterator[JobSpec[None]]:
    """Yield a job a line, so that a file of any size takes the memory of a few lines."""
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            yield JobSpec("newsletter", line)


async def add_campaign(queue: Queue[Recipient], path: Path, on_progress: Callable[[int], object]) -> int:
    """Add the whole file, 1,000 jobs a round trip; returns how many were stored, each exactly once."""
    return await queue.add_stream(read_jobs(path), attempts=5, backoff=RETRIES, on_progress=on_progress)
