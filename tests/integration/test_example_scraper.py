"""The scraper: every page once, never too fast, judged by the site; and the judge sees what is wrong."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from rich.progress import Progress

from bullrush import RateLimit
from examples.scraper.crawl import Result, run_crawl
from examples.scraper.report import busiest, problems
from examples.scraper.site import ALLOWED, BUSY, DEAD_LINK, HOME, RETRY_AFTER, STUCK, Request, site_map

# A quarter of a second of air: requests of a machine under load are on their way for very different times.
LIMIT = RateLimit(ALLOWED, "1250ms")

GOOD = Result(
    found=0,
    jobs=[],
    retries=0,
    seconds=1.0,
    links={"/a": [], "/b": []},
    requests=[Request(0.0, "/a", 200), Request(0.1, "/b", 200)],
)


async def test_the_site_is_fetched_once_and_politely(url: str) -> None:
    result = await run_crawl(url, Progress(disable=True), LIMIT)

    assert problems(result) == []
    assert busiest(result) == ALLOWED  # as fast as allowed, too
    answered = Counter(request.path for request in result.requests if request.status == 200)
    assert answered == Counter(list(site_map()))
    others = Counter((request.path, request.status) for request in result.requests if request.status != 200)
    assert others == {(BUSY, 429): 1, (STUCK, 0): 1, (DEAD_LINK, 404): 1}
    check_jobs(result)
    check_order(result)


def check_jobs(result: Result) -> None:
    """A job a page; being told to wait is no attempt, running out of time is one."""
    jobs = {"/" + job.data["url"].split("/", 3)[3]: job for job in result.jobs}
    assert jobs.keys() == {*site_map(), DEAD_LINK}
    assert len(result.jobs) == len(jobs) == result.found
    failed = {path: job.error_type for path, job in jobs.items() if job.state == "failed"}
    assert failed == {DEAD_LINK: "DeadLink"}
    assert jobs[BUSY].attempts_made == 0
    assert jobs[STUCK].attempts_made == 1
    assert result.retries == 1


def check_order(result: Result) -> None:
    """The upper levels come first, and a page that was refused comes when the site wants it to."""
    started = {
        depth: [job.processed_on or 0 for job in result.jobs if job.data["depth"] == depth]
        for depth in range(3)
    }
    assert max(started[0]) <= min(started[1])
    assert max(started[1]) <= min(started[2])
    assert result.requests[0].path == HOME
    refused, again = (request.at for request in result.requests if request.path == BUSY)
    assert again - refused >= RETRY_AFTER - 0.01


@pytest.mark.parametrize(
    ("requests", "problem"),
    [
        ([Request(0.0, "/a", 200)], "never fetched"),
        ([*GOOD.requests, Request(0.2, "/a", 200)], "fetched twice"),
        ([*GOOD.requests, *(Request(0.9, "/c", 404) for _ in range(ALLOWED))], "within one second"),
    ],
)
def test_a_bad_crawl_is_noticed(requests: list[Request], problem: str) -> None:
    assert problems(GOOD) == []
    (found,) = problems(dataclasses.replace(GOOD, requests=requests))
    assert problem in found
