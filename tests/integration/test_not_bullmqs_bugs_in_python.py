"""Mistakes of BullMQ's Python port that must not be here; each docstring says what goes wrong there.

Those of its limiter are in test_not_bullmqs_limits.py.
"""

from __future__ import annotations

import asyncio
import math
import threading
from typing import Any

import pytest
import redis
import redis.asyncio

from bullrush import (
    Added,
    Backoff,
    BullrushError,
    Completed,
    InvalidOption,
    Job,
    PayloadTooLarge,
    Queue,
    RateLimit,
    sync,
)
from tests.conftest import PrivateServer
from tests.servers import KINDS, Kind, Server
from tests.waiting import wait_until_async


async def echo(job: Job) -> object:
    return job.data


async def test_a_queue_can_be_listened_to(queue: Queue) -> None:
    """(b): Queue.on raised AttributeError."""
    heard: list[str] = []
    events = queue.events()
    events.on(Added, lambda event: heard.append(event.job_id))
    async with events:
        job = await queue.add("work", 1)
        await wait_until_async(lambda: heard)
    assert heard == [job.id]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"job_id": "123"}, InvalidOption),
        ({"job_id": "-1"}, InvalidOption),
        ({"job_id": "0"}, InvalidOption),
        ({"job_id": ""}, InvalidOption),
        ({"job_id": "a b"}, InvalidOption),
        ({"job_id": 5}, InvalidOption),
        ({"priority": 2_097_152}, InvalidOption),
        ({"priority": -1}, InvalidOption),
        ({"priority": 1.5}, InvalidOption),
        ({"size_limit": 10}, PayloadTooLarge),
        ({"delay": math.nan}, InvalidOption),
        ({"delay": "soon"}, InvalidOption),
        ({"attempts": 0}, InvalidOption),
    ],
)
async def test_wrong_options_are_refused_before_anything_is_sent(
    queue: Queue, redis_client: redis.Redis, options: dict[str, Any], kind: type[BullrushError]
) -> None:
    """(c): ids, priorities and size limits were not looked at; Node itself takes negative priorities."""
    with pytest.raises(kind, match=next(iter(options)) if kind is InvalidOption else "the limit is 10"):
        await queue.add("work", "more than ten bytes", **options)
    assert redis_client.keys() == []


@pytest.mark.parametrize("name", ["", "a:b", "a b", "{a}", "ä", "x" * 129])
def test_wrong_queue_names_are_refused(name: str) -> None:
    """(c): nor were the names of queues."""
    with pytest.raises(InvalidOption, match="queue name"):
        Queue(name, "redis://127.0.0.1:1")


@pytest.mark.parametrize(
    "backoff", [Backoff.fixed("100s", jitter=0.5), Backoff.exponential("100s", jitter=0.5)]
)
async def test_jitter_spreads_retries(queue: Queue, redis_client: redis.Redis, backoff: Backoff) -> None:
    """(d): it was ignored, so jobs that failed together came back together."""

    async def fail(job: Job) -> None:
        raise LookupError("no")

    await queue.add_bulk([("work", i) for i in range(200)], attempts=2, backoff=backoff)
    async with queue.process(fail, concurrency=200):
        await wait_until_async(lambda: redis_client.zcard(queue.keys["delayed"]) == 200)
    jobs = await queue.get_jobs("delayed", 0, -1)
    waits = [job.due_at.timestamp() * 1000 - (job.finished_on or job.processed_on or 0) for job in jobs]
    assert len({round(wait, -3) for wait in waits}) > 20
    spread = max(waits) - min(waits)
    assert 25_000 < spread <= 50_000 + 10_000  # what lies between the failures themselves is little


async def test_plain_functions_are_handlers(queue: Queue) -> None:
    """(e): a processor that was no coroutine function was a TypeError."""

    def work(job: sync.Job) -> tuple[int, bool]:
        return job.data + 1, threading.current_thread() is threading.main_thread()

    async with queue.process(work):
        assert await queue.call("work", 1, wait="10s") == [2, False]


@pytest.mark.parametrize("event", ["active", "completed", "failed", "progress", "drained"])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_listener_that_raises_changes_nothing(
    queue: Queue, event: Any, asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """(f): an error in a listener of `completed` made the worker fail the job it had completed."""

    async def work(job: Job) -> str:
        job.update_progress(50)
        if job.name == "bad":
            raise LookupError("no")
        return "ok"

    def broken(*_: object) -> None:
        raise RuntimeError("a bug in a listener")

    async def broken_later(*_: object) -> None:
        broken()

    worker = queue.process(work)
    worker.on(event, broken_later if asynchronous else broken)
    good = await queue.add("good")
    bad = await queue.add("bad", attempts=2, backoff=0)
    async with worker:
        await worker.wait_idle("10s")
    await good.refresh()
    await bad.refresh()
    assert (good.state, good.returnvalue, good.attempts_made) == ("completed", "ok", 0)
    assert (bad.state, bad.failed_reason, bad.attempts_made) == ("failed", "no", 2)
    assert "a bug in a listener" in caplog.text


async def test_limits_are_set_and_read_on_every_server(queue: Queue, url: str, prefix: str) -> None:
    """(g): the setters of global limits knew one kind of server only."""
    async with Queue("q", url, prefix=prefix) as other:
        await queue.set_global_concurrency(3)
        await queue.set_global_rate_limit(RateLimit(5, "1s"))
        assert await other.get_global_concurrency() == 3
        assert await other.get_global_rate_limit() == RateLimit(5, "1s")
        await other.set_global_concurrency(None)
        await other.set_global_rate_limit(None)
        assert (await queue.get_global_concurrency(), await queue.get_global_rate_limit()) == (None, None)


async def test_a_paused_worker_starts_nothing_until_it_is_resumed(queue: Queue) -> None:
    """(h): worker.pause() did nothing in 3.0.4."""
    worked: list[str] = []

    async def work(job: Job) -> object:
        worked.append(job.id)
        return job.data

    async with queue.process(work, concurrency=5) as paused:
        await paused.pause()
        assert paused.is_paused
        jobs = await queue.add_bulk([("work", i) for i in range(20)])
        # Another worker comes and goes, so there was time to start one.
        async with queue.process(echo, name="other") as other:
            await other.wait_idle("10s")
        assert worked == []
        late = await queue.add("work", "late")
        await paused.resume()
        assert await late.result("10s") == "late"
    assert await queue.gather(jobs, timeout="10s") == list(range(20))


@pytest.mark.parametrize("kind", KINDS)
async def test_events_go_on_after_errors_of_the_server(private_server: PrivateServer, kind: Kind) -> None:
    """(i): the loop of QueueEvents ended for good with the first error that it did not know."""
    server = private_server(kind, persistent=True)
    async with Queue("q", server.url) as queue, queue.events(kinds=(Added,)) as events:
        for trouble in (kill_clients, forget_scripts, refuse_clients, restart):
            await heard_next(queue, events)
            trouble(server)
        await heard_next(queue, events)


async def heard_next(queue: Queue, events: Any) -> None:
    job = await queue.add("work", 1)
    event = await asyncio.wait_for(anext(aiter(events)), 30)
    assert event.job_id == job.id


def kill_clients(server: Server) -> None:
    with server.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def forget_scripts(server: Server) -> None:
    with server.client() as client:
        client.script_flush()


def refuse_clients(server: Server) -> None:
    """Whoever comes back at once is told that there are too many."""
    with server.client() as client:
        client.config_set("maxclients", 1)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        client.config_set("maxclients", 1_000)


def restart(server: Server) -> None:
    server.restart()


@pytest.mark.parametrize("decode", [False, True])
async def test_a_client_of_either_kind_gives_all_data(
    url: str, prefix: str, server: Server, decode: bool
) -> None:
    """Issue 3401: with a client that does not decode answers, the data of jobs was empty."""
    client = redis.asyncio.Redis(port=server.port, decode_responses=decode)
    async with Queue("q", client, prefix=prefix) as queue, queue.process(echo):
        job = await queue.add("wörk", {"to": "ü", "raw": b"\xff"})
        assert await job.result("10s") == {"to": "ü", "raw": b"\xff"}
        assert (await job.refresh()).name == "wörk"


@pytest.mark.parametrize("value", [None, True, [], {"a": [1]}, 0, "", math.inf])
async def test_return_values_come_back_as_they_were(queue: Queue, value: object) -> None:
    """The port's values are JSON: NaN and infinity break readers, None is lost among failures."""
    async with queue.process(echo):
        assert await queue.call("work", value, wait="10s") == value
        assert math.isnan(await queue.call("work", math.nan, wait="10s"))


async def test_every_start_and_every_end_is_told_to_listeners(queue: Queue) -> None:
    """The port tells no `active` of a job that came with the end of the one before."""
    told: dict[str, list[str]] = {"active": [], "completed": []}
    worker = queue.process(echo, concurrency=3)
    worker.on("active", lambda job: told["active"].append(job.id))
    worker.on("completed", lambda job, value: told["completed"].append(job.id))
    jobs = await queue.add_bulk([("work", i) for i in range(100)])
    async with queue.events(kinds=(Completed,)) as events:
        async with worker:
            await worker.wait_idle("10s")
        ended = [(await anext(aiter(events))).job_id for _ in jobs]  # type: ignore[attr-defined]
    ids = sorted(job.id for job in jobs)
    assert sorted(told["active"]) == sorted(told["completed"]) == sorted(ended) == ids
