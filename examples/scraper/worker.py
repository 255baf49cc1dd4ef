"""The worker: fetches one page a job, and adds the pages that it links to."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import urljoin

from aiohttp import ClientSession

from bullrush import Job, Queue, RateLimitError, UnrecoverableError, Worker
from examples.scraper.pages import Page, add_pages

LINK = re.compile(r'href="([^"]+)"')


class DeadLink(UnrecoverableError):
    """There is no such page: the job fails at once, whatever attempts it has left."""


@dataclass(frozen=True)
class Browser:
    """What all jobs of a worker share: they find it in `job.context`."""

    http: ClientSession
    queue: Queue[Page, int]
    found: Callable[[int], object]


@asynccontextmanager
async def open_browser(queue: Queue[Page, int], found: Callable[[int], object]) -> AsyncGenerator[Browser]:
    """Open the connections of one worker; `found` is told how many new pages a page has brought."""
    async with ClientSession() as http:
        yield Browser(http, queue, found)


async def fetch(job: Job[Page, int]) -> int:
    """Fetch one page and add its links; returns its size. A job that takes too long is cancelled here."""
    browser: Browser = job.context
    page = job.data
    async with browser.http.get(page["url"]) as response:
        if response.status == 429:
            # Back into the line, not charged as an attempt; and no page at all until the site's time is over.
            raise RateLimitError(f"{response.headers['Retry-After']}s")
        if response.status == 404:
            raise DeadLink(f"{page['url']} does not exist")
        response.raise_for_status()
        text = await response.text()
    links = {urljoin(page["url"], link) for link in LINK.findall(text)}
    browser.found(await add_pages(browser.queue, sorted(links), page["depth"] + 1))
    return len(text)


def make_worker(queue: Queue[Page, int], found: Callable[[int], object]) -> Worker:
    """Make a worker; `async with` starts it and closes it gracefully."""
    return Worker(queue, fetch, concurrency=3, lifespan=partial(open_browser, queue, found))
