"""Waiting for results: a wait that began in time gets the value, whatever its size and what is kept."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
import redis

from bullrush import (
    ConnectionLost,
    InvalidOption,
    Job,
    JobCrashed,
    JobFailed,
    JobRemoved,
    Keep,
    Queue,
    ResultTimeout,
)
from bullrush._core.codec import encode
from bullrush.events import results as module
from tests.conftest import MakeProxy, PrivateServer
from tests.servers import Server
from tests.waiting import wait_until_async

LARGE = "x" * 5000


@pytest.fixture
async def queue(url: str, prefix: str) -> AsyncIterator[Queue]:
    async with Queue("jobs", url, prefix=prefix) as queue:
        yield queue


async def echo(job: Job) -> object:
    if job.name == "fail":
        raise ValueError(job.data)
    return job.data


class Gate:
    """A handler that waits until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.started = 0

    async def __call__(self, job: Job) -> object:
        self.started += 1
        await self.open.wait()
        return await echo(job)


async def test_a_value(queue: Queue) -> None:
    async with queue.process(echo):
        job = await queue.add("x", {"a": [1, 2]})
        assert await job.result("10s") == {"a": [1, 2]}
        assert await job.result("10s") == {"a": [1, 2]}
        assert await queue.get_result(job.id) == {"a": [1, 2]}
        assert await queue.call("x", None, wait="10s") is None


async def test_a_failure_has_its_attributes(queue: Queue) -> None:
    gate = Gate()
    async with queue.process(gate):
        waiting = asyncio.create_task((await queue.add("fail", "no", attempts=2, backoff=0)).result("10s"))
        await wait_until_async(lambda: gate.started)
        gate.open.set()
        with pytest.raises(JobFailed, match="ValueError: no") as caught:
            await waiting
    error = caught.value
    assert (error.reason, error.error_type, error.attempts_made) == ("no", "ValueError", 2)
    assert error.stacktrace[-1] == "ValueError: no"


async def test_the_outcome_of_a_failed_attempt_is_no_result(queue: Queue) -> None:
    tries: list[str] = []

    async def second_time(job: Job) -> str:
        tries.append(job.id)
        if len(tries) == 1:
            raise ValueError("once")
        return "good"

    async with queue.process(second_time):
        job = await queue.add("x", attempts=2, backoff="200ms")
        await wait_until_async(lambda: is_delayed(job))
        assert await job.result("10s") == "good"


async def is_delayed(job: Job) -> bool:
    return await job.get_state() == "delayed"


async def test_the_wait_ends_and_the_job_goes_on(queue: Queue) -> None:
    gate = Gate()
    async with queue.process(gate):
        job = await queue.add("x", 5)
        with pytest.raises(ResultTimeout, match=r"within 0\.1 s") as caught:
            await job.result("100ms")
        assert caught.value.job_id == job.id
        gate.open.set()
        assert await job.result("10s") == 5


@pytest.mark.parametrize("events", ["all", "outcomes", "off"])
@pytest.mark.parametrize("keep", [True, False], ids=["kept not at all", "kept"])
@pytest.mark.parametrize("value", ["small", LARGE], ids=["small", "large"])
async def test_a_wait_that_began_in_time_gets_the_value(
    url: str, prefix: str, events: str, keep: bool, value: str
) -> None:
    """The worker learns that somebody waits only by its next call: it packs this value before."""
    gate = Gate()
    async with (
        Queue("jobs", url, prefix=prefix, events=events) as queue,  # type: ignore[arg-type]
        queue.process(gate, lease="60s", concurrency=3),
    ):
        jobs = [await queue.add("x", value, remove_on_complete=keep) for _ in range(3)]
        await wait_until_async(lambda: gate.started == 3)
        waits = [asyncio.create_task(job.result("10s")) for job in jobs]
        await wait_until_async(lambda: listening(queue))
        gate.open.set()
        assert await asyncio.gather(*waits) == [value] * 3


async def listening(queue: Queue) -> bool:
    results = queue._results
    return results is not None and results._listen_at > 0 and not results._unchecked


@pytest.mark.parametrize("events", ["all", "outcomes", "off"])
async def test_a_failure_that_is_not_kept(url: str, prefix: str, events: str) -> None:
    gate = Gate()
    async with Queue("jobs", url, prefix=prefix, events=events) as queue, queue.process(gate):  # type: ignore[arg-type]
        wait = asyncio.create_task((await queue.add("fail", "no", remove_on_fail=True)).result("10s"))
        await wait_until_async(lambda: listening(queue))
        gate.open.set()
        with pytest.raises(JobFailed) as caught:
            await wait
    assert (caught.value.reason, caught.value.error_type) == ("no", "ValueError")


async def test_more_than_is_kept(queue: Queue) -> None:
    """Fan-in: most of these are evicted long before they are asked for."""
    async with queue.process(echo, concurrency=100, remove_on_complete=Keep(10)):
        jobs = await queue.add_bulk([("x", n) for n in range(3000)])
        assert await queue.gather(jobs, timeout="30s") == list(range(3000))
        assert [await job.result("10s") for job in jobs[:5]] == [0, 1, 2, 3, 4]


async def test_gather_asks_in_pages(queue: Queue, redis_client: redis.Redis) -> None:
    jobs = await queue.add_bulk([("x", n) for n in range(5000)])
    before = calls(redis_client)
    wait = asyncio.create_task(queue.gather(jobs))
    await wait_until_async(lambda: listening(queue))
    assert calls(redis_client) - before < 25
    wait.cancel()


def calls(client: redis.Redis) -> int:
    stats = client.info("commandstats")
    names = ("cmdstat_eval", "cmdstat_evalsha", "cmdstat_xread", "cmdstat_xrange")
    return sum(stats[name]["calls"] for name in names if name in stats)


async def test_gather_raises_the_first_failure(queue: Queue) -> None:
    async with queue.process(echo):
        jobs = await queue.add_bulk([("x", 1), ("fail", "no"), ("x", 2)])
        with pytest.raises(JobFailed, match="no"):
            await queue.gather(jobs, timeout="10s")


async def test_gather_in_the_order_asked_with_repeats(queue: Queue) -> None:
    async with queue.process(echo):
        jobs = await queue.add_bulk([("x", n) for n in range(20)])
        asked = random.Random(1).choices(jobs, k=50)
        assert await queue.gather(asked, timeout="10s") == [job.data for job in asked]
    assert await queue.gather([]) == []


async def test_as_completed_loads_outcomes(queue: Queue) -> None:
    async with queue.process(echo, concurrency=10):
        jobs = await queue.add_bulk([("x", n) for n in range(50)] + [("fail", "no")])
        found = {job.id: job async for job in queue.as_completed(jobs, timeout="10s")}
    assert set(found) == {job.id for job in jobs}
    assert [job.returnvalue for job in jobs[:50]] == list(range(50))
    assert (jobs[50].failed_reason, jobs[50].state, jobs[0].state) == ("no", "failed", "completed")
    assert jobs[0].finished_on


async def test_as_completed_says_what_is_missing(queue: Queue) -> None:
    jobs = await queue.add_bulk([("x", n) for n in range(3)])
    with pytest.raises(ResultTimeout, match="3 of the jobs"):
        [job async for job in queue.as_completed(jobs, timeout="100ms")]


# Jobs that are gone


async def test_too_late(queue: Queue, redis_client: redis.Redis) -> None:
    async with queue.process(echo):
        job = await queue.add("x", 5, remove_on_complete=True)
        await wait_until_async(lambda: gone(job))
    # Evicted, but still in the stream, from the adding on.
    assert await job.result("10s") == 5
    redis_client.xtrim(queue.keys["events"], maxlen=0, approximate=False)
    with pytest.raises(JobRemoved) as caught:
        await job.result("10s")
    assert caught.value.job_id == job.id
    with pytest.raises(JobRemoved):
        await queue.get_result("never-there", timeout="10s")


async def gone(job: Job) -> bool:
    return await job.get_state() == "unknown"


@pytest.mark.parametrize("events", ["all", "outcomes", "off"])
async def test_removed_while_it_was_waited_for(url: str, prefix: str, events: str) -> None:
    async with Queue("jobs", url, prefix=prefix, events=events) as queue:  # type: ignore[arg-type]
        job = await queue.add("x")
        wait = asyncio.create_task(job.result("10s"))
        await wait_until_async(lambda: listening(queue))
        assert await job.remove()
        with pytest.raises(JobRemoved):
            await wait


@pytest.mark.parametrize("again", [True, False])
async def test_obliterated_while_it_was_waited_for(
    queue: Queue, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids may begin anew: the next job has the same one."""
    monkeypatch.setattr("bullrush.events.reader.BLOCK", 0.2)
    job = await queue.add("x")
    wait = asyncio.create_task(job.result("20s"))
    await wait_until_async(lambda: listening(queue))
    await queue.obliterate(force=True)
    if again:
        await queue.add("y")
    with pytest.raises(JobRemoved):
        await wait


async def test_a_queue_that_is_not_there(queue: Queue) -> None:
    with pytest.raises(JobRemoved):
        await queue.get_result("1", timeout="10s")


async def test_a_crash_that_the_reaper_found(queue: Queue, redis_client: redis.Redis) -> None:
    """What the reaper writes, by hand: the entry names the job, the reason is in its outcome."""
    job = await queue.add("x")
    wait = asyncio.create_task(job.result("10s"))
    await wait_until_async(lambda: listening(queue))
    redis_client.zadd(queue.keys["failed"], {job.id: 5})
    redis_client.hset(
        queue.keys["outcomes"], job.id, encode([1, 0, 5, 0, 3, "", "died 3 times", "JobCrashed", ""])
    )
    redis_client.xadd(queue.keys["events"], {"n": 2, "o": 9, "stalled": "", "crashed": job.id})
    with pytest.raises(JobCrashed, match="died 3 times"):
        await wait


async def test_a_job_of_another_queue_is_refused(queue: Queue) -> None:
    other = await Queue("other", queue.app).add("x")
    with pytest.raises(InvalidOption, match="other"):
        await queue.gather([other])


# Connections


async def test_waits_survive_lost_connections(
    server: Server, url: str, prefix: str, make_proxy: MakeProxy
) -> None:
    proxy, gate = make_proxy(server), Gate()
    async with (
        Queue("jobs", url, prefix=prefix) as working,
        Queue("jobs", proxy.url, prefix=prefix) as queue,
        working.process(gate, concurrency=5),
    ):
        jobs = await queue.add_bulk([("x", n) for n in range(5)])
        wait = asyncio.create_task(queue.gather(jobs, timeout="20s"))
        await wait_until_async(lambda: listening(queue))
        proxy.reset()
        gate.open.set()
        assert await wait == [0, 1, 2, 3, 4]


async def test_a_lost_connection_makes_look_again(
    server: Server, url: str, prefix: str, redis_client: redis.Redis, make_proxy: MakeProxy
) -> None:
    """A failover may have lost the entries, without a gap in the numbers."""
    proxy = make_proxy(server)
    async with Queue("jobs", proxy.url, prefix=prefix) as queue:
        job = await queue.add("x")
        wait = asyncio.create_task(job.result("4s"))
        await wait_until_async(lambda: listening(queue))
        await wait_until_async(lambda: proxy.calls("XREAD"))
        redis_client.zadd(queue.keys["completed"], {job.id: 5})
        redis_client.hset(queue.keys["outcomes"], job.id, encode([0, 1, 5, 0, 1, "w", "value"]))
        proxy.reset()
        assert await wait == "value"


async def test_a_gap_makes_look_again(queue: Queue, redis_client: redis.Redis) -> None:
    """The entries with the outcomes are trimmed before the reader comes back."""
    job = await queue.add("x")
    wait = asyncio.create_task(job.result("10s"))
    await wait_until_async(lambda: listening(queue))
    redis_client.zadd(queue.keys["completed"], {job.id: 5})
    redis_client.hset(queue.keys["outcomes"], job.id, encode([0, 1, 5, 0, 1, "w", "value"]))
    assert not wait.done()
    redis_client.xadd(queue.keys["events"], {"n": 9, "o": 9, "drained": ""})
    assert await wait == "value"


async def test_a_server_that_went_away_ends_the_wait(
    private_server: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWAL", 0.5)
    server = private_server()
    queue = Queue("jobs", server.url, request_timeout="500ms")
    job = await queue.add("x")
    wait = asyncio.create_task(job.result())
    await wait_until_async(lambda: listening(queue))
    server.kill()
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(wait, 20)
    server.start()


async def test_a_wait_that_is_cancelled_is_forgotten(queue: Queue) -> None:
    job = await queue.add("x")
    wait = asyncio.create_task(job.result())
    await wait_until_async(lambda: listening(queue))
    wait.cancel()
    await asyncio.gather(wait, return_exceptions=True)
    assert queue._results is not None
    assert queue._results._waits == {}


async def test_closing_ends_waits(queue: Queue) -> None:
    job = await queue.add("x")
    wait = asyncio.create_task(job.result())
    await wait_until_async(lambda: listening(queue))
    await queue.close()
    with pytest.raises(ConnectionLost, match="closed"):
        await wait


async def test_the_reader_leaves_when_nobody_waits(
    queue: Queue, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER", 0.05)
    async with queue.process(echo):
        for n in range(3):
            assert await queue.call("x", n, wait="10s") == n
            await wait_until_async(lambda: queue._results is not None and queue._results._task is None)
    assert not [each for each in redis_client.client_list() if each["cmd"] == "xread"]
