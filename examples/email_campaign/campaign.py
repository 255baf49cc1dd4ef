"""The campaign: adds the jobs, measures them in Redis, and runs a worker until the last one has ended."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from time import perf_counter

from redis.asyncio import Redis
from rich.progress import Progress

from bullrush import Bullrush, Job, Queue, Worker
from examples.email_campaign.mail_server import MailServer
from examples.email_campaign.producer import add_campaign
from examples.email_campaign.recipients import Recipient
from examples.email_campaign.report import Result
from examples.email_campaign.worker import make_worker


class Outcomes:
    """Listens to a worker: counts how jobs end, moves the bar, and knows when all have ended."""

    def __init__(self, worker: Worker, jobs: int, progress: Progress) -> None:
        self.retries = 0
        self.failed = 0
        self._left = jobs
        self._all_ended = asyncio.Event()
        self._progress = progress
        self._bar = progress.add_task("sending", total=jobs)
        worker.on("completed", lambda _job, _value: self._ended())
        worker.on("failed", self._on_failed)
        worker.on("retrying", self._on_retrying)

    def _on_failed(self, _job: Job, _error: Exception) -> None:
        self.failed += 1
        self._ended()

    def _on_retrying(self, _job: Job, _error: Exception) -> None:
        self.retries += 1
        self._progress.update(self._bar, description=f"sending ({self.retries:,} retries)")

    def _ended(self) -> None:
        self._left -= 1
        self._progress.advance(self._bar)
        if self._left <= 0:
            self._all_ended.set()

    async def wait(self) -> None:
        """Wait until every job has completed or failed for good."""
        await self._all_ended.wait()


async def run_campaign(url: str, file: Path, recipients: int, mail: MailServer, progress: Progress) -> Result:
    """Send a message to everybody in the file, and leave nothing behind in Redis."""
    async with Bullrush(url, prefix="bullrush-demo") as app:
        queue = app.queue(f"campaign-{os.getpid()}")
        try:
            return await _send_all(queue, url, file, recipients, mail, progress)
        finally:
            await queue.obliterate(force=True)


async def _send_all(
    queue: Queue[Recipient], url: str, file: Path, recipients: int, mail: MailServer, progress: Progress
) -> Result:
    await queue.ping()
    memory = await _memory(url)
    start = perf_counter()
    bar = progress.add_task("adding", total=recipients)
    added = await add_campaign(queue, file, lambda stored: progress.advance(bar, stored))
    adding = perf_counter() - start
    memory = await _memory(url) - memory

    start = perf_counter()
    async with make_worker(queue, mail.port) as worker:
        outcomes = Outcomes(worker, added, progress)
        await outcomes.wait()
        stats = worker.stats
    examined = await queue.fsck()
    return Result(
        recipients=recipients,
        added=added,
        adding=adding,
        sending=perf_counter() - start,
        bytes_per_job=memory / recipients,
        retries=outcomes.retries,
        failed=outcomes.failed,
        wait=stats.wait,
        run=stats.run,
        mail=mail.stop(),
        examined=examined,
    )


async def _memory(url: str) -> int:
    """Return what the server's data takes, in bytes, without its connections and buffers."""
    async with Redis.from_url(url) as client:  # pyright: ignore[reportUnknownMemberType]
        info = await client.info("memory")  # pyright: ignore[reportUnknownMemberType]
    return int(info["used_memory_dataset"])
