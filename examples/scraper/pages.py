"""The pages as jobs: one for each URL, for as long as the queue lives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TypedDict

from bullrush import Backoff, JobSpec, Queue


class Page(TypedDict):
    """The data of a job; `depth` is the number of clicks from the first page."""

    url: str
    depth: int


def page_id(url: str) -> str:
    """Return the id of a page's job: the same for the same URL, in whatever program asks."""
    return f"page-{hashlib.sha256(url.encode()).hexdigest()[:32]}"


async def add_pages(queue: Queue[Page, int], urls: Iterable[str], depth: int) -> int:
    """Add a job for each page that has none yet; returns how many were new."""
    specs = (JobSpec("page", Page(url=url, depth=depth), job_id=page_id(url), priority=depth) for url in urls)
    jobs = await queue.add_bulk(
        specs,
        attempts=3,
        backoff=Backoff.exponential("100ms"),
        timeout="400ms",  # of one attempt; a site far away deserves more
        remove_on_complete=False,  # as long as the job is kept, its page is known
        remove_on_fail=False,
    )
    return sum(1 for job in jobs if not job.duplicate)
