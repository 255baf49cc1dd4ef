"""Following a queue: nothing is lost after entering, gaps are told, and one reader feeds everybody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
import redis

from bullrush import InvalidOption, Queue
from bullrush.events import (
    Active,
    Added,
    Completed,
    Drained,
    Event,
    Failed,
    Gap,
    Paused,
    QueueEvents,
    Removed,
    Resumed,
    Retrying,
    Waiting,
)
from bullrush.events import feed as module
from bullrush.events.reader import reader_of
from tests.conftest import MakeProxy, PrivateServer
from tests.servers import Server
from tests.waiting import wait_until_async


@pytest.fixture
async def queue(url: str, prefix: str) -> AsyncIterator[Queue]:
    async with Queue("jobs", url, prefix=prefix) as queue:
        await queue.ping()
        yield queue


async def take(events: QueueEvents, count: int) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(10):
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return found


def labels(events: list[Event]) -> list[str]:
    return [f"{event.name} {getattr(event, 'job_id', '')}".strip() for event in events]


async def test_the_life_of_a_job(queue: Queue) -> None:
    async def work(job: object) -> str:
        return "done"

    async with queue.events() as events, queue.process(work):
        job = await queue.add("welcome", {"to": "a@b.c"})
        found = await take(events, 5)
    assert labels(found) == [
        f"added {job.id}",
        f"waiting {job.id}",
        f"active {job.id}",
        "drained",
        f"completed {job.id}",
    ]
    added, _, _, _, completed = found
    assert isinstance(added, Added)
    assert added.job_name == "welcome"
    assert isinstance(completed, Completed)
    assert completed.returnvalue == "done"
    assert completed.queue == "jobs"
    assert completed.at >= added.at > 1_600_000_000_000


async def test_failures_and_retries(queue: Queue) -> None:
    async def work(job: object) -> None:
        raise ValueError("no")

    async with queue.events(kinds=[Retrying, Failed]) as events, queue.process(work):
        job = await queue.add("x", attempts=2, backoff=0)
        retrying, failed = await take(events, 2)
    assert isinstance(retrying, Retrying)
    assert (retrying.job_id, retrying.failed_reason, retrying.attempts_made) == (job.id, "no", 1)
    assert isinstance(failed, Failed)
    assert (failed.failed_reason, failed.error_type, failed.attempts_made) == ("no", "ValueError", 2)


async def test_nothing_before_entering_and_nothing_lost_after_it(queue: Queue) -> None:
    await queue.add("before")
    async with QueueEvents(queue, kinds=[Added]) as events:
        jobs = await queue.add_bulk([("x", n) for n in range(500)])
        found = await take(events, 500)
    assert [event.job_id for event in found if isinstance(event, Added)] == [job.id for job in jobs]


async def test_a_second_consumer_begins_where_it_enters(queue: Queue) -> None:
    async with QueueEvents(queue, kinds=[Added]) as first:
        one = await queue.add("x")
        async with QueueEvents(queue, kinds=[Added]) as second:
            two = await queue.add("x")
            assert labels(await take(second, 1)) == [f"added {two.id}"]
        assert labels(await take(first, 2)) == [f"added {one.id}", f"added {two.id}"]


async def test_one_reader_feeds_all(queue: Queue, redis_client: redis.Redis) -> None:
    async with QueueEvents(queue), QueueEvents(queue), QueueEvents(queue):
        await wait_until_async(lambda: reading(redis_client) == 1)
    await wait_until_async(lambda: reading(redis_client) == 0)


def reading(client: redis.Redis) -> int:
    return sum(each["cmd"] == "xread" for each in client.client_list())


async def test_large_values_are_fetched(queue: Queue) -> None:
    async def work(job: object) -> str:
        return "x" * 5000

    async with QueueEvents(queue, kinds=[Completed]) as events, queue.process(work):
        await queue.add("x")
        (completed,) = await take(events, 1)
    assert isinstance(completed, Completed)
    assert completed.returnvalue == "x" * 5000


async def test_queue_level_events(queue: Queue) -> None:
    async with QueueEvents(queue, kinds=[Paused, Resumed, Removed, Drained]) as events:
        await queue.pause()
        await queue.resume()
        job = await queue.add("x")
        await job.remove()
        found = await take(events, 3)
    assert labels(found) == ["paused", "resumed", f"removed {job.id}"]
    assert isinstance(found[2], Removed)
    assert found[2].prev == "waiting"


# Going on


async def test_going_on_exactly_behind_an_event(queue: Queue) -> None:
    async with QueueEvents(queue, kinds=[Added]) as events:
        jobs = await queue.add_bulk([("x", n) for n in range(10)])
        third = (await take(events, 3))[-1]
    last = await queue.add("x")
    async with QueueEvents(queue, kinds=[Added, Gap], after=third.id) as events:
        found = await take(events, 8)
    assert labels(found) == [f"added {job.id}" for job in [*jobs[3:], last]]


async def test_all_that_is_kept_page_by_page_and_then_live(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bullrush.events.cursor.PAGE", 7)
    early = [await queue.add("x") for _ in range(30)]
    async with QueueEvents(queue, kinds=[Added, Gap], after="0-0") as events:
        late = [await queue.add("x") for _ in range(30)]
        found = await take(events, 60)
    assert labels(found) == [f"added {job.id}" for job in early + late]


async def test_what_was_trimmed_is_a_gap(queue: Queue, redis_client: redis.Redis) -> None:
    for _ in range(5):
        await queue.add("x")
    redis_client.xtrim(queue.keys["events"], maxlen=2, approximate=False)
    async with QueueEvents(queue, kinds=[Added, Gap], after="0-0") as events:
        gap, *_ = await take(events, 3)
    assert isinstance(gap, Gap)
    assert gap.missed == 3
    async with QueueEvents(queue, kinds=[Added], after=gap.id) as events:
        assert len(await take(events, 2)) == 2


async def test_an_event_whose_entry_is_gone_begins_with_a_gap(
    queue: Queue, redis_client: redis.Redis
) -> None:
    async with QueueEvents(queue, kinds=[Added]) as events:
        await queue.add("x")
        (first,) = await take(events, 1)
    await queue.add("x")
    last = await queue.add("x")
    redis_client.xtrim(queue.keys["events"], maxlen=1, approximate=False)
    async with QueueEvents(queue, after=first.id, kinds=[Gap, Added]) as events:
        gap, added = await take(events, 2)
    assert isinstance(gap, Gap)
    assert gap.missed is None
    assert labels([added]) == [f"added {last.id}"]


async def test_a_slow_consumer_has_bounded_memory_and_loses_nothing(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUFFER", 20)
    async with QueueEvents(queue, kinds=[Added, Gap]) as events:
        await queue.add("first")
        first = await take(events, 1)
        jobs = [await queue.add("x") for _ in range(200)]
        feed = events._feed
        assert feed is not None
        await wait_until_async(lambda: feed._fell_behind)
        assert len(feed._live) == 20
        found = await take(events, 200)
        live = await queue.add("x")
        assert labels(await take(events, 1)) == [f"added {live.id}"]
    assert len(first) == 1
    assert labels(found) == [f"added {job.id}" for job in jobs]


async def test_obliterate_is_a_gap_and_the_new_queue_is_followed(queue: Queue) -> None:
    async with QueueEvents(queue, kinds=[Added, Gap]) as events:
        for _ in range(3):
            await queue.add("x")
        await take(events, 3)
        await queue.obliterate(force=True)
        job = await queue.add("y")
        gap, added = await take(events, 2)
    assert isinstance(gap, Gap)
    assert labels([added]) == [f"added {job.id}"]


# Connections


async def test_a_cut_connection_loses_nothing(
    server: Server, url: str, prefix: str, make_proxy: MakeProxy
) -> None:
    proxy = make_proxy(server)
    async with (
        Queue("jobs", url, prefix=prefix) as queue,
        Queue("jobs", proxy.url, prefix=prefix) as seen,
        QueueEvents(seen, kinds=[Added, Gap]) as events,
    ):
        first = await queue.add("x")
        assert labels(await take(events, 1)) == [f"added {first.id}"]
        for _ in range(3):
            proxy.reset()
            jobs = await queue.add_bulk([("x", n) for n in range(20)])
            assert labels(await take(events, 20)) == [f"added {job.id}" for job in jobs]


async def test_a_server_that_comes_back_empty_is_a_gap(private_server: PrivateServer) -> None:
    server = private_server()
    async with Queue("jobs", server.url) as queue, QueueEvents(queue, kinds=[Added, Gap]) as events:
        for _ in range(3):
            await queue.add("x")
        await take(events, 3)
        server.kill()
        server.start()
        (gap,) = await take(events, 1)
        job = await queue.add("y")
        assert isinstance(gap, Gap)
        assert labels(await take(events, 1)) == [f"added {job.id}"]


# Listening


async def test_listeners_are_called_in_order_and_may_raise(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []
    events = QueueEvents(queue)

    @events.on(Added)
    async def added(event: Added) -> None:
        await asyncio.sleep(0)
        heard.append(f"added {event.job_id}")

    @events.on(Waiting)
    def waiting(event: Waiting) -> None:
        raise RuntimeError("a bug")

    with caplog.at_level(logging.ERROR, "bullrush"):
        async with events:
            assert events.kinds == {Added, Waiting}
            paused: list[Paused] = []
            events.on(Paused, paused.append)
            jobs = [await queue.add("x") for _ in range(3)]
            await queue.pause()
            await wait_until_async(lambda: paused)
    assert heard == [f"added {job.id}" for job in jobs]
    assert caplog.text.count("a bug") >= 3


async def test_a_listener_of_everything(queue: Queue) -> None:
    heard: list[Event] = []
    events = QueueEvents(queue)
    events.on(Event, heard.append)
    async with events:
        job = await queue.add("x")
        await wait_until_async(lambda: len(heard) == 2)
    assert labels(heard) == [f"added {job.id}", f"waiting {job.id}"]


async def test_either_iterate_or_listen(queue: Queue) -> None:
    async with QueueEvents(queue) as events:
        aiter(events)
        with pytest.raises(InvalidOption, match="either iterate or listen"):
            events.on(Active, print)
    async with QueueEvents(queue) as events:
        events.on(Active, print)
        with pytest.raises(InvalidOption, match="either iterate or listen"):
            aiter(events)


async def test_wrong_arguments_are_refused(queue: Queue, url: str) -> None:
    with pytest.raises(InvalidOption, match="prefix"):
        QueueEvents(queue, prefix="other")
    with pytest.raises(InvalidOption, match="connection"):
        QueueEvents(queue, url)
    with pytest.raises(TypeError, match="no kind of event"):
        QueueEvents(queue, kinds=[int])  # type: ignore[list-item]
    with pytest.raises(InvalidOption, match="kinds is empty"):
        QueueEvents(queue, kinds=[])
    with pytest.raises(InvalidOption, match="never be heard"):
        QueueEvents(queue, kinds=[Added]).on(Failed, print)
    with pytest.raises(InvalidOption, match="inside"):
        await anext(aiter(QueueEvents(queue)))


async def test_leaving_ends_an_iteration(url: str, prefix: str) -> None:
    events = QueueEvents("jobs", url, prefix=prefix)
    await events.__aenter__()
    reading = asyncio.create_task(anext(aiter(events), None))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await events.close()
    assert await asyncio.wait_for(reading, 5) is None


async def test_events_leave_no_key_behind(queue: Queue, redis_client: redis.Redis) -> None:
    async with QueueEvents("other", queue.app):
        assert reader_of(queue.app.address, Queue("other", queue.app).keys, None).end.number == 0
    assert [key for key in redis_client.keys("*") if b"other" in key] == []
