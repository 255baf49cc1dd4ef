"""The crawl: opens the site, and runs two workers until every page that was found has ended."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from time import monotonic

from rich.progress import Progress

from bullrush import Bullrush, Job, Queue, RateLimit, Worker
from examples.scraper.pages import Page, add_pages
from examples.scraper.site import ALLOWED, HOME, Request, Site, open_site
from examples.scraper.worker import make_worker

# The site allows ten requests a second. One may be on its way longer than the next, so a little air is left.
LIMIT = RateLimit(ALLOWED, "1100ms")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the workers did, and what the site saw."""

    found: int
    jobs: list[Job[Page, int]]
    retries: int
    seconds: float
    links: dict[str, list[str]]
    requests: list[Request]


class Outcomes:
    """Listens to the workers: knows how many pages were found and how many have ended."""

    def __init__(self, progress: Progress) -> None:
        self.found = 0
        self.retries = 0
        self._ended = 0
        self._all_ended = asyncio.Event()
        self._progress = progress
        self._bar = progress.add_task("fetching", total=None)

    def listen(self, worker: Worker) -> None:
        """Count what this worker does."""
        worker.on("completed", lambda _job, _value: self._end())
        worker.on("failed", lambda _job, _error: self._end())
        worker.on("retrying", self._retry)

    def more(self, pages: int) -> None:
        """Note new pages: a worker adds them before it ends the page that links to them."""
        self.found += pages
        self._progress.update(self._bar, total=self.found)

    def _end(self) -> None:
        self._ended += 1
        self._progress.advance(self._bar)
        if self._ended == self.found:
            self._all_ended.set()

    def _retry(self, job: Job[Page, int], error: Exception) -> None:
        self.retries += 1
        self._progress.console.print(f"  [yellow]again[/] {job.data['url']}: {error}")

    async def wait(self, queue: Queue[Page, int]) -> None:
        """Wait until no page is left.

        All that are known have ended is not enough: a page that runs may have added others that ended before
        it could say how many they are.
        """
        await self._all_ended.wait()
        while any((await queue.get_job_counts("waiting", "prioritized", "delayed", "active")).values()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def run_crawl(url: str, progress: Progress, limit: RateLimit = LIMIT) -> Result:
    """Fetch the whole site, and leave nothing behind in Redis."""
    async with open_site() as site, Bullrush(url, prefix="bullrush-demo") as app:
        queue: Queue[Page, int] = app.queue(f"scraper-{os.getpid()}")
        await queue.ping()
        try:
            return await _crawl(queue, site, progress, limit)
        finally:
            await queue.obliterate(force=True)


async def _crawl(queue: Queue[Page, int], site: Site, progress: Progress, limit: RateLimit) -> Result:
    await queue.set_global_rate_limit(limit)
    outcomes, start = Outcomes(progress), monotonic()
    outcomes.more(await add_pages(queue, [site.url + HOME], 0))
    workers = [make_worker(queue, outcomes.more) for _ in range(2)]
    for worker in workers:
        outcomes.listen(worker)
    async with workers[0], workers[1]:
        await outcomes.wait(queue)
    return Result(
        found=outcomes.found,
        jobs=await queue.get_jobs(["completed", "failed"], 0, -1),
        retries=outcomes.retries,
        seconds=monotonic() - start,
        links=site.links,
        requests=site.requests,
    )
