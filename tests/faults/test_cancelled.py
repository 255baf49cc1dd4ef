"""T46: a call is cancelled at every point where it can wait. The connection stays in step, and nothing is left over."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from bullrush import AddInterrupted, Job, Queue
from bullrush.events import Added
from tests.faults.traffic import check_books
from tests.servers import Server
from tests.waiting import wait_until_async

Call = Callable[[Queue], Awaitable[object]]


class CancelledAt:
    """Awaits a call and cancels the task that does at its n-th wait; `reached` says whether there was one."""

    def __init__(self, call: Awaitable[object], point: int) -> None:
        self._call = call
        self._point = point
        self.reached = False

    def __await__(self) -> Generator[Any, Any, object]:
        steps = self._call.__await__()
        resume: Callable[[], object] = lambda: next(steps)  # noqa: E731
        for point in itertools.count():
            try:
                waited = resume()
            except StopIteration as stop:
                return stop.value
            if point == self._point:
                self.reached = True
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                yield waited
            except BaseException as error:
                resume = _thrower(steps, error)
            else:
                resume = lambda: next(steps)  # noqa: E731
        raise AssertionError("not reached")


def _thrower(steps: Generator[Any, Any, object], error: BaseException) -> Callable[[], object]:
    return lambda: steps.throw(error)


async def cancel_at(call: Awaitable[object], point: int) -> bool:
    """Whether the call got as far as that; it is cancelled there, and may end in any way but an error."""
    attempt = CancelledAt(call, point)

    async def run() -> object:
        return await attempt

    task = asyncio.create_task(run())
    await asyncio.wait([task], timeout=20)
    assert task.done(), "it did not end"
    if not task.cancelled() and (error := task.exception()) is not None:
        assert isinstance(error, AddInterrupted), repr(error)  # says how much was stored before
        assert isinstance(error.__cause__, asyncio.CancelledError)
    return attempt.reached


async def add(queue: Queue) -> object:
    return await queue.add("work", "cancelled")


async def add_with_an_id(queue: Queue) -> object:
    return await queue.add("work", "cancelled", job_id="mine")


async def add_bulk(queue: Queue) -> object:
    return await queue.add_bulk([("work", "cancelled") for _ in range(2_500)])


async def read(queue: Queue) -> object:
    return [await queue.get_job("1"), await queue.get_job_counts(), await queue.ping()]


async def manage(queue: Queue) -> object:
    await queue.pause()
    await queue.resume()
    return await queue.drain()


async def wait_for_a_result(queue: Queue) -> object:
    job = await queue.add("work", "cancelled")
    async with queue.process(echo, lease="1s"):
        return await job.result("10s")


async def follow_events(queue: Queue) -> object:
    async with queue.events(kinds=[Added]) as events:
        await queue.add("work", "cancelled")
        return await events.get("5s")


async def work(queue: Queue) -> object:
    await queue.add("work", "cancelled")
    async with queue.process(echo, concurrency=3, lease="1s") as worker:
        await worker.wait_idle("10s")
    return None


async def echo(job: Job) -> object:
    await asyncio.sleep(0)
    return job.data


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


CALLS: dict[str, Call] = {
    call.__name__: call
    for call in (add, add_with_an_id, add_bulk, read, manage, wait_for_a_result, follow_events, work)
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("rounds", [1, pytest.param(60, marks=pytest.mark.long)])
async def test_cancelled_at_every_wait(
    server: Server, url: str, prefix: str, call: Call, rounds: int
) -> None:
    for number in range(rounds):
        async with Queue(f"q{number}", url, prefix=prefix) as queue:
            await queue.ping()
            await cancel_everywhere(queue, call)
        await check_nothing_held(url, f"q{number}", prefix)


async def cancel_everywhere(queue: Queue, call: Call) -> None:
    """One wait after the other; each answer behind it belongs to its question, and nothing is left over."""
    files, tasks = descriptors(), len(asyncio.all_tasks())
    for point in range(300):
        went_on = await cancel_at(call(queue), point)
        job = await queue.add("token", f"token {point}")
        found = await queue.get_job(job.id)
        assert found is not None
        assert found.data == f"token {point}", "the connection is out of step"
        if not went_on:
            assert point > 0
            break
    await wait_until_async(lambda: len(asyncio.all_tasks()) <= tasks + 3, what="tasks to end")
    await wait_until_async(lambda: descriptors() <= files + 3, what="sockets to be closed")


async def check_nothing_held(url: str, name: str, prefix: str) -> None:
    """Whoever was cut off in the middle counts as dead soon; then nobody has a job, and all of them can be done."""
    async with Queue(name, url, prefix=prefix) as queue:
        await queue.resume()
        async with queue.process(echo, concurrency=100, lease="1s", remove_on_complete=True) as worker:
            await wait_until_async(lambda: is_alone(queue), 20, what="the others to be gone")
            await worker.wait_idle("20s")
        await check_books(queue, completed=await completed(queue))


async def is_alone(queue: Queue) -> bool:
    return await queue.get_workers_count() == 1


async def completed(queue: Queue) -> int:
    return (await queue.get_job_counts("completed"))["completed"]
