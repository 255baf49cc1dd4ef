"""A reply is lost at the worst moment: no job is stored twice, none is lost, none runs twice, none fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
import redis

from bullrush import ConnectionLost, Job, Queue, Worker
from tests.conftest import MakeProxy
from tests.faults.proxy import FaultProxy
from tests.servers import Server
from tests.waiting import wait_until_async

JOBS = 400
Order = Callable[[FaultProxy], object]

ORDERS: dict[str, Order] = {
    "reply of the first add": lambda proxy: proxy.drop_reply("add", call=1),
    "reply of the third add": lambda proxy: proxy.drop_reply("add", call=3),
    "half a reply of the second add": lambda proxy: proxy.drop_reply("add", call=2, after=7),
    "half of the second add": lambda proxy: proxy.drop_request("add", call=2, after=200),
    "all of the second add but its reply": lambda proxy: proxy.drop_request("add", call=2, after=0),
    "reply of the open": lambda proxy: proxy.drop_reply("open", call=1),
    "reply of the reservation": lambda proxy: proxy.drop_reply("reserve", call=1),
}
WORK_ORDERS: dict[str, Order] = {
    "reply of the first exchange": lambda proxy: proxy.drop_reply("exchange", call=1),
    "reply of the second exchange": lambda proxy: proxy.drop_reply("exchange", call=2),
    "reply of the fifth exchange": lambda proxy: proxy.drop_reply("exchange", call=5),
    "half a reply of the third exchange": lambda proxy: proxy.drop_reply("exchange", call=3, after=30),
    "half of the third exchange": lambda proxy: proxy.drop_request("exchange", call=3, after=300),
    "reply of the worker's open": lambda proxy: proxy.drop_reply("open", call=1),
}


class Witness:
    """A handler that counts the runs of each job by its data."""

    def __init__(self) -> None:
        self.runs: Counter[int] = Counter()

    async def __call__(self, job: Job) -> int:
        self.runs[job.data] += 1
        await asyncio.sleep(0.001)  # time is the subject
        return job.data


async def add_together(queue: Queue, jobs: int) -> list[Job]:
    """Add one by one from many tasks, so that several calls are in flight."""
    return await asyncio.gather(*[queue.add("work", i) for i in range(jobs)])


async def check_stored_once(queue: Queue, client: redis.Redis, added: list[Job]) -> None:
    """Every job stands in line under the id that `add` returned, with its data, and nothing else does."""
    assert len({job.id for job in added}) == len(added)
    assert await queue.get_job_counts("waiting") == {"waiting": len(added)}
    assert client.hlen(queue.keys["jobs"]) == len(added)
    stored = await queue.get_jobs("waiting", 0, -1)
    assert {job.id: job.data for job in stored} == {job.id: i for i, job in enumerate(added)}


async def check_done_once(queue: Queue, client: redis.Redis, witness: Witness, jobs: int) -> None:
    assert witness.runs == Counter(range(jobs))
    counts = await queue.get_job_counts()
    assert counts == {**dict.fromkeys(counts, 0), "completed": jobs}
    assert client.hget(queue.keys["meta"], "held") == b"0"
    assert client.keys(queue.keys.held("*")) == []


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
async def test_adds(
    server: Server, redis_client: redis.Redis, prefix: str, make_proxy: MakeProxy, order: Order
) -> None:
    proxy = make_proxy(server)
    lost = order(proxy)
    async with Queue("q", proxy.url, prefix=prefix) as queue:
        added = [await queue.add("work", 0)]  # one by one first: the first calls are small
        added += [await queue.add("work", i) for i in range(1, 4)]
        added += (await add_together(queue, JOBS))[4:]
        assert lost.happened
    async with Queue("q", server.url, prefix=prefix) as straight:
        stored = await straight.get_jobs("waiting", 0, -1)
        assert len(stored) == JOBS + 4
        assert len({job.id for job in stored}) == JOBS + 4
        assert {job.id for job in added} <= {job.id for job in stored}
        assert Counter(job.data for job in stored) == Counter([*range(JOBS), *range(4)])


@pytest.mark.parametrize("call", [1, 2, 3])
async def test_add_bulk(
    server: Server, redis_client: redis.Redis, prefix: str, make_proxy: MakeProxy, call: int
) -> None:
    proxy = make_proxy(server)
    lost = proxy.drop_reply("add", call=call)
    async with Queue("q", proxy.url, prefix=prefix) as queue:
        added = await queue.add_bulk([("work", i) for i in range(3_500)])
    assert lost.happened
    assert [job.data for job in added] == list(range(3_500))
    async with Queue("q", server.url, prefix=prefix) as straight:
        await check_stored_once(straight, redis_client, added)


async def test_an_add_with_a_job_id_keeps_its_answer(
    server: Server, redis_client: redis.Redis, prefix: str, make_proxy: MakeProxy
) -> None:
    proxy = make_proxy(server)
    async with Queue("q", proxy.url, prefix=prefix) as queue:
        await queue.add("work", "first", job_id="mine")
        lost = proxy.drop_reply("add_special", call=1)
        again = await queue.add("work", "second", job_id="mine")
        assert lost.happened
        assert (again.duplicate, again.data) == ("id", "first")
        lost = proxy.drop_reply("add_special", call=1)
        other = await queue.add("work", "third", job_id="yours")
        assert lost.happened
        assert (other.duplicate, other.data) == (False, "third")
    assert redis_client.hlen(queue.keys["jobs"]) == 2


@pytest.mark.parametrize("order", WORK_ORDERS.values(), ids=WORK_ORDERS)
async def test_work(
    server: Server, redis_client: redis.Redis, prefix: str, make_proxy: MakeProxy, order: Order
) -> None:
    proxy = make_proxy(server)
    witness = Witness()
    async with Queue("q", server.url, prefix=prefix, defaults={"remove_on_complete": False}) as queue:
        await queue.add_bulk([("work", i) for i in range(JOBS)])
        lost = order(proxy)
        async with Worker(Queue("q", proxy.url, prefix=prefix), witness, concurrency=7) as worker:
            await worker.wait_idle("30s")
        assert lost.happened
        await check_done_once(queue, redis_client, witness, JOBS)


async def test_work_while_every_connection_is_cut_again_and_again(
    server: Server, redis_client: redis.Redis, prefix: str, make_proxy: MakeProxy
) -> None:
    proxy = make_proxy(server)
    witness = Witness()
    async with Queue("q", server.url, prefix=prefix) as queue:
        async with (
            Queue("q", proxy.url, prefix=prefix, defaults={"remove_on_complete": False}) as producer,
            Worker(Queue("q", proxy.url, prefix=prefix), witness, concurrency=7) as worker,
        ):
            adding = asyncio.create_task(add_together(producer, 2_000))
            for i in range(8):
                lost = proxy.drop_reply("exchange" if i % 2 else "add", call=1)
                await wait_until_async(lambda lost=lost: lost.happened or adding.done())
                proxy.cut()
            await adding
            await worker.wait_idle("30s")
        await check_done_once(queue, redis_client, witness, 2_000)


async def test_a_network_that_swallows_everything_ends_the_add_at_its_deadline(
    server: Server, redis_client: redis.Redis, prefix: str, make_proxy: MakeProxy
) -> None:
    proxy = make_proxy(server)
    loop = asyncio.get_running_loop()
    async with Queue("q", proxy.url, prefix=prefix, request_timeout="500ms") as queue:
        await queue.add("work", 0)
        proxy.black_hole()
        began = loop.time()
        with pytest.raises(ConnectionLost) as lost:
            await queue.add("work", 1)
        assert 0.4 < loop.time() - began < 5
        assert lost.value.took_effect is None
        proxy.heal()
        later = await queue.add("work", 2)
        assert later.id
    async with Queue("q", server.url, prefix=prefix) as straight:
        data = Counter(job.data for job in await straight.get_jobs("waiting", 0, -1))
        assert data[0] == data[2] == 1
        assert data[1] <= 1


async def test_a_worker_behind_a_network_that_swallows_everything_goes_on_when_it_heals(
    server: Server, redis_client: redis.Redis, prefix: str, make_proxy: MakeProxy
) -> None:
    proxy = make_proxy(server)
    witness = Witness()
    async with Queue("q", server.url, prefix=prefix, defaults={"remove_on_complete": False}) as queue:
        async with Worker(Queue("q", proxy.url, prefix=prefix), witness, concurrency=7, lease="1s") as worker:
            await queue.add_bulk([("work", i) for i in range(50)])
            await wait_until_async(lambda: sum(witness.runs.values()) == 50)
            await worker.wait_idle("10s")
            proxy.black_hole()
            await queue.add_bulk([("work", i) for i in range(50, 100)])
            await wait_until_async(lambda: proxy.connections > 3, what="the worker to try a new connection")
            proxy.heal()
            await wait_until_async(lambda: len(witness.runs) == 100, 20)
            await worker.wait_idle("10s")
        await check_done_once(queue, redis_client, witness, 100)
