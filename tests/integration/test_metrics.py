"""What a queue tells of its minutes: how many jobs ended, and how long they waited and ran."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import redis

from bullrush import (
    InvalidOption,
    InvalidOptionType,
    Job,
    Latencies,
    Metrics,
    Queue,
    UnrecoverableError,
    sync,
)
from bullrush.operations.metrics import PER_MINUTE
from bullrush.worker import meter
from tests.conftest import MakeProxy
from tests.servers import Server
from tests.waiting import wait_until_async

MINUTE = 60_000


async def work(job: Job) -> None:
    if job.name == "bad":
        raise UnrecoverableError("no")
    await asyncio.sleep(job.data or 0)  # time is the subject


async def finish(queue: Queue, good: int, bad: int) -> None:
    """Run jobs to their end, in a worker that leaves."""
    await queue.add_bulk([("good", None)] * good + [("bad", None)] * bad)
    async with queue.process(work, concurrency=10) as worker:
        await worker.wait_idle(timeout="20s")


def summed(metrics: Metrics) -> int:
    return sum(point.count for point in metrics.points)


async def test_jobs_are_counted_by_how_they_ended(queue: Queue) -> None:
    await finish(queue, 30, 4)
    completed, failed = await queue.get_metrics("completed"), await queue.get_metrics("failed")
    assert (completed.kind, completed.total, summed(completed)) == ("completed", 30, 30)
    assert (failed.kind, failed.total, summed(failed)) == ("failed", 4, 4)
    assert completed.wait.count == 34
    assert completed.run.count == 30
    assert (failed.wait.count, failed.run.count) == (34, 30)


async def test_without_a_range_it_is_the_last_hour_and_no_minute_is_missing(queue: Queue) -> None:
    await queue.add("good")
    metrics = await queue.get_metrics("completed")
    assert (metrics.total, metrics.wait, metrics.run) == (0, Latencies(), Latencies())
    minutes = [point.at for point in metrics.points]
    assert len(minutes) == 60
    assert [b - a for a, b in pairwise(minutes)] == [MINUTE] * 59
    assert minutes[-1] % MINUTE == 0
    assert {point.count for point in metrics.points} == {0}


async def test_latencies_are_what_jobs_took(queue: Queue) -> None:
    await queue.add_bulk([("good", 0.15)] * 5)
    async with queue.process(work, concurrency=5) as worker:
        await worker.wait_idle(timeout="20s")
    run = (await queue.get_metrics("completed")).run
    assert run.count == 5
    assert 140 <= run.p50 <= run.p95 <= run.max
    assert run.merge(run).count == 10


def minute_of(redis_client: redis.Redis) -> int:
    return int(redis_client.time()[0]) // 60


async def test_a_range_is_read_from_tally_and_ring_alike(queue: Queue, redis_client: redis.Redis) -> None:
    await queue.add("good")
    now = minute_of(redis_client)
    tally = {"completed": now * PER_MINUTE + 1, "past": f"c{now - 1}:2 f{now - 1}:5 c{now - 4}:3"}
    redis_client.hset(queue.keys["meta"], mapping=tally)
    ring = {f"c{(now - 5) % 10080}": f"{now - 5} 4 0", f"c{(now - 6) % 10080}": f"{now - 6 - 10080} 100 100"}
    ring |= {
        f"h{(now - 5) % 1440}": f"{now - 5}|5:2|40:1",
        f"h{(now - 6) % 1440}": f"{now - 6 - 1440}|5:9|5:9",
    }
    redis_client.hset(queue.keys["metrics"], mapping={**ring, "completed": 1004, "failed": 100})
    start = (now - 6) * MINUTE + 12_345
    metrics = await queue.get_metrics("completed", start=start, end=datetime.fromtimestamp(now * 60, UTC))
    assert [point.count for point in metrics.points] == [0, 4, 3, 0, 0, 2, 1]
    assert metrics.points[0].at == (now - 6) * MINUTE
    assert metrics.total == 1010
    assert (metrics.wait.count, metrics.run.count) == (2, 1)
    failed = await queue.get_metrics("failed", start=start, end=(now - 1) * MINUTE + 59_999)
    assert [point.count for point in failed.points] == [0, 0, 0, 0, 0, 5]
    assert failed.total == 105


async def test_a_range_ends_where_the_ring_does_and_now(queue: Queue, redis_client: redis.Redis) -> None:
    await queue.add("good")
    later = datetime.now(UTC) + timedelta(days=300)
    metrics = await queue.get_metrics("completed", start=10**11, end=later)
    assert len(metrics.points) == 7 * 24 * 60
    assert abs(metrics.points[-1].at // MINUTE - minute_of(redis_client)) <= 1
    assert (await queue.get_metrics("completed", start=later)).points == ()
    long_ago = await queue.get_metrics("completed", end=10**11)
    assert long_ago.points == ()


async def test_what_cannot_be_asked_for_is_refused(queue: Queue) -> None:
    with pytest.raises(InvalidOption, match="kind='active'"):
        await queue.get_metrics("active")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="after end"):
        await queue.get_metrics("failed", start=2 * 10**12, end=10**12)
    with pytest.raises(InvalidOptionType, match="start"):
        await queue.get_metrics("failed", start="1h")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="time zone"):
        await queue.get_metrics("failed", end=datetime(2026, 1, 1))


async def test_what_others_wrote_into_the_ring_hurts_nobody(queue: Queue, redis_client: redis.Redis) -> None:
    await queue.add("good")
    now = minute_of(redis_client)
    broken = {f"c{now % 10080}": b"\xff", f"h{now % 1440}": f"{now}|99999:1 x 5:2|" + "9" * 400}
    redis_client.hset(queue.keys["metrics"], mapping=broken)
    redis_client.hset(queue.keys["meta"], mapping={"completed": "x", "failed": "-1", "past": "nonsense c1"})
    metrics = await queue.get_metrics("completed", start=(now - 1) * MINUTE)
    assert summed(metrics) == 0
    assert metrics.wait.count == 2


async def told(queue: Queue, runs: int) -> bool:
    return (await queue.get_metrics("completed")).run.count == runs


async def test_a_worker_tells_while_it_runs(
    queue: Queue, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "EVERY", 0.1)
    await queue.add_bulk([("good", None)] * 5)
    async with queue.process(work):
        await wait_until_async(lambda: told(queue, 5))
        await queue.add("good")
        await wait_until_async(lambda: told(queue, 6))
    assert (await queue.get_metrics("completed")).total == 6


async def test_a_worker_that_did_nothing_does_not_call(
    server: Server, url: str, prefix: str, make_proxy: MakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "EVERY", 0.01)
    proxy = make_proxy(server)
    async with Queue("q", proxy.url, prefix=prefix) as queue:
        call = proxy.drop_request("measure")
        async with queue.process(work) as worker:
            services = worker._running_services
            assert services is not None
            looked_at = services._meter._looked_at
            await wait_until_async(lambda: services._meter._looked_at != looked_at)
        assert not call.happened


async def test_what_could_not_be_told_goes_with_the_next_call(
    server: Server, url: str, prefix: str, make_proxy: MakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "EVERY", 0.1)
    proxy = make_proxy(server)
    async with Queue("q", proxy.url, prefix=prefix) as queue:
        lost = proxy.drop_request("measure")
        await queue.add_bulk([("good", None)] * 3)
        async with queue.process(work):
            await wait_until_async(lambda: lost.happened)
        metrics = await queue.get_metrics("completed")
        assert (metrics.total, metrics.run.count) == (3, 3)


async def test_obliterating_takes_them_along(queue: Queue, redis_client: redis.Redis) -> None:
    await finish(queue, 3, 0)
    assert redis_client.exists(queue.keys["metrics"])
    await queue.obliterate(force=True)
    assert redis_client.keys() == []
    assert (await queue.get_metrics("completed")).total == 0


async def test_blocking_code_reads_the_same(queue: Queue, url: str, prefix: str) -> None:
    await finish(queue, 3, 2)
    with sync.Queue("q", url, prefix=prefix) as blocking:
        metrics = await asyncio.to_thread(blocking.get_metrics, "failed")
    assert metrics.total == summed(metrics) == 2
