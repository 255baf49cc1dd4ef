"""The blocking queue does what the asyncio one does, without a loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import date

import pytest
import redis

import bullrush
from bullrush import sync
from bullrush.errors import (
    AddInterrupted,
    CodecError,
    InvalidOption,
    NotConfigured,
    NotPaused,
    PayloadTooLarge,
)
from bullrush.options import JobSpec
from tests.servers import Server
from tests.waiting import wait_for_clients


@pytest.fixture
def queue(url: str, prefix: str) -> Iterator[sync.Queue]:
    with sync.Queue("q", url, prefix=prefix, request_timeout="5s") as made:
        yield made


def test_a_job_is_stored_and_read_back(queue: sync.Queue) -> None:
    job = queue.add("welcome", {"to": "a@b.c", "on": date(2027, 1, 2)}, attempts=3)
    assert isinstance(job, sync.Job)
    assert (job.name, job.duplicate, job.queue) == ("welcome", False, "q")
    found = queue.get_job(job.id)
    assert found is not None and isinstance(found, sync.Job)
    assert found.data == {"to": "a@b.c", "on": date(2027, 1, 2)}
    assert (found.attempts, found.state, found.get_state()) == (3, "waiting", "waiting")
    assert queue.get_job("999") is None


def test_a_constructor_does_no_io(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BULLRUSH_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    queue = sync.Queue("q")
    with pytest.raises(NotConfigured):
        queue.add("a")


def test_many_are_stored_in_order(queue: sync.Queue) -> None:
    jobs = queue.add_bulk([("a", 1), ("b", 2, {"priority": 5}), JobSpec("c", 3, delay="1h")])
    assert [job.name for job in jobs] == ["a", "b", "c"]
    assert [int(job.id) for job in jobs] == sorted(int(job.id) for job in jobs)
    counts = queue.get_job_counts("waiting", "prioritized", "delayed")
    assert counts == {"waiting": 1, "prioritized": 1, "delayed": 1}
    assert queue.count() == 3


def test_bulk_of_several_chunks(queue: sync.Queue) -> None:
    jobs = queue.add_bulk(("n", number) for number in range(3500))
    assert len({job.id for job in jobs}) == 3500 == queue.count()
    assert [job.data for job in queue.get_jobs("waiting", 0, 1, ascending=True)] == [0, 1]


def test_a_stream_whose_jobs_take_longer_to_make_than_the_timeout(url: str, prefix: str) -> None:
    def jobs() -> Iterator[tuple[str, int]]:
        for number in range(600):
            yield "n", number
        time.sleep(0.5)  # time is the subject

    with sync.Queue("q", url, prefix=prefix, request_timeout="200ms") as queue:
        assert queue.add_stream(jobs(), chunk_size=300) == 600 == queue.count()


def test_a_stream_in_constant_memory(queue: sync.Queue) -> None:
    told: list[int] = []
    stored = queue.add_stream((("n", i) for i in range(2345)), chunk_size=100, on_progress=told.append)
    assert stored == sum(told) == queue.count() == 2345


def test_a_stream_that_breaks_says_how_far_it_got(queue: sync.Queue) -> None:
    def source() -> Iterator[tuple[str, int]]:
        yield from (("n", number) for number in range(250))
        raise ValueError("no more")

    with pytest.raises(AddInterrupted) as caught:
        queue.add_stream(source(), chunk_size=100)
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.added == queue.count() == 200


def test_a_stream_waits_for_workers(queue: sync.Queue, redis_client: redis.Redis) -> None:
    asked = 0
    count = queue.count

    def counted() -> int:
        nonlocal asked
        asked += 1
        if asked == 3:
            queue.obliterate(force=True)
        return count()

    queue.count = counted  # type: ignore[method-assign]
    assert queue.add_stream((("n", i) for i in range(30)), chunk_size=10, max_waiting=9) == 30
    assert asked > 3


def test_a_duplicate_shows_what_is_stored(queue: sync.Queue) -> None:
    assert queue.add("a", 1, job_id="once").duplicate is False
    again = queue.add("b", 2, job_id="once")
    assert (again.duplicate, again.name, again.data) == ("id", "a", 1)
    assert [job.duplicate for job in queue.add_bulk([("c", 3, {"job_id": "once"}), ("d", 4)])] == [
        "id",
        False,
    ]
    assert queue.count() == 2


def test_bad_input_is_refused_before_anything_is_sent(queue: sync.Queue) -> None:
    with pytest.raises(InvalidOption):
        queue.add("a", priority=-1)
    with pytest.raises(CodecError):
        queue.add("a", object())
    with pytest.raises(PayloadTooLarge):
        queue.add("a", "x" * 200, size_limit=100)
    with pytest.raises(InvalidOption):
        queue.add_bulk([("a", 1), ("b", 2, {"attempts": 0})])
    assert queue.count() == 0


def test_control(queue: sync.Queue, redis_client: redis.Redis) -> None:
    job = queue.add("a")
    queue.pause()
    assert queue.is_paused()
    queue.resume()
    assert not queue.is_paused()
    with pytest.raises(NotPaused):
        queue.obliterate()
    assert (job.remove(), queue.remove(job.id), queue.get_state(job.id)) == (True, False, "unknown")
    assert queue.get_job_logs("1") == ([], 0)
    assert queue.ping() > 0
    queue.obliterate(force=True)
    assert redis_client.keys("*") == []
    assert queue.add("b").id  # told of the obliterate, it begins anew
    assert queue.count() == 1


def test_a_closed_queue_may_be_used_again(queue: sync.Queue, redis_client: redis.Redis) -> None:
    queue.add("a")
    queue.close()
    wait_for_clients(redis_client, 1)  # the one that asks
    queue.add("b")
    assert queue.count() == 2


def test_queues_of_an_app_share_a_connection(url: str, prefix: str, redis_client: redis.Redis) -> None:
    app = bullrush.Bullrush(url, prefix=prefix)
    one, two = app.sync_queue("one"), app.sync_queue("two")
    assert app.sync_queue("one") is one
    one.add("a")
    two.add("b")
    wait_for_clients(redis_client, 2)
    app.close_sync()
    wait_for_clients(redis_client, 1)


async def test_closing_the_app_closes_the_blocking_queues(
    url: str, prefix: str, redis_client: redis.Redis
) -> None:
    async with bullrush.Bullrush(url, prefix=prefix) as app:
        await asyncio.to_thread(app.sync_queue("one").add, "a")
    wait_for_clients(redis_client, 1)


def test_a_server_that_forgets_its_scripts_is_told_again(
    queue: sync.Queue, redis_client: redis.Redis
) -> None:
    queue.add("a")
    redis_client.script_flush()
    queue.add("b")
    redis_client.script_flush()
    assert queue.get_state("1") == "waiting"
    assert queue.count() == 2


def test_unix_sockets(server: Server, url: str, prefix: str) -> None:
    with sync.Queue("q", server.unix_url, prefix=prefix) as queue:
        queue.add("a")
    with sync.Queue("q", url, prefix=prefix) as queue:
        assert queue.count() == 1
