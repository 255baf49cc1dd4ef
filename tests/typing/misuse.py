"""Mistakes that both type checkers must find: each line that is marked, and no other.

It is checked and never run. The definitions at the top are correct in themselves.
"""

from __future__ import annotations

from bullrush import Batch, Job, Keep, Queue, RateLimit, Worker, sync


async def one(job: Job) -> None:
    print(job.id)


async def several(jobs: list[Job]) -> None:
    print(len(jobs))


def several_in_a_thread(jobs: list[sync.Job]) -> None:
    print(len(jobs))


def asynchronous_job_in_a_thread(job: Job) -> None:
    job.update_progress(50)


def one_parameter_short(job: Job) -> None:
    print(job.id)


async def producing(queue: Queue) -> None:
    await queue.add("a", 1, dealy="5s")  # error: unknown job option
    await queue.add("a", 1, delay=0.5)  # error: float duration
    await queue.get_jobs("waitng")  # error: misspelt state in a getter
    await queue.get_jobs(["waiting", "faild"])  # error: misspelt state in a list of them
    print((await queue.get_job_counts())["wating"])  # error: unknown key of the counts
    await queue.add_stream([1, 2, 3])  # error: things that are no jobs
    await queue.add_bulk(["a", "b"])  # error: things that are no jobs
    await queue.add_bulk([("a", 1, {"dealy": 5})])  # error: unknown option of one of many jobs
    await queue.add_stream([("a", 1)], on_progress=5)  # error: no callback


async def typed(queue: Queue[int, str]) -> None:
    await queue.add("a", "1")  # error: data of another type
    print(await queue.call("a", 1, wait="5s") + 1)  # error: the result is a str
    await queue.call("a", 1)  # error: a wait needs a limit


# This version has neither schedulers nor metrics: these lines are errors because the methods are missing.
async def scheduling(queue: Queue) -> None:
    await queue.upsert_job_scheduler("s", every="1h", pattern="0 * * * *")  # error: both
    await queue.upsert_job_scheduler("s")  # error: neither
    await queue.upsert_job_scheduler("s", every="1h", job_id="j-1")  # error: an option no template has
    await queue.get_metrics("complete")  # error: misspelt metrics kind


def consuming(queue: Queue, worker: Worker) -> None:
    Worker("q", several)  # error: a batch handler without batch=
    Worker("q", several_in_a_thread)  # error: a batch handler without batch=
    queue.process(several)  # error: a batch handler without batch=
    Worker("q", one, batch=Batch(10))  # error: batch= with a handler of one job
    Worker("q", asynchronous_job_in_a_thread)  # error: an async Job in a def handler
    Worker("q", {"a": asynchronous_job_in_a_thread})  # error: an async Job in a def handler
    Worker("q", one, concurency=5)  # error: misspelt worker option
    Worker("q", one, executor="threads")  # error: no such executor
    worker.on("completed", one_parameter_short)  # error: a listener one parameter short
    worker.on("complete", print)  # error: misspelt event


def values() -> None:
    Keep(age=86400)  # error: a number without a unit
    RateLimit("10", "1s")  # error: a number as text


def options_that_exclude_none(queue: sync.Queue) -> None:
    queue.add("a", attempts="3")  # error: a number as text
    queue.add("a", backoff={"type": "exponential"})  # error: the options bag of BullMQ
