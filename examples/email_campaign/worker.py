"""The worker: sends one message a job, over connections to the mail server that are kept open."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email.mime.text import MIMEText
from functools import partial

from aiosmtplib import SMTP

from bullrush import Job, Queue, Worker
from examples.email_campaign.recipients import Recipient

CONNECTIONS = 32
HOST = "127.0.0.1"
SENDER = "news@shop.example.com"
TEXT = "Hello {name},\n\nour shop in {city} has something new for everybody on the {plan} plan.\n"


class MailPool:
    """Connections to the mail server, each used by one job at a time; one that broke is opened again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[SMTP] = []

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[SMTP]:
        """Lend a connection for one message."""
        smtp = self._idle.pop() if self._idle else SMTP(hostname=HOST, port=self._port, start_tls=False)
        try:
            if not smtp.is_connected:
                await smtp.connect()
            yield smtp
        finally:
            self._idle.append(smtp)

    async def close(self) -> None:
        """Say goodbye on every connection."""
        for smtp in self._idle:
            if smtp.is_connected:
                await smtp.quit()


@asynccontextmanager
async def open_pool(port: int) -> AsyncGenerator[MailPool]:
    """Open what all jobs of this worker share: they find it in `job.context`."""
    pool = MailPool(port)
    try:
        yield pool
    finally:
        await pool.close()


def compose(job: Job[Recipient]) -> MIMEText:
    """Write the message; its id is the job's, the same in every attempt."""
    message = MIMEText(TEXT.format(**job.data), "plain", "utf-8")
    message["From"] = SENDER
    message["To"] = job.data["email"]
    message["Subject"] = f"News for {job.data['city']}"
    message["Message-ID"] = f"<{job.id}@shop.example.com>"
    return message


async def send(job: Job[Recipient]) -> None:
    """Handle one job. What is raised here, like "451 try again later", is retried with backoff."""
    pool: MailPool = job.context
    async with pool.connection() as smtp:
        await smtp.sendmail(SENDER, [job.data["email"]], compose(job).as_bytes())


def make_worker(queue: Queue[Recipient], port: int) -> Worker:
    """Make the worker; `async with` starts it and closes it gracefully."""
    return Worker(queue, send, concurrency=CONNECTIONS, lifespan=partial(open_pool, port))
