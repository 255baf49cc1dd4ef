"""One evening of the service: what users do, and what reaches them."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field

from rich.console import Console

from bullrush import Bullrush, Job, Queue
from examples.notifications.providers import Delivery, Providers
from examples.notifications.service import Message, Notifications
from examples.notifications.worker import make_worker

READERS = 30
STORIES = ["a fox on the roof", "bread, slowly", "the bridge is open"]
ICONS = {"email": "✉ ", "sms": "☎ ", "push": "◉ "}


@dataclass
class Evening:
    """What happened."""

    delivered: list[Delivery]
    refusals: int
    retries: int = 0
    clicks: list[Job[Message, str]] = field(default_factory=list[Job[Message, str]])
    edits: list[Job[Message, str]] = field(default_factory=list[Job[Message, str]])
    sent: dict[str, str] = field(default_factory=dict[str, str])
    failed: dict[str, str] = field(default_factory=dict[str, str])
    cancelled: bool = False
    log: list[str] = field(default_factory=list[str])
    progress: object = None
    left: int = 0


async def run_evening(url: str, console: Console) -> Evening:
    """Run it on a server, and leave nothing behind there."""
    async with Bullrush(url, prefix="bullrush-demo") as app:
        queue: Queue[Message, str] = app.queue(f"notifications-{os.getpid()}")
        await queue.ping()
        try:
            return await _Story(queue, console).tell()
        finally:
            await queue.obliterate(force=True)


class _Story:
    """The evening, step by step; each step prints what it did."""

    def __init__(self, queue: Queue[Message, str], console: Console) -> None:
        self._queue = queue
        self._service = Notifications(queue)
        self._console = console
        self._providers = Providers(watch=self._print_delivery)
        self._digests = 0
        self._jobs: list[Job[Message, str]] = []
        self.evening = Evening(self._providers.delivered, 0)

    def _say(self, text: str) -> None:
        self._console.print(f"[bold]•[/] {text}")

    def _print_delivery(self, delivery: Delivery) -> None:
        if "digest" in delivery.text:
            self._digests += 1
            if self._digests == READERS:
                self._console.print(f"    {ICONS['email']} {READERS} readers have their digest")
        else:
            self._console.print(f"    {ICONS[delivery.channel]} [cyan]{delivery.to:<18}[/] {delivery.text}")

    async def tell(self) -> Evening:
        """Tell all of it."""
        await self._fill_the_line()
        await self._click_and_click()
        worker = make_worker(self._queue, self._providers)
        worker.on("retrying", self._count_retry)
        self._say("the worker starts, four at a time: whoever waits for a message comes first")
        async with worker:
            await self._edit()
            await self._plan_and_replan()
            await self._collect()
        await self._look_back()
        return self.evening

    def _count_retry(self, _job: Job[Message, str], _error: Exception) -> None:
        self.evening.retries += 1

    async def _fill_the_line(self) -> None:
        readers = [f"reader{n}@example.com" for n in range(1, READERS + 1)]
        self._jobs += await self._service.send_digests(readers, STORIES)
        self._say(f"{READERS} digests wait, then two people forget their passwords")
        for name in ("ada", "bram"):
            self._jobs.append(await self._service.reset_password(f"{name}@example.com"))

    async def _click_and_click(self) -> None:
        clicks = [await self._service.send_code("+49 151 55501", "4711") for _ in range(3)]
        refused = sum(job.duplicate == "deduplication" for job in clicks)
        self._say(f'somebody clicks "send me a code" three times: {refused} clicks add nothing')
        self.evening.clicks = clicks
        self._jobs += clicks
        self._jobs.append(await self._service.send_code("+0 000 000", "4712"))

    async def _edit(self) -> None:
        for edits in range(1, 6):
            self.evening.edits.append(await self._service.document_edited("chiara", "menu.txt", edits))
            await asyncio.sleep(0.02)
        self._jobs.append(self.evening.edits[-1])
        self._say("menu.txt is edited five times within a moment: its reader is told once")

    async def _plan_and_replan(self) -> None:
        dentist = await self._service.remind("dmitri", "dentist in an hour", before="400ms")
        cinema = await self._service.remind("dmitri", "cinema in an hour", before="400ms")
        self.evening.cancelled = await self._service.forget(dentist.id, "the dentist is ill")
        self._jobs.append(cinema)
        self._say("two reminders are planned, and one of them is cancelled: the dentist is ill")

    async def _collect(self) -> None:
        """Take the outcomes as they come, the failed ones too."""
        async for job in self._queue.as_completed(self._jobs, timeout="20s"):
            if job.state == "failed":
                self.evening.failed[job.data["to"]] = str(job.failed_reason)
            else:
                self.evening.sent[job.id] = str(job.returnvalue)

    async def _look_back(self) -> None:
        evening, digest = self.evening, await self._jobs[0].refresh()
        evening.refusals = self._providers.refusals
        evening.progress = digest.progress
        evening.log, _ = await digest.get_logs()
        evening.left = await self._queue.count()
        self._say(f"texts were refused {evening.refusals} times and tried again: only the log knows")
        for to, reason in evening.failed.items():
            self._say(f"[red]failed for good[/]: {to}, {reason}")
        self._say(f"the log of the first digest ({digest.progress} %): " + "; ".join(evening.log))
