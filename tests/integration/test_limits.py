"""Limits on starts: rates, bursts, concurrency, holding the queue; by the server's clock, over all workers."""

from __future__ import annotations

import asyncio

import pytest
import redis

from bullrush import InvalidOption, InvalidOptionType, Job, Queue, RateLimit, RateLimitError
from tests.lua.script_calls import NUMBER, ScriptQueue
from tests.waiting import wait_until_async


async def nothing(job: Job) -> None:
    """A handler of no work."""


class Crew:
    """A handler that holds its jobs until it is told, and counts them."""

    def __init__(self) -> None:
        self.running = self.most = self.done = 0
        self.gate = asyncio.Event()

    async def hold(self, job: Job) -> None:
        await self._run(self.gate.wait())

    async def turn(self, job: Job) -> None:
        await self._run(asyncio.sleep(0.001))  # time is the subject

    async def _run(self, work: object) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await work  # type: ignore[misc]
        self.running -= 1
        self.done += 1


def claims(client: redis.Redis, queue: Queue) -> list[int]:
    """The server's time of every claim, in ms, in order."""
    found: list[int] = []
    for id, fields in client.xrange(queue.keys["events"]):
        listed = fields.get(b"active", b"").split()
        found += [int(id.split(b"-")[0])] * len(listed)
    return found


def calls(client: redis.Redis) -> int:
    """How many scripts the server has run."""
    stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


def assert_window(times: list[int], limit: RateLimit) -> None:
    """In no window of `duration` are more than `max`."""
    spans = [later - first for first, later in zip(times, times[limit.max :], strict=False)]
    assert not [span for span in spans if span < limit.duration], (limit, times)


# A rate.


async def test_no_window_has_more_than_its_max(queue: Queue, redis_client: redis.Redis) -> None:
    limit = RateLimit(5, "100ms")
    await queue.add_bulk([("work", i) for i in range(60)])
    # Somebody who looked again every two seconds only would need 24 s.
    async with queue.process(nothing, concurrency=20, limiter=limit) as worker:
        await worker.wait_idle("15s")
    times = claims(redis_client, queue)
    assert len(times) == 60
    assert_window(times, limit)
    # The list of starts goes with its last slot.
    await wait_until_async(lambda: not redis_client.exists(queue.keys["limiter"]))


async def test_a_rate_holds_over_all_workers(queue: Queue, redis_client: redis.Redis) -> None:
    limit = RateLimit(7, "150ms")
    await queue.set_global_rate_limit(limit)
    assert await queue.get_global_rate_limit() == limit
    await queue.add_bulk([("work", i) for i in range(50)])
    async with queue.process(nothing, concurrency=5) as one, queue.process(nothing, concurrency=50) as two:
        await one.wait_idle("15s")
        await two.wait_idle("15s")
    times = claims(redis_client, queue)
    assert len(times) == 50
    assert_window(times, limit)


async def test_jobs_that_come_singly_meet_the_same_windows(queue: Queue, redis_client: redis.Redis) -> None:
    limit = RateLimit(3, "60ms")
    async with queue.process(nothing, limiter=limit) as worker:
        for i in range(30):
            await queue.add("work", i)
        await worker.wait_idle("15s")
    times = claims(redis_client, queue)
    assert len(times) == 30
    assert_window(times, limit)


async def test_a_bucket_gives_its_burst_and_then_the_rate(queue: Queue, redis_client: redis.Redis) -> None:
    limit = RateLimit(10, "500ms", burst=4)
    await queue.add_bulk([("work", i) for i in range(24)])
    async with queue.process(nothing, concurrency=30, limiter=limit) as worker:
        await worker.wait_idle("15s")
    times = claims(redis_client, queue)
    assert len(times) == 24
    assert times[3] == times[0]  # the burst comes in one go
    for first in range(24):
        for last in range(first, 24):
            allowed = 4 + (times[last] - times[first]) * limit.max / limit.duration
            assert last - first + 1 <= allowed + 1e-6


async def test_the_queues_rate_replaces_that_of_workers(queue: Queue, redis_client: redis.Redis) -> None:
    limit = RateLimit(2, "100ms")
    await queue.set_global_rate_limit(limit)
    await queue.set_global_concurrency(5)
    await queue.add_bulk([("work", i) for i in range(14)])
    async with queue.process(nothing, concurrency=20, limiter=RateLimit(1000, "1s")) as worker:
        await worker.wait_idle("15s")
    assert_window(claims(redis_client, queue), limit)


async def test_without_a_limit_nothing_of_it_is_left(queue: Queue, redis_client: redis.Redis) -> None:
    await queue.set_global_rate_limit(RateLimit(1, "1h"))
    await queue.set_global_concurrency(3)
    await queue.add_bulk([("work", i) for i in range(5)])
    async with queue.process(nothing, concurrency=5) as worker:
        await wait_until_async(lambda: len(claims(redis_client, queue)) == 1)
        assert await queue.get_rate_limit_ttl() > 3_000_000
        await queue.set_global_rate_limit(None)
        await queue.set_global_concurrency(None)
        await worker.wait_idle("10s")
    assert await queue.get_global_rate_limit() is None
    assert await queue.get_global_concurrency() is None
    assert await queue.get_rate_limit_ttl() == 0
    assert redis_client.hget(queue.keys["meta"], "special") is None


async def test_a_worker_without_a_limit_forgets_nobodys_starts(
    queue: Queue, redis_client: redis.Redis
) -> None:
    """What one worker's limiter counted is not dropped by another that has none."""
    limit = RateLimit(2, "1h")
    await queue.add_bulk([("work", i) for i in range(2)])
    async with queue.process(nothing, limiter=limit) as worker:
        await worker.wait_idle("10s")
    async with queue.process(nothing) as worker:
        await worker.wait_idle("10s")
    await queue.add("work", 3)
    async with queue.process(nothing, limiter=limit):
        await wait_until_async(lambda: queue.get_rate_limit_ttl())
        assert len(claims(redis_client, queue)) == 2


# Concurrency.


async def test_no_more_run_at_a_time_than_may(queue: Queue) -> None:
    await queue.set_global_concurrency(4)
    assert await queue.get_global_concurrency() == 4
    crew = Crew()
    await queue.add_bulk([("work", i) for i in range(200)])
    async with (
        queue.process(crew.turn, concurrency=3) as one,
        queue.process(crew.turn, concurrency=3),
        queue.process(crew.turn, concurrency=50),
    ):
        await one.wait_idle("20s")
    assert (crew.most, crew.done) == (4, 200)


async def test_a_raised_concurrency_acts_at_once(queue: Queue) -> None:
    crew = Crew()
    await queue.set_global_concurrency(1)
    await queue.add_bulk([("work", i) for i in range(10)])
    async with queue.process(crew.hold, concurrency=10):
        await wait_until_async(lambda: crew.running == 1)
        assert await queue.is_maxed()
        await queue.set_global_concurrency(3)
        await wait_until_async(lambda: crew.running == 3, timeout=1.5)
        await queue.set_global_concurrency(None)
        await wait_until_async(lambda: crew.running == 10, timeout=1.5)
        assert not await queue.is_maxed()
        crew.gate.set()


# Holding the queue.


async def test_a_held_queue_starts_nothing_until_its_time(queue: Queue, redis_client: redis.Redis) -> None:
    await queue.rate_limit("400ms")
    seconds, micros = redis_client.time()
    held_at = seconds * 1000 + micros // 1000
    assert 0 < await queue.get_rate_limit_ttl() <= 400
    async with queue.process(nothing) as worker:
        await queue.add("work", 1)
        await worker.wait_idle("10s")
    assert claims(redis_client, queue)[0] >= held_at + 390
    assert await queue.get_rate_limit_ttl() == 0


async def test_none_opens_a_held_queue_at_once(queue: Queue) -> None:
    await queue.rate_limit("1h")
    await queue.add("work", 1)
    async with queue.process(nothing) as worker:
        await wait_until_async(lambda: worker.is_running)
        await queue.rate_limit(None)
        await worker.wait_idle("10s")
    assert (await queue.get_job_counts("completed"))["completed"] == 1


async def test_a_handler_holds_the_queue_and_its_job_is_not_charged(queue: Queue) -> None:
    starts: list[tuple[str, float]] = []

    async def once(job: Job) -> None:
        starts.append((job.id, asyncio.get_running_loop().time()))
        if len(starts) == 1:
            raise RateLimitError("300ms")

    jobs = await queue.add_bulk([("work", i) for i in range(5)])
    async with queue.process(once) as worker:
        await worker.wait_idle("10s")
    # What the worker had claimed beside it waits as well.
    assert starts[1][1] - starts[0][1] >= 0.29
    assert sorted(id for id, _ in starts) == sorted([jobs[0].id, *(job.id for job in jobs)])
    assert (await jobs[0].refresh()).attempts_made == 0


async def test_a_suspect_holds_the_queue_like_any_other(
    queue: Queue, redis_client: redis.Redis, prefix: str
) -> None:
    """Its worker died, so it runs as a suspect; that it raises RateLimitError counts all the same."""
    jobs = [await queue.add("work", i) for i in range(2)]
    dead = ScriptQueue(redis_client, prefix)
    dead.register("dead")
    assert dead.claim(1) == [jobs[0].id]
    deadline = redis_client.zscore(queue.keys["workers"], NUMBER)
    assert deadline is not None
    dead.run("reap", NUMBER, f"{deadline:.0f}", 500, 2, 100, -1, held=dead.held)
    started: list[str] = []

    async def handler(job: Job) -> None:
        started.append(job.id)
        raise RateLimitError("1h")

    async with queue.process(handler):
        await wait_until_async(queue.get_rate_limit_ttl)
        assert await jobs[0].get_state() == "waiting"
    assert started == [jobs[0].id]
    assert redis_client.hget(queue.keys["attempts"], jobs[0].id) == b"0 1 0 0"


async def test_nobody_polls_while_nothing_may_start(queue: Queue, redis_client: redis.Redis) -> None:
    await queue.add_bulk([("work", i) for i in range(100)])
    await queue.rate_limit("1500ms")
    async with queue.process(nothing, concurrency=10) as one, queue.process(nothing, concurrency=10):
        await wait_until_async(lambda: one.is_running)
        before = calls(redis_client)
        await wait_until_async(lambda: claims(redis_client, queue))
        assert calls(redis_client) - before < 20
        await one.wait_idle("10s")


# Pause.


async def test_a_pause_gives_back_what_has_not_started(queue: Queue, redis_client: redis.Redis) -> None:
    crew = Crew()
    jobs = await queue.add_bulk([("work", i) for i in range(20)])
    async with queue.process(crew.hold, concurrency=1, prefetch=10):
        await wait_until_async(lambda: crew.running == 1)
        await queue.pause()
        await wait_until_async(lambda: redis_client.hget(queue.keys["meta"], "held") == b"1")
        line = redis_client.lrange(queue.keys["waiting"], 0, -1)[::-1]
        assert line == [job.id.encode() for job in jobs[1:]]
        crew.gate.set()
        await wait_until_async(lambda: crew.done == 1)
        await queue.resume()
        await wait_until_async(lambda: crew.done == 20)


async def test_an_idle_paused_worker_does_not_poll(queue: Queue, redis_client: redis.Redis) -> None:
    await queue.pause()
    await queue.add_bulk([("work", i) for i in range(100)])
    async with queue.process(nothing, concurrency=10) as worker:
        await wait_until_async(lambda: worker.is_running)
        start, before = asyncio.get_running_loop().time(), calls(redis_client)
        await wait_until_async(lambda: asyncio.get_running_loop().time() > start + 1.5)
        assert calls(redis_client) - before < 15
        await queue.resume()
        await worker.wait_idle("10s")


# Mistakes.


async def test_wrong_limits_are_refused(queue: Queue) -> None:
    with pytest.raises(InvalidOption):
        await queue.set_global_concurrency(0)
    with pytest.raises(InvalidOptionType):
        await queue.set_global_concurrency("3")  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionType, match="RateLimit"):
        await queue.set_global_rate_limit((5, "1s"))  # type: ignore[arg-type]
    with pytest.raises(InvalidOption):
        await queue.rate_limit(0)
    assert await queue.get_global_concurrency() is None
