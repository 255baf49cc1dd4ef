"""When queues connect, and how they get over loops, forks, closes, a frozen server, an obliterate."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import redis

from bullrush import Bullrush, ConnectionLost, Job, NotPaused, Queue, Worker
from bullrush.errors import JobIsActive
from tests.conftest import PrivateServer
from tests.servers import free_port
from tests.waiting import wait_until, wait_until_async


async def nothing(job: Job) -> None:
    pass


def data_clients(client: redis.Redis) -> int:
    """How many clients are connected, this one apart."""
    return len(client.client_list()) - 1


# Constructors.


@pytest.mark.filterwarnings("ignore:a worker of queue:ResourceWarning")
def test_constructors_do_no_io() -> None:
    """Nothing listens there, no loop runs, and nobody notices."""
    url = f"redis://127.0.0.1:{free_port()}"
    app = Bullrush(url)
    assert app.queue("q") is app.queue("q")
    assert Queue("q", url).name == "q"
    app.worker("q", nothing, concurrency=5)
    Worker("q", nothing, url)
    Worker(Queue("q", app), nothing)


async def test_a_queue_that_was_never_used_closes_without_connecting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}"
        async with Bullrush(url) as app:
            app.queue("q")
        async with Queue("q", url):
            pass
        with pytest.raises(BlockingIOError):
            listener.accept()


async def test_the_queues_of_an_app_share_one_connection(
    url: str, prefix: str, redis_client: redis.Redis
) -> None:
    before = data_clients(redis_client)
    async with Bullrush(url, prefix=prefix) as app:
        for i in range(5):
            await app.queue(f"q{i}").add("work", i)
            await app.queue(f"q{i}").get_job_counts()
        assert data_clients(redis_client) == before + 1
    await wait_until_async(lambda: data_clients(redis_client) == before)


# Loops.


def test_one_loop_after_another(url: str, prefix: str, redis_client: redis.Redis) -> None:
    queue = Queue("q", url, prefix=prefix)
    ids = [asyncio.run(add_one(queue, i)) for i in range(4)]
    assert len(set(ids)) == 4
    assert asyncio.run(queue.get_job_counts("waiting")) == {"waiting": 4}
    asyncio.run(queue.close())
    wait_until(lambda: data_clients(redis_client) == 0, what="all connections to be closed")


async def add_one(queue: Queue, data: object) -> str:
    return (await queue.add("work", data)).id


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_connection_of_a_loop_that_is_gone_takes_no_other_descriptor_along(url: str, prefix: str) -> None:
    """A descriptor closed twice would close whatever got its number in between."""
    queue = Queue("q", url, prefix=prefix)
    for i in range(5):
        asyncio.run(add_one(queue, i))
        asyncio.run(add_one(queue, i))
        pipes = [os.pipe() for _ in range(8)]
        gc.collect()
        for reading, writing in pipes:
            os.write(writing, b"x")
            assert os.read(reading, 1) == b"x"
            os.close(reading)
            os.close(writing)
    assert asyncio.run(queue.get_job_counts("waiting")) == {"waiting": 10}
    asyncio.run(queue.close())


def test_a_worker_in_one_loop_after_another(url: str, prefix: str) -> None:
    runs = Counter[str]()

    async def note(job: Job) -> None:
        runs[job.id] += 1

    queue = Queue("q", url, prefix=prefix)
    worker = queue.process(note)
    for i in range(3):
        asyncio.run(add_one(queue, i))
        asyncio.run(worker.run(until_idle=True))
    assert len(runs) == sum(runs.values()) == 3
    asyncio.run(queue.close())


# Forks.


def in_child(work: Callable[[], object]) -> int:
    """Run it in a fork and return the exit code: 0 = it returned something true."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_is_a_producer_of_its_own(url: str, prefix: str) -> None:
    queue = Queue("q", url, prefix=prefix)
    asyncio.run(add_one(queue, "parent"))

    def child() -> bool:
        ids = [asyncio.run(add_one(queue, "child")) for _ in range(3)]
        return len(set(ids)) == 3

    assert [in_child(child) for _ in range(3)] == [0, 0, 0]
    asyncio.run(add_one(queue, "parent"))
    jobs = asyncio.run(queue.get_jobs("waiting", 0, -1))
    assert len({job.id for job in jobs}) == 11
    assert Counter(job.data for job in jobs) == {"parent": 2, "child": 9}
    asyncio.run(queue.close())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_fork_inside_a_running_loop_leaves_the_parents_connection_alone(
    url: str, prefix: str
) -> None:
    async with Queue("q", url, prefix=prefix) as queue:
        await queue.add_bulk([("work", i) for i in range(200)])
        adding = [asyncio.create_task(queue.add("work", i)) for i in range(500)]
        await asyncio.sleep(0)
        assert in_child(lambda: True) == 0
        jobs = await asyncio.gather(*adding)
        assert len({job.id for job in jobs}) == 500
        assert await queue.get_job_counts("waiting") == {"waiting": 700}


# Closing.


async def test_a_closed_queue_may_be_used_again(url: str, prefix: str, redis_client: redis.Redis) -> None:
    queue = Queue("q", url, prefix=prefix)
    ids = list[str]()
    for i in range(3):
        ids.append(await add_one(queue, i))
        await queue.close()
        await queue.close()
        await wait_until_async(lambda: data_clients(redis_client) == 0)
    assert len(set(ids)) == 3
    assert await queue.count() == 3
    await queue.close()


async def test_close_lets_out_what_is_buffered(url: str, prefix: str) -> None:
    queue = Queue("q", url, prefix=prefix)
    await queue.flush()
    jobs = [queue.add_nowait("work", i) for i in range(20)]
    adding = [asyncio.create_task(queue.add("work", i)) for i in range(500)]
    await asyncio.sleep(0)
    await queue.close()
    assert len(await asyncio.gather(*adding)) == 500
    async with Queue("q", url, prefix=prefix) as other:
        assert await other.count() == 520
        assert {job.id for job in jobs} <= {job.id for job in await other.get_jobs("waiting", 0, -1)}


async def test_close_of_an_idle_queue_does_not_need_the_server(private_server: PrivateServer) -> None:
    server = private_server()
    queue = Queue("q", server.url, request_timeout="3s")
    await queue.add("work", 1)
    server.kill()
    began = time.monotonic()
    await queue.close()
    assert time.monotonic() - began < 2


# A server that does not answer.

CALLS: dict[str, Callable[[Queue], Awaitable[object]]] = {
    "add": lambda queue: queue.add("work", 1),
    "add_bulk": lambda queue: queue.add_bulk([("work", 1)]),
    "get_job": lambda queue: queue.get_job("1"),
    "get_state": lambda queue: queue.get_state("1"),
    "get_job_counts": lambda queue: queue.get_job_counts(),
    "pause": lambda queue: queue.pause(),
    "remove": lambda queue: queue.remove("1"),
    "obliterate": lambda queue: queue.obliterate(force=True),
    "ping": lambda queue: queue.ping(),
}


async def time_of_loss(
    queue: Queue, call: Callable[[Queue], Awaitable[object]]
) -> tuple[float, ConnectionLost]:
    began = time.monotonic()
    with pytest.raises(ConnectionLost) as lost:
        await call(queue)
    return time.monotonic() - began, lost.value


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_request_timeout_bounds_every_call_to_a_frozen_server(
    private_server: PrivateServer, call: Callable[[Queue], Awaitable[object]]
) -> None:
    server = private_server()
    async with Queue("q", server.url, request_timeout="400ms") as queue:
        await queue.add("work", 0)
        with server.frozen():
            took, lost = await time_of_loss(queue, call)
            assert 0.3 < took < 3
            assert lost.took_effect is None
        assert (await queue.add("work", 2)).id, "it goes on with a new connection"


async def test_what_never_left_took_no_effect(private_server: PrivateServer) -> None:
    server = private_server()
    async with Queue("q", server.url, request_timeout="1s") as queue:
        await queue.add("work", 0)
        server.kill()
        await wait_until_async(lambda: queue.app.link.protocol is None, what="the client to notice")
        took, lost = await time_of_loss(queue, CALLS["add"])
        assert 0.3 < took < 3
        assert lost.took_effect is False
        took, lost = await time_of_loss(queue, CALLS["ping"])
        assert took < 3
        server.start()

        async def is_stored() -> bool:
            try:
                return bool(await queue.add("work", 1))
            except ConnectionLost as error:
                assert error.took_effect is False
                return False

        await wait_until_async(is_stored)
        assert await queue.count() == 1


async def test_a_server_that_is_not_there_at_first(private_server: PrivateServer) -> None:
    server = private_server()
    server.kill()
    runs = Counter[str]()

    async def note(job: Job) -> None:
        runs[job.id] += 1

    async with Queue("q", server.url, request_timeout="20s") as queue:
        adding = asyncio.create_task(queue.add("work", 1))
        working = asyncio.create_task(queue.process(note).run())
        await wait_until_async(lambda: queue.app.link._connecting is not None)
        await asyncio.to_thread(server.start)
        job = await adding
        await wait_until_async(lambda: runs[job.id] == 1)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


# Obliterate.


async def test_a_producer_and_a_worker_go_on_after_an_obliterate(
    url: str, prefix: str, redis_client: redis.Redis
) -> None:
    runs = Counter[object]()

    async def note(job: Job) -> None:
        runs[job.data] += 1

    async with Queue("q", url, prefix=prefix) as producer, Queue("q", url, prefix=prefix) as other:
        async with other.process(note, concurrency=4) as worker:
            ids = {(await producer.add("work", f"before {i}")).id for i in range(20)}
            await worker.wait_idle("10s")
            for round in range(3):
                async with Queue("q", url, prefix=prefix) as third:
                    await third.obliterate(force=True)
                added = [(await producer.add("work", f"{round}.{i}")).id for i in range(20)]
                assert len(set(added)) == 20
                await wait_until_async(lambda n=20 * (round + 2): len(runs) == n, 20)
                await worker.wait_idle("10s")
        assert set(runs.values()) == {1}
        assert len(ids) == 20
        counts = await producer.get_job_counts()
        assert counts == {**dict.fromkeys(counts, 0), "completed": 20}
        assert redis_client.hget(producer.keys["meta"], "held") == b"0"


async def test_obliterate_while_jobs_run(url: str, prefix: str) -> None:
    started = Counter[object]()
    open = asyncio.Event()

    async def hold(job: Job) -> None:
        started[job.data] += 1
        if job.data == "before":
            await open.wait()

    async with Queue("q", url, prefix=prefix) as queue:
        async with queue.process(hold, lease="1s") as worker:
            await queue.add("work", "before")
            await wait_until_async(lambda: started["before"])
            with pytest.raises(NotPaused):
                await queue.obliterate()
            await queue.pause()
            with pytest.raises(JobIsActive):
                await queue.obliterate()
            assert await queue.is_paused()
            await queue.obliterate(force=True)
            await queue.add("work", "after")
            await wait_until_async(lambda: started["after"] == 1, 20)
            open.set()
            await worker.wait_idle("10s")
        counts = await queue.get_job_counts()
        assert counts == {**dict.fromkeys(counts, 0), "completed": 1}


async def test_obliterate_leaves_no_key(url: str, prefix: str, redis_client: redis.Redis) -> None:
    async with Queue("q", url, prefix=prefix) as queue:
        await queue.add_bulk([("work", i) for i in range(10)])
        await queue.add("work", 1, delay="1h")
        await queue.add("work", 1, priority=3)
        async with queue.process(nothing) as worker:
            await worker.wait_idle("5s")
    async with Queue("q", url, prefix=prefix) as queue:
        await queue.obliterate(force=True)
        assert redis_client.keys(f"*{prefix}*") == []
    assert redis_client.keys(f"*{prefix}*") == [], "closing made keys"
