"""What a handler tells while it runs, and what runs around it: middleware, lifespan, listeners."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bullrush import Job, JobBase, Queue, Worker, sync
from tests.waiting import wait_until_async


async def double(job: Job) -> int:
    return job.data * 2


async def fail(job: Job) -> None:
    raise LookupError("nobody of that name")


@pytest.mark.parametrize("threaded", [False, True])
async def test_progress_and_log_lines(queue: Queue, threaded: bool) -> None:
    go_on = threading.Event()

    def tell(job: Job | sync.Job) -> None:
        job.update_progress({"done": 1})
        job.update_progress({"done": 2})
        job.log("first line")
        job.log("zweite Zeile ä")
        assert job.progress == {"done": 2}

    async def on_loop(job: Job) -> None:
        tell(job)
        await asyncio.to_thread(go_on.wait, 10)

    def in_thread(job: sync.Job) -> None:
        tell(job)
        go_on.wait(10)

    job = await queue.add("work", 1)
    async with queue.process(in_thread if threaded else on_loop) as worker:

        async def seen() -> bool:
            return (await job.refresh()).progress == {"done": 2}

        await wait_until_async(seen, what="others to see the progress while the job runs")
        assert await job.get_logs() == (["first line", "zweite Zeile ä"], 2)
        assert await queue.get_job_logs(job.id, 1, 1) == (["zweite Zeile ä"], 2)
        go_on.set()
        await worker.wait_idle("10s")
    await job.refresh()
    assert (job.state, job.progress) == ("completed", {"done": 2})


async def test_middleware_surrounds_the_handler_outermost_first(queue: Queue) -> None:
    order = list[str]()

    def layer(name: str) -> object:
        async def run(job: JobBase, call_next: object) -> object:
            order.append(f"{name} in")
            try:
                return await call_next(job)  # type: ignore[operator]
            finally:
                order.append(f"{name} out")

        return run

    job = await queue.add("work", 4)
    async with queue.process(double, middleware=(layer("outer"), layer("inner"))) as worker:  # type: ignore[arg-type]
        await worker.wait_idle("10s")
    assert (await job.refresh()).returnvalue == 8
    assert order == ["outer in", "inner in", "inner out", "outer out"]


async def test_middleware_surrounds_a_plain_function_too(queue: Queue) -> None:
    seen = list[object]()

    async def around(job: JobBase, call_next: object) -> object:
        seen.append(threading.get_ident())
        return await call_next(job) + 1  # type: ignore[operator]

    def handle(job: sync.Job) -> int:
        seen.extend((threading.get_ident(), type(job)))
        job.log("from the thread")
        return job.data * 2

    job = await queue.add("work", 4)
    async with queue.process(handle, middleware=(around,)) as worker:  # type: ignore[arg-type]
        await worker.wait_idle("10s")
    assert (await job.refresh()).returnvalue == 9
    assert await job.get_logs() == (["from the thread"], 1)
    loop, thread, kind = seen
    assert loop == threading.get_ident() != thread
    assert kind is sync.Job


async def test_lifespan_is_entered_once_and_is_the_context(queue: Queue) -> None:
    order = list[object]()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[dict[str, str]]:
        order.append("enter")
        yield {"pool": "open"}
        order.append("leave")

    async def handle(job: Job) -> None:
        order.append(job.context["pool"])

    await queue.add_bulk([("work", i) for i in range(2)])
    async with queue.process(handle, lifespan=lifespan) as worker:
        await worker.wait_idle("10s")
    assert order == ["enter", "open", "open", "leave"]


async def test_listeners(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    heard = list[tuple[object, ...]]()
    worker = Worker(queue, {"good": double, "bad": fail})

    @worker.on("active")
    def on_active(job: Job) -> None:
        heard.append(("active", job.name))
        raise RuntimeError("a listener that raises changes nothing")

    @worker.on("completed")
    async def on_completed(job: Job, value: int) -> None:
        await asyncio.sleep(0)
        heard.append(("completed", job.name, value))

    worker.on("failed", lambda job, error: heard.append(("failed", job.name, repr(error))))
    worker.on("drained", lambda: heard.append(("drained",)))
    worker.on("closed", lambda: heard.append(("closed",)))
    await queue.add_bulk([("good", 4), ("bad", 1)])
    async with worker:
        await worker.wait_idle("10s")
    assert heard[0] == ("active", "good")
    assert set(heard) == {
        ("active", "good"),
        ("completed", "good", 8),
        ("active", "bad"),
        ("failed", "bad", "LookupError('nobody of that name')"),
        ("drained",),
        ("closed",),
    }
    assert heard[-1] == ("closed",)
    assert "a listener that raises" in caplog.text
