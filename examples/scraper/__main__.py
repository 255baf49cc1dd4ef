"""Scrape a small web site and report; the exit code is 1 if a page is missing, or the limit was broken."""

from __future__ import annotations

import asyncio
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.scraper.crawl import run_crawl
from examples.scraper.report import print_report, problems
from examples.start import run_example


def scrape(url: str, console: Console) -> list[str]:
    """Run the crawl and judge it."""
    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        result = asyncio.run(run_crawl(url, progress))
    print_report(console, result)
    return problems(result)


if __name__ == "__main__":
    sys.exit(run_example("scraper", __doc__ or "", scrape))
