"""A program that uses the library as it is meant; both type checkers accept every line.

It is checked and never run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypedDict, assert_type

import bullrush
from bullrush import (
    AddInterrupted,
    Backoff,
    Batch,
    Completed,
    ConnectionLost,
    Event,
    Failed,
    Gap,
    InvalidOption,
    Job,
    JobBase,
    JobFailed,
    JobOptions,
    JobRef,
    JobSpec,
    Keep,
    Metrics,
    Queue,
    QueueEvents,
    RateLimit,
    RateLimitError,
    ResultTimeout,
    RetryLater,
    State,
    UnrecoverableError,
    Worker,
    WorkerInfo,
    WorkerOptions,
    sync,
)


class Email(TypedDict):
    to: str
    subject: str


@dataclass
class Receipt:
    message_id: str


URL = "redis://localhost"
DEFAULTS: JobOptions = {"attempts": 5, "backoff": Backoff.exponential("1s", jitter=0.5), "priority": 1_000}
FAST: WorkerOptions = {"concurrency": 50, "lease": "10s", "never_retry": (ValueError, KeyError)}


async def produce() -> None:
    async with Queue[Email, Receipt]("emails", URL, defaults=DEFAULTS, events="all") as queue:
        job = await queue.add("welcome", {"to": "a@b.c", "subject": "Hi"}, delay="5s", job_id="m-1")
        assert_type(job, Job[Email, Receipt])
        assert_type(await job.result(timeout="1m"), Receipt)
        await queue.add(
            "later", {"to": "a@b.c", "subject": "Hi"}, run_at=datetime.now(UTC) + timedelta(hours=1)
        )
        await queue.add("child", parent=job, priority=1)
        await queue.add("child", parent=JobRef("other", "1"), on_child_failure="ignore")
        await queue.add("later", run_at=1_900_000_000_000, delay=60_000, backoff=0)
        receipt = await queue.call("welcome", {"to": "a@b.c", "subject": "Hi"}, wait="30s", attempts=2)
        print(receipt.message_id, job.data["to"], job.created_at.isoformat(), job.duplicate == "id")


def many() -> Iterator[tuple[str, Email]]:
    for number in range(1_000):
        yield "news", {"to": f"{number}@b.c", "subject": "News"}


async def more() -> AsyncIterator[JobSpec]:
    yield JobSpec("news", {"to": "a@b.c"}, priority=5, remove_on_complete=Keep(count=100, age="1d"))
    yield JobSpec("news", {"to": "a@b.c"}, remove_on_complete=True, remove_on_fail=False)


async def produce_plainly() -> None:
    async with Queue("plain", URL) as queue:
        job = await queue.add("anything", [1, 2, 3])
        assert_type(job, Job)
        print(job.data[0], await job.result())


async def produce_many(queue: Queue) -> None:
    pairs = [("a", {"n": 1}), ("b", {"n": 2})]
    await queue.add_bulk(pairs)
    await queue.add_bulk([("a", 1), ("b", None, {"delay": "1s"}), JobSpec("c", [1, 2])], attempts=3)
    await queue.add_bulk(JobSpec("n", n) for n in range(10))
    try:
        added = await queue.add_stream(many(), on_progress=print, chunk_size=500, attempts=3)
        added += await queue.add_stream(more(), max_waiting=10_000)
        assert_type(added, int)
    except AddInterrupted as error:
        print(error.added, error.ids[-1:], error.__cause__, error.took_effect)


async def inspect(queue: Queue[Email, Receipt]) -> None:
    counts = await queue.get_job_counts("waiting", "failed")
    print(counts["waiting"] + counts["waiting-children"])
    states: list[State] = ["waiting", "delayed"]
    for job in [*await queue.get_jobs("active"), *await queue.get_jobs(states, 0, 9, ascending=True)]:
        print(job.id, job.data["subject"], job.opts.get("attempts"), job.is_last_attempt)
    found = await queue.get_job("m-1")
    if found is not None and await found.get_state() == "failed":
        print((await found.refresh()).failed_reason, await found.remove())
    await queue.pause()
    await queue.obliterate(force=True)


async def look(queue: Queue[Email, Receipt], job: Job[Email, Receipt]) -> None:
    metrics = await queue.get_metrics("completed", start=datetime.now(UTC) - timedelta(hours=2))
    assert_type(metrics, Metrics)
    print(metrics.total, [point.at for point in metrics.points], metrics.wait.merge(metrics.run).p99)
    for worker in await queue.get_workers():
        assert_type(worker, WorkerInfo)
        print(worker.number, worker.jobs[:1], worker.alive)
    async for event in job.events():
        assert_type(event, Event)


def settle_by_hand(queue: sync.Queue[Email, Receipt]) -> None:
    with sync.Consumer[Email](queue, prefetch=5, lease="10s") as consumer:
        for job in consumer:
            job.complete(job.data["subject"])
        assert_type(consumer.fetch(3, timeout="1s"), list[sync.Job[Email]])
        consumer.flush()


async def manage(queue: Queue[Email, Receipt]) -> None:
    assert_type(await queue.drain(delayed=True), int)
    assert_type(await queue.clean("1d", "failed", limit=1_000), list[str])
    total = await queue.retry_jobs(before=datetime.now(UTC), limit=10) + await queue.promote_jobs()
    print(total, await queue.get_counts_per_priority([0, 1]))
    await queue.set_global_concurrency(10)
    await queue.set_global_rate_limit(RateLimit(100, "1s", burst=10))
    assert_type(await queue.get_global_rate_limit(), RateLimit | None)
    await queue.rate_limit(None)
    if await queue.is_maxed() or await queue.get_rate_limit_ttl():
        await queue.publish_event("busy", {"since": datetime.now(UTC)})
    async for job in queue.iter_jobs("failed", page=100):
        assert_type(job, Job[Email, Receipt])
        await job.update_data({"to": "a@b.c", "subject": "Hi"})
        await job.retry(reset_attempts=True)
        await job.change_priority(3, lifo=True)
        await job.change_delay(run_at=datetime.now(UTC))
        await job.promote()
        await queue.update_job_progress(job.id, 50)
        assert_type(await queue.add_job_log(job.id, "again", keep=10), int)
        await job.clear_logs(keep=1)
    assert_type(await queue.get_deduplication_job_id("key"), str | None)
    print(await queue.remove_deduplication("key"), await queue.trim_events(1_000))


async def send(job: Job[Email, Receipt]) -> Receipt:
    job.update_progress({"percent": 50})
    await job.log("half done")
    match job.data["to"]:
        case "":
            raise UnrecoverableError("no address")
        case "busy":
            raise RateLimitError("1m", scope="queue")
        case "later":
            raise RetryLater("5m")
        case to:
            return Receipt(to)


def resize(job: sync.Job[dict[str, str]]) -> int:
    job.update_progress(50)
    job.log("half done")
    job.raise_if_cancelled()
    return len(job.data["path"])


def resize_to(width: int, job: sync.Job) -> int:
    return width + job.attempts_made


class Handler:
    async def __call__(self, job: Job) -> str:
        return job.name


async def send_batch(jobs: list[Job[Email]]) -> list[str]:
    jobs[0].fail(ValueError("no address"), retry=False)
    return [job.data["to"] for job in jobs]


def resize_batch(jobs: Sequence[sync.Job]) -> None:
    for job in jobs:
        job.complete(job.id)


@asynccontextmanager
async def lifespan() -> AsyncGenerator[dict[str, str]]:
    yield {"dsn": "postgres://"}


async def traced(job: JobBase, call_next: Callable[[JobBase], Awaitable[object]]) -> object:
    print(job.name)
    return await call_next(job)


async def consume(queue: Queue[Email, Receipt]) -> None:
    worker = Worker("emails", send, URL, **FAST)
    Worker(
        "images",
        resize,
        URL,
        executor="thread",
        prefetch="auto",
        lifespan=lifespan,
        name="host:1",
        middleware=[traced],
    )
    Worker("images", partial(resize_to, 100), URL, unknown="fail", max_crashes=3)
    Worker("images", Handler(), URL, backoffs={"double": lambda attempt, error: 2 * attempt})
    Worker("any", {"send": send, "resize": resize}, URL, remove_on_fail=Keep(age="7d"))
    Worker(queue, send_batch, batch=Batch(10, "50ms", min_size=2), concurrency=2)
    Worker(queue, resize_batch, batch=Batch(10))
    queue.process(send, concurrency=5)
    queue.process(send_batch, batch=Batch(10))

    @worker.on("completed")
    def _completed(job: Job[Email, Receipt], value: Receipt) -> None:
        print(job.id, value.message_id)

    @worker.on("failed")
    async def _failed(job: Job, error: Exception) -> None:
        print(job.id, error)

    worker.on("retrying", lambda job, error: print(job.attempts_made, error))
    worker.on("active", lambda job: print(job.id))
    worker.on("stalled", print)
    worker.on("error", lambda error: print(error))
    worker.on("drained", lambda: print("idle"))
    async with worker:
        await worker.wait_idle("1m")
        worker.concurrency = 2 * worker.concurrency
        await worker.pause(wait=False)
        await worker.close(timeout="10s")


async def watch(queue: Queue) -> None:
    async with QueueEvents("emails", URL, kinds=[Completed, Failed, Gap], after="1-0:0") as events:

        @events.on(Failed)
        def _failed(event: Failed) -> None:
            print(event.job_id, event.failed_reason, event.attempts_made)

        async for event in events:
            show(event)
    async with queue.events() as events:
        async for event in events:
            show(event)


def show(event: Event) -> None:
    match event:
        case Completed(job_id=job_id, returnvalue=value):
            print(job_id, value, event.at)
        case Failed(job_id, reason):
            print(job_id, reason)
        case Gap(missed):
            print(missed, "entries are gone")
        case _:
            print(event.name, event.queue, event.id)


def produce_blocking() -> None:
    with sync.Queue[Email, Receipt]("emails", URL) as queue:
        job = queue.add("welcome", {"to": "a@b.c", "subject": "Hi"}, delay="5s")
        assert_type(job, sync.Job[Email, Receipt])
        queue.add_bulk(many(), attempts=3)
        print(queue.get_job_counts()["completed"], job.id)
        try:
            assert_type(job.result("1m"), Receipt)
        except ResultTimeout as error:
            print("still running", error.job_id)
        except JobFailed as error:
            print(error.reason, error.error_type, error.stacktrace, error.attempts_made)
        except ConnectionLost as error:
            print(error.took_effect)
        except (InvalidOption, bullrush.BullrushError) as error:
            print(error)


if __name__ == "__main__":
    asyncio.run(produce())
