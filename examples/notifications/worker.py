"""The worker: a handler for each kind of job, all on one event loop."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

from bullrush import Job, Queue, Worker
from examples.notifications.providers import NoSuchNumber, Providers
from examples.notifications.service import Message


async def send_email(job: Job[Message]) -> str:
    """Send one e-mail."""
    providers: Providers = job.context
    await providers.deliver("email", job.data["to"], job.data["text"])
    return f"mailed to {job.data['to']}"


async def send_sms(job: Job[Message]) -> str:
    """Send one text. Most first tries raise, and that is all there is to a retry."""
    providers: Providers = job.context
    await providers.deliver("sms", job.data["to"], job.data["text"])
    return f"texted to {job.data['to']}"


async def send_push(job: Job[Message]) -> str:
    """Send one push."""
    providers: Providers = job.context
    await providers.deliver("push", job.data["to"], job.data["text"])
    return f"pushed to {job.data['to']}"


async def send_digest(job: Job[Message]) -> str:
    """Render the stories, telling how far it is, and mail them."""
    providers: Providers = job.context
    stories = job.data["text"].splitlines()
    for number, story in enumerate(stories, 1):
        await asyncio.sleep(0.005)  # rendering takes a while
        job.log(f"rendered {story!r}")
        job.update_progress(100 * number // len(stories))
    await providers.deliver("email", job.data["to"], f"your digest of {len(stories)} stories")
    return f"digest mailed to {job.data['to']}"


def make_worker(queue: Queue[Message, str], providers: Providers) -> Worker:
    """Make the worker; `async with` starts it and closes it gracefully."""
    return Worker(
        queue,
        {"email": send_email, "sms": send_sms, "push": send_push, "digest": send_digest},
        concurrency=4,
        lifespan=lambda: nullcontext(providers),  # what the handlers find in job.context
        never_retry=(NoSuchNumber,),
    )
