"""Following one job: its events from now on, up to the one that ends it."""

from __future__ import annotations

import asyncio

import pytest

from bullrush import Active, Completed, Event, Failed, Job, Progress, Queue, Removed, Retrying, sync
from bullrush import job as job_module
from bullrush.events import reader
from tests.waiting import wait_until_async


async def work(job: Job) -> object:
    if job.name == "bad":
        raise ValueError("no")
    await job.update_progress(50)
    return job.data


class Follower:
    """Collects what a job tells, in a task."""

    def __init__(self, job: Job) -> None:
        self.heard = list[Event]()
        self._job = job
        self.task = asyncio.create_task(self._follow())

    async def _follow(self) -> list[Event]:
        async for event in self._job.events():
            self.heard.append(event)
        return self.heard


async def listening() -> None:
    """Wait until somebody listens: their position is fixed by then."""
    await wait_until_async(lambda: [each for each in reader._readers.values() if each._subscribers])


async def ended(task: asyncio.Task[list[Event]]) -> list[Event]:
    return await asyncio.wait_for(task, 20)


async def test_a_job_is_followed_to_its_end_and_others_are_not(queue: Queue) -> None:
    job = await queue.add("good", 7)
    others = await queue.add_bulk([("good", n) for n in range(5)])
    follower = Follower(job)
    await listening()
    async with queue.process(work):
        events = await ended(follower.task)
    assert {event.job_id for event in events} == {job.id}  # type: ignore[attr-defined]
    assert job.id not in {other.id for other in others}
    kinds = [type(event) for event in events]
    assert kinds[0] is Active
    assert set(kinds[1:-1]) <= {Progress}
    assert isinstance(events[-1], Completed)
    assert events[-1].returnvalue == 7


async def test_a_failure_that_another_attempt_follows_is_no_end(queue: Queue) -> None:
    job = await queue.add("bad", attempts=2, backoff="10ms")
    follower = Follower(job)
    await listening()
    async with queue.process(work):
        events = await ended(follower.task)
    kinds = [type(event) for event in events]
    assert kinds[-1] is Failed
    assert kinds.count(Retrying) == 1
    assert kinds.count(Failed) == 1


async def test_a_job_that_is_removed(queue: Queue) -> None:
    job = await queue.add("good")
    follower = Follower(job)
    await listening()
    await job.remove()
    assert [type(event) for event in await ended(follower.task)] == [Removed]


async def test_a_job_that_has_ended_or_is_gone_has_nothing_to_tell(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "EVENTS_LOOK", 3_600)
    job = await queue.add("good")
    async with queue.process(work) as worker:
        await worker.wait_idle(timeout="10s")
    assert await ended(Follower(job).task) == []
    await job.remove()
    assert await ended(Follower(job).task) == []


async def test_an_end_that_no_event_tells_is_noticed(
    url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "EVENTS_LOOK", 0.2)
    async with Queue("q", url, prefix=prefix, events="off") as queue:
        job = await queue.add("good")
        follower = Follower(job)
        await listening()
        async with queue.process(work):
            assert await ended(follower.task) == []


async def test_blocking_code_follows_the_same(queue: Queue, url: str, prefix: str) -> None:
    with sync.Queue("q", url, prefix=prefix) as blocking:
        job = await asyncio.to_thread(blocking.add, "good", 7)

        def follow() -> list[Event]:
            return list(job.events())

        following = asyncio.create_task(asyncio.to_thread(follow))
        await listening()
        async with queue.process(work):
            events = await ended(following)
    assert isinstance(events[-1], Completed)
    assert {event.job_id for event in events} == {job.id}  # type: ignore[attr-defined]
