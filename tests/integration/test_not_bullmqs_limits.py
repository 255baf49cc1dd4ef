"""What limits of rate do in BullMQ and its Python port, and must not do here; each docstring says what."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
import redis.asyncio

from bullrush import Job, Queue, RateLimit, RateLimitError
from tests.integration.test_limits import assert_window, claims
from tests.servers import Server
from tests.waiting import wait_until, wait_until_async


async def nothing(job: Job) -> None:
    """A handler of no work."""


def server_ms(client: redis.Redis) -> int:
    seconds, micros = client.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def test_no_burst_of_twice_the_rate_at_the_edge_of_a_window(
    queue: Queue, redis_client: redis.Redis
) -> None:
    """Its window begins with the first start and ends as a whole: many starts before the edge, all of them
    again behind it.
    """
    limit = RateLimit(10, "200ms")
    async with queue.process(nothing, concurrency=50, limiter=limit) as worker:
        for _ in range(4):
            await queue.add("opens the window", 0)
            await worker.wait_idle("10s")
            opened = claims(redis_client, queue)[-1]
            wait_until(lambda since=opened: server_ms(redis_client) >= since + 170)
            await queue.add_bulk([("work", i) for i in range(19)])
            await worker.wait_idle("10s")
    times = claims(redis_client, queue)
    assert len(times) == 80
    assert_window(times, limit)


def by_url(server: Server) -> str:
    return server.url


def by_client(server: Server) -> redis.asyncio.Redis:
    return redis.asyncio.Redis(port=server.port)


def by_impatient_client(server: Server) -> redis.asyncio.Redis:
    return redis.asyncio.Redis(port=server.port, socket_timeout=0.1)


@pytest.mark.parametrize("connection", [by_url, by_client, by_impatient_client])
async def test_a_worker_fetches_again_window_after_window(
    url: str, prefix: str, server: Server, redis_client: redis.Redis, connection: Callable[[Server], object]
) -> None:
    """The port's worker never fetched again after the first window, because the time limit of the client's
    socket ended its wait; without that limit 500 ms became 5 s, which would take 35 s here.
    """
    limit = RateLimit(2, "500ms")
    async with Queue("q", connection(server), prefix=prefix) as queue:  # type: ignore[arg-type]
        await queue.add_bulk([("work", i) for i in range(16)])
        async with queue.process(nothing, limiter=limit) as worker:
            await worker.wait_idle("20s")
    times = claims(redis_client, queue)
    assert len(times) == 16
    assert_window(times, limit)


@pytest.mark.parametrize("own", [RateLimit(1_000, "1h"), RateLimit(1, "1h"), RateLimit(1_000, "1ms")])
async def test_max_and_duration_come_from_the_same_place(
    queue: Queue, redis_client: redis.Redis, own: RateLimit
) -> None:
    """Its `max` comes from the queue while `duration` comes from the worker: a limit that nobody has set."""
    limit = RateLimit(3, "150ms")
    await queue.set_global_rate_limit(limit)
    await queue.add_bulk([("work", i) for i in range(15)])
    async with queue.process(nothing, concurrency=20, limiter=own) as worker:
        await worker.wait_idle("20s")
    times = claims(redis_client, queue)
    assert len(times) == 15
    assert_window(times, limit)
    assert times[2] == times[0], "three at once, as the queue says"


async def test_a_queue_is_held_by_hand_without_any_limit(queue: Queue, redis_client: redis.Redis) -> None:
    """Its rateLimit(ms) does nothing as long as no worker has a limiter."""
    before = server_ms(redis_client)
    await queue.rate_limit("300ms")
    await queue.add_bulk([("work", i) for i in range(5)])
    async with queue.process(nothing, concurrency=5) as worker:
        await worker.wait_idle("10s")
    assert claims(redis_client, queue)[0] >= before + 300


async def test_a_handler_holds_its_queue_without_any_limit(queue: Queue, redis_client: redis.Redis) -> None:
    """The same from a handler; and the port has no RateLimitError at all."""
    held: list[int] = []

    async def once(job: Job) -> None:
        if not held:
            held.append(server_ms(redis_client))
            raise RateLimitError("300ms")

    first, *_ = await queue.add_bulk([("work", i) for i in range(5)])
    async with queue.process(once, prefetch=0) as worker:
        await worker.wait_idle("10s")
    assert [at for at in claims(redis_client, queue)[1:] if at < held[0] + 300] == []
    await first.refresh()
    assert (first.state, first.attempts_made) == ("completed", 0)


async def test_lifting_a_limit_wakes_a_worker_that_waits_for_its_window(queue: Queue) -> None:
    """Its worker sleeps up to maximumRateLimitDelay, 30 s, whatever is set meanwhile."""
    await queue.set_global_rate_limit(RateLimit(1, "1h"))
    jobs = await queue.add_bulk([("work", i) for i in range(5)])
    async with queue.process(nothing):
        await jobs[0].result("10s")
        await wait_until_async(queue.get_rate_limit_ttl)
        await queue.set_global_rate_limit(None)
        await queue.gather(jobs, timeout="20s")
