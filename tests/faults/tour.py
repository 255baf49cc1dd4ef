"""A tour through the scripts: one call of each at least, and a picture of what it left behind.

A tour that something went wrong in must leave the same picture as one without. Ids may differ: those of a connection
that was lost are not used again. So the picture names jobs by their data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from bullrush import Deduplication, Job, Queue, RateLimit

STATES = ("waiting", "prioritized", "delayed", "completed", "failed", "active")
SCRIPTS = (
    "open",
    "reserve",
    "add",
    "add_special",
    "pause",
    "promote",
    "delay",
    "prioritize",
    "rewrite",
    "report",
    "trim_logs",
    "remove",
    "cancel",
    "limit",
    "free",
    "announce",
    "exchange",
    "retry",
    "clean",
    "drain",
    "measure",
    "retire",
    "state",
    "listen",
)
Picture = Mapping[str, object]


async def handle(job: Job) -> str:
    """Complete, or fail where the name says so."""
    if job.name == "bad":
        raise LookupError(job.data)
    return f"done {job.data}"


async def tour(queue: Queue, *, many: int = 1_100) -> list[object]:
    """Go through it all and return the answers that do not depend on ids.

    The default of `many` is more than one block of ids has.
    """
    answers: list[object] = []
    await queue.pause()
    plain = await queue.add("work", "plain")
    others = await queue.add_bulk([("work", f"many {i}") for i in range(many)])
    await queue.add_bulk([("bad", f"bad {i}") for i in range(3)])
    await queue.add("work", "urgent", priority=2)
    late = await queue.add("work", "late", delay="1h")
    later = await queue.add("work", "later", delay="1h")
    answers.append((await queue.add("work", "mine", job_id="mine")).duplicate)
    await queue.add("work", "only", deduplication=Deduplication("key"))
    answers.append((await queue.add("work", "again", deduplication=Deduplication("key"))).duplicate)
    answers.append(await queue.remove_deduplication("key"))
    await late.promote()
    await later.change_delay("2h")
    await plain.change_priority(7)
    await plain.update_data("rewritten")
    await queue.update_job_progress(plain.id, 50)
    answers += [await queue.add_job_log(plain.id, f"line {i}") for i in range(3)]
    await queue.clear_job_logs(plain.id, keep=1)
    answers.append(await queue.remove(others[0].id))
    answers.append(await queue.cancel(others[1].id, "not wanted"))
    await queue.set_global_rate_limit(RateLimit(100_000, "1s"))
    await queue.publish_event("custom", 1)
    answers.append(await queue.get_state(plain.id))
    await work(queue, answers, plain)
    return answers


async def work(queue: Queue, answers: list[object], plain: Job) -> None:
    """Let a worker do what there is, look at results, and clear up."""
    await queue.resume()
    async with queue.process(handle, concurrency=50, remove_on_complete=False) as worker:
        answers.append(await asyncio.wait_for(plain.result("20s"), 30))
        await worker.wait_idle("20s")
    answers.append((await plain.get_logs())[0])
    answers.append(await queue.retry_jobs(limit=1))
    answers.append(len(await queue.clean(0, "completed", limit=100)))
    answers.append(await queue.drain())


async def picture(queue: Queue) -> Picture:
    """What the queue looks like to somebody who asks for everything."""
    jobs = {state: await queue.get_jobs(state, 0, -1) for state in STATES}
    return {
        "counts": await queue.get_job_counts(),
        **{state: sorted(str(job.data) for job in found) for state, found in jobs.items()},
        "limit": str(await queue.get_global_rate_limit()),
        "paused": await queue.is_paused(),
    }
