"""Who works on a queue, and what they hold."""

from __future__ import annotations

import asyncio
import os
import socket
from datetime import UTC, datetime, timedelta

import pytest
import redis

from bullrush import Consumer, Job, Queue, sync
from tests.waiting import wait_until_async


async def test_a_worker_says_who_it_is_and_what_it_holds(queue: Queue) -> None:
    free = asyncio.Event()

    async def wait(job: Job) -> None:
        await free.wait()

    before = datetime.now(UTC) - timedelta(seconds=5)
    jobs = await queue.add_bulk([("n", n) for n in range(12)])
    async with queue.process(wait, concurrency=12, name="mine", lease="20s"):
        await wait_until_async(lambda: held_is(queue, 12))
        (info,) = await queue.get_workers()
        free.set()
    assert (info.name, info.host, info.pid) == ("mine", socket.gethostname(), os.getpid())
    assert (info.concurrency, info.lease, info.alive, info.held) == (12, 20_000, True, 12)
    assert info.jobs == tuple(job.id for job in jobs)
    assert info.started_at is not None
    assert info.lease_until is not None
    assert before < info.started_at < info.lease_until
    assert await queue.get_workers() == []


async def held_is(queue: Queue, held: int) -> bool:
    return sum(info.held for info in await queue.get_workers()) == held


async def test_workers_come_in_the_order_of_their_start(queue: Queue) -> None:
    async def work(job: Job) -> None:
        pass

    async with queue.process(work, name="first"), Consumer(queue, prefetch=3):
        names = [(info.name, info.concurrency) for info in await queue.get_workers()]
        assert names == [("first", 1), (None, 3)]
        assert await queue.get_workers_count() == 2
    assert await queue.get_workers_count() == 0


async def test_a_queue_that_nobody_opened_has_none(queue: Queue) -> None:
    assert await queue.get_workers() == []
    assert await queue.get_workers_count() == 0


def register(client: redis.Redis, queue: Queue, number: str, deadline: int, host: bytes | None) -> None:
    client.zadd(queue.keys["workers"], {number: deadline})
    if host is not None:
        client.hset(queue.keys["hosts"], number, host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        b"",
        b"{",
        b"\xff\xfe",
        b"[1]",
        b"null",
        b"[" * 100_000,
        b'{"host": 1, "pid": "x", "name": [], "concurrency": true, "lease": 1.5, "started": 1e400}',
        b'{"started": 99999999999999999999}',
    ],
    ids=lambda host: repr(host)[:12],
)
async def test_a_worker_that_said_nothing_readable_is_listed(
    queue: Queue, redis_client: redis.Redis, host: bytes | None
) -> None:
    register(redis_client, queue, "5", 2 * 10**12, host)
    (info,) = await queue.get_workers()
    assert (info.number, info.alive, info.held, info.jobs) == ("5", True, 0, ())
    assert (info.host, info.pid, info.name, info.concurrency, info.lease, info.started_at) == (None,) * 6


async def test_the_dead_are_listed_until_they_were_taken_over(
    queue: Queue, redis_client: redis.Redis
) -> None:
    register(redis_client, queue, "1", 0, b'{"started": 1700000000000}')
    register(redis_client, queue, "2", 1_700_000_000_000, b'{"started": 1700000000001}')
    reaped, dead = await queue.get_workers()
    assert (reaped.number, reaped.alive, reaped.lease_until) == ("1", False, None)
    assert (dead.number, dead.alive) == ("2", False)
    assert dead.lease_until == datetime.fromtimestamp(1_700_000_000, UTC)
    assert await queue.get_workers_count() == 2


async def test_the_ids_are_bounded_and_their_number_is_not(queue: Queue, redis_client: redis.Redis) -> None:
    register(redis_client, queue, "1", 0, None)
    redis_client.sadd(queue.keys.held("1"), *range(1, 2_501))
    (info,) = await queue.get_workers()
    assert (info.held, len(info.jobs), len(set(info.jobs))) == (2_500, 1_000, 1_000)


async def test_blocking_code_sees_the_same(queue: Queue, url: str, prefix: str) -> None:
    async with Consumer(queue):
        with sync.Queue("q", url, prefix=prefix) as blocking:
            (info,) = await asyncio.to_thread(blocking.get_workers)
            assert await asyncio.to_thread(blocking.get_workers_count) == 1
        assert (info.number, info.pid) == ((await queue.get_workers())[0].number, os.getpid())
