"""The report: judged by what the site saw, not by what the workers say."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console

from examples.scraper.site import ALLOWED

if TYPE_CHECKING:
    from examples.scraper.crawl import Result


def busiest(result: Result) -> int:
    """Return the most requests that the site got within any second."""
    times = sorted(request.at for request in result.requests)
    return max((i + 1 - bisect_right(times, time - 1) for i, time in enumerate(times)), default=0)


def problems(result: Result) -> list[str]:
    """Say what is wrong; an empty list is a good crawl."""
    answered = Counter(request.path for request in result.requests if request.status == 200)
    missing = result.links.keys() - answered.keys()
    doubled = [path for path, times in answered.items() if times > 1]
    most = busiest(result)
    found = {
        f"pages that were never fetched: {sorted(missing)}": missing,
        f"pages that were fetched twice: {sorted(doubled)}": doubled,
        f"requests within one second: {most}, allowed are {ALLOWED}": most > ALLOWED,
        f"pages that vanished: {result.found - len(result.jobs)}": result.found != len(result.jobs),
    }
    return [text for text, wrong in found.items() if wrong]


def print_report(console: Console, result: Result) -> None:
    """Print the figures; the verdict if there is nothing to complain of."""
    statuses = Counter(request.status for request in result.requests)
    depths = Counter(job.data["depth"] for job in result.jobs)
    dead = [f"{job.failed_reason}" for job in result.jobs if job.state == "failed"]
    rows = [
        ("pages", f"{len(result.links)} in {result.seconds:.1f} s, each fetched once"),
        ("by depth", ", ".join(f"{depths[depth]} at {depth}" for depth in sorted(depths))),
        ("links", f"{sum(map(len, result.links.values()))}, most of them to pages that were known"),
        ("requests", f"{len(result.requests)}, at most {busiest(result)} within any second"),
        ("moods", f"{statuses[429]} × 429, {statuses[0]} without an answer, {statuses[404]} × 404"),
        ("dead", "; ".join(dead) or "no link"),
    ]
    for name, figure in rows:
        console.print(f"  [bold]{name:<10}[/] {figure}")
    if not problems(result):
        console.print("  [bold green]✓ the whole site, and never faster than it was promised[/]")
