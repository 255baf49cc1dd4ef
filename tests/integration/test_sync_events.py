"""Events and results for blocking code: the same answers, from any thread, and in a forked child."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator

import pytest

import bullrush
from bullrush import InvalidOption, Job, JobFailed, ResultTimeout, sync
from bullrush.events import Added, Event, Paused
from bullrush.events.blocking import SyncQueueEvents
from tests.waiting import wait_until


async def echo(job: Job) -> object:
    if job.name == "fail":
        raise ValueError(job.data)
    return job.data


@pytest.fixture
def queue(url: str, prefix: str) -> Iterator[sync.Queue]:
    with sync.Queue("jobs", url, prefix=prefix) as queue:
        yield queue


@pytest.fixture
def worker(url: str, prefix: str) -> Iterator[None]:
    """A worker in a thread of its own: the tests block theirs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> tuple[bullrush.Queue, bullrush.Worker]:
        queue = bullrush.Queue("jobs", url, prefix=prefix)
        worker = queue.process(echo, concurrency=20)
        await worker.__aenter__()
        return queue, worker

    async def stop(queue: bullrush.Queue, worker: bullrush.Worker) -> None:
        await worker.__aexit__(None, None, None)
        await queue.close()

    running = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    yield
    asyncio.run_coroutine_threadsafe(stop(*running), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.usefixtures("worker")
def test_results(queue: sync.Queue) -> None:
    assert queue.add("x", {"a": 1}).result("10s") == {"a": 1}
    assert queue.call("x", 5, wait="10s") == 5
    with pytest.raises(JobFailed, match="ValueError: no"):
        queue.add("fail", "no").result("10s")
    jobs = queue.add_bulk([("x", n) for n in range(500)])
    assert queue.gather(jobs, timeout="10s") == list(range(500))
    found = list(queue.as_completed(jobs[:50], timeout="10s"))
    assert {job.id for job in found} == {job.id for job in jobs[:50]}
    assert [job.returnvalue for job in jobs[:50]] == list(range(50))


def test_a_wait_ends_in_time(queue: sync.Queue) -> None:
    job = queue.add("x")
    with pytest.raises(ResultTimeout):
        job.result("100ms")
    with pytest.raises(ResultTimeout):
        list(queue.as_completed([job], timeout="100ms"))


@pytest.mark.usefixtures("worker")
def test_many_threads_wait_at_once(queue: sync.Queue) -> None:
    found: dict[int, object] = {}

    def wait(n: int) -> None:
        found[n] = queue.call("x", n, wait="10s")

    threads = [threading.Thread(target=wait, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: n for n in range(20)}


@pytest.mark.usefixtures("worker")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_waits_by_itself(queue: sync.Queue) -> None:
    assert queue.call("x", 1, wait="10s") == 1
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if queue.call("x", 2, wait="10s") == 2 else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert queue.call("x", 3, wait="10s") == 3


def test_iterating(queue: sync.Queue) -> None:
    with queue.events(kinds=[Added]) as events:
        jobs = queue.add_bulk([("x", n) for n in range(5)])
        found = [event.job_id for _, event in zip(range(5), events, strict=False) if isinstance(event, Added)]
        assert events.get("100ms") is None
        late = queue.add("x")
        event = events.get("10s")
    assert found == [job.id for job in jobs]
    assert isinstance(event, Added)
    assert event.job_id == late.id


def test_closing_from_another_thread_ends_an_iteration(url: str, prefix: str) -> None:
    found: list[Event] = []
    with SyncQueueEvents("jobs", url, prefix=prefix) as events:
        thread = threading.Thread(target=lambda: found.extend(events))
        thread.start()
        wait_until(lambda: events._events._iterated)
        events.close()
        thread.join(10)
        assert not thread.is_alive()
    assert found == []


def test_listeners_run_in_one_thread_in_order(queue: sync.Queue) -> None:
    heard: list[str] = []
    threads: set[str] = set()
    paused = threading.Event()
    events = queue.events()

    @events.on(Added)
    def added(event: Added) -> None:
        heard.append(event.job_id)
        threads.add(threading.current_thread().name)

    with events:
        events.on(Paused, lambda event: paused.set())
        jobs = queue.add_bulk([("x", n) for n in range(20)])
        queue.pause()
        assert paused.wait(10)
        with pytest.raises(InvalidOption, match="either iterate or listen"):
            iter(events)
    assert heard == [job.id for job in jobs]
    assert len(threads) == 1


def test_wrong_arguments_are_refused(queue: sync.Queue, url: str) -> None:
    async def listener(event: Event) -> None: ...

    with pytest.raises(InvalidOption, match="connection"):
        SyncQueueEvents(queue, url)
    with pytest.raises(TypeError, match="def function"):
        queue.events().on(Added, listener)
