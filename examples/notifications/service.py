"""The notification service, as the rest of a program sees it: one method for each occasion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from bullrush import Backoff, Deduplication, Duration, Job, JobSpec, Queue


class Message(TypedDict):
    """The data of every job. A digest has its stories in `text`, one a line."""

    to: str
    text: str


# A job without a priority (0) would come before all of these; then the lower number goes first.
URGENT, NORMAL, BULK = 1, 5, 10

# For providers that are busy now and then: five tries, 40 ms, 80, 160, 320 apart, less up to half by chance.
PATIENCE = Backoff.exponential("40ms", jitter=0.5)


class Notifications:
    """Adds jobs; the worker does the sending, in whatever program it runs."""

    def __init__(self, queue: Queue[Message, str]) -> None:
        self._queue = queue

    async def reset_password(self, to: str) -> Job[Message, str]:
        """Somebody waits for this e-mail: it goes before everything else."""
        message = Message(to=to, text="your link for a new password")
        return await self._queue.add("email", message, priority=URGENT, attempts=5, backoff=PATIENCE)

    async def send_code(self, phone: str, code: str) -> Job[Message, str]:
        """Text a code; as long as one is on its way to that phone, another click adds nothing."""
        return await self._queue.add(
            "sms",
            {"to": phone, "text": f"your code is {code}"},
            priority=URGENT,
            attempts=5,
            backoff=PATIENCE,
            deduplication=Deduplication(f"code:{phone}"),
        )

    async def document_edited(self, reader: str, document: str, edits: int) -> Job[Message, str]:
        """Push once nobody has edited for a moment: each edit replaces the push that waits for that."""
        return await self._queue.add(
            "push",
            {"to": reader, "text": f"{document}: {edits} edits"},
            priority=NORMAL,
            delay="250ms",  # 10 s in earnest
            deduplication=Deduplication(f"edited:{document}:{reader}", "250ms", mode="debounce"),
        )

    async def remind(self, to: str, text: str, *, before: Duration) -> Job[Message, str]:
        """Push something later. Keep the id: it is what `forget` takes."""
        return await self._queue.add("push", {"to": to, "text": text}, priority=NORMAL, delay=before)

    async def forget(self, reminder: str, reason: str) -> bool:
        """Cancel a reminder; False when it has been sent already."""
        return await self._queue.cancel(reminder, reason) == "removed"

    async def send_digests(self, readers: Iterable[str], stories: list[str]) -> list[Job[Message, str]]:
        """Nobody waits for these: thousands of them hold up no password."""
        text = "\n".join(stories)
        digests = (JobSpec("digest", Message(to=reader, text=text)) for reader in readers)
        return await self._queue.add_bulk(digests, priority=BULK)
