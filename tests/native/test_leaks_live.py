"""Connections, workers and failures leave nothing behind: memory, descriptors, threads, tasks, clients, keys."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator

import pytest
import redis

from bullrush import ConnectionLost, Job, Queue, Worker, sync
from tests.native.growth import no_growth, no_growth_async
from tests.servers import free_port
from tests.waiting import wait_until, wait_until_async


async def double(job: Job) -> object:
    return job.data


def blocking(job: sync.Job) -> object:
    return job.data


@pytest.fixture(autouse=True)
def no_log() -> Iterator[None]:
    """Pytest keeps every log record."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Counts:
    """What the server and the loop hold."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.alone = self._clients()

    def _clients(self) -> int:
        return len(self._client.client_list())

    async def __call__(self) -> dict[str, int]:
        await wait_until_async(
            lambda: self._clients() <= self.alone, what="the server to see that connections are closed"
        )
        return {"tasks": len(asyncio.all_tasks()), "keys": len(self._client.keys())}


def live_steps(url: str, prefix: str) -> dict[str, Callable[[], Awaitable[object]]]:
    async def connect() -> None:
        async with Queue("q", url, prefix=prefix) as queue:
            await queue.add("n", 1, job_id="own")

    async def work() -> None:
        async with Queue("q", url, prefix=prefix) as queue, Worker(queue, double, remove_on_complete=True):
            job = await queue.add("n", {"a": 1}, remove_on_complete=True)
            assert await job.result(timeout="10s") == {"a": 1}

    async def work_in_threads() -> None:
        async with Queue("q", url, prefix=prefix) as queue, Worker(queue, blocking, remove_on_complete=True):
            job = await queue.add("n", 5, remove_on_complete=True)
            assert await job.result(timeout="10s") == 5

    async def cut() -> None:
        async with Queue("q", url, prefix=prefix) as queue:
            await queue.count()
            with redis.Redis.from_url(url) as client:
                client.client_kill_filter(_type="normal", skipme=True)
            await wait_until_async(lambda: counted(queue), what="a new connection")

    async def fail_to_connect() -> None:
        async with Queue("q", f"redis://127.0.0.1:{PORT}", prefix=prefix, request_timeout="100ms") as queue:
            with contextlib.suppress(ConnectionLost):
                await queue.add("n")

    return {
        "connect": connect,
        "work": work,
        "threads": work_in_threads,
        "cut": cut,
        "no server": fail_to_connect,
    }


PORT = free_port()
LIVE_BYTES = 8_000  # asyncio and redis-py keep 20 kB of the last round; objects that stay are counted by type
NAMES = ["connect", "work", "threads", "cut", "no server"]


async def counted(queue: Queue) -> bool:
    with contextlib.suppress(ConnectionLost):
        return await queue.count() >= 0
    return False


@pytest.mark.parametrize("name", NAMES)
async def test_what_comes_and_goes_leaves_nothing(
    url: str, prefix: str, redis_client: redis.Redis, name: str
) -> None:
    await no_growth_async(live_steps(url, prefix)[name], 4, also=Counts(redis_client), unit=LIVE_BYTES)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
async def test_many_times_over(url: str, prefix: str, redis_client: redis.Redis, name: str) -> None:
    await no_growth_async(live_steps(url, prefix)[name], 20, also=Counts(redis_client), unit=LIVE_BYTES)


def test_the_blocking_classes(url: str, prefix: str, redis_client: redis.Redis) -> None:
    alone = len(redis_client.client_list())

    def step() -> None:
        with (
            sync.Queue("q", url, prefix=prefix) as queue,
            sync.Consumer(queue) as consumer,
        ):
            queue.add("n", 1, remove_on_complete=True)
            for job in consumer.fetch(1, timeout="10s"):
                job.complete(2)

    def counts() -> dict[str, int]:
        wait_until(lambda: len(redis_client.client_list()) <= alone, what="connections to be closed")
        return {"keys": len(redis_client.keys())}

    no_growth(step, 4, also=counts, unit=LIVE_BYTES)
