"""Replies of management calls are lost: each page counts once, and its answer comes all the same."""

from __future__ import annotations

import pytest
import redis

from bullrush import Job, Queue
from tests.conftest import MakeProxy
from tests.faults.proxy import FaultProxy
from tests.servers import Server

JOBS = 1_200


@pytest.fixture
def proxy(server: Server, make_proxy: MakeProxy) -> FaultProxy:
    return make_proxy(server)


@pytest.fixture
async def failed(server: Server, redis_client: redis.Redis, prefix: str) -> list[str]:
    """Ids of jobs that have failed."""

    async def fail(job: Job) -> None:
        raise LookupError("no")

    async with Queue("q", server.url, prefix=prefix) as queue:
        jobs = await queue.add_bulk([("work", i) for i in range(JOBS)])
        async with queue.process(fail, concurrency=100) as worker:
            await worker.wait_idle("20s")
    return [job.id for job in jobs]


@pytest.mark.parametrize("call", [1, 2, 3])
async def test_every_page_counts_once(
    proxy: FaultProxy, prefix: str, failed: list[str], redis_client: redis.Redis, call: int
) -> None:
    async with Queue("q", proxy.url, prefix=prefix) as queue:
        lost = proxy.drop_reply("retry", call=call)
        assert await queue.retry_jobs() == JOBS
        assert lost.happened
        line = redis_client.lrange(queue.keys["waiting"], 0, -1)
        assert sorted(line) == sorted(b"\x01" + id.encode() for id in failed)
        lost = proxy.drop_reply("drain", call=call)
        assert await queue.drain() == JOBS
        assert lost.happened
    assert not redis_client.exists(queue.keys["jobs"], queue.keys["plans"], queue.keys["attempts"])


@pytest.mark.parametrize("call", [1, 3])
async def test_the_ids_of_a_page_survive(
    proxy: FaultProxy, prefix: str, failed: list[str], call: int
) -> None:
    async with Queue("q", proxy.url, prefix=prefix) as queue:
        lost = proxy.drop_reply("clean", call=call)
        assert sorted(await queue.clean(0, "failed")) == sorted(failed)
        assert lost.happened
        assert await queue.count() == 0


@pytest.mark.parametrize("after", [0, 3])
async def test_a_single_change_is_made_once(
    proxy: FaultProxy, prefix: str, failed: list[str], after: int
) -> None:
    async with Queue("q", proxy.url, prefix=prefix) as queue:
        job = await queue.get_job(failed[0])
        assert job is not None
        for script, change in (
            ("retry", job.retry),
            ("prioritize", lambda: job.change_priority(3)),
            ("report", lambda: queue.add_job_log(job.id, "a line")),
        ):
            lost = proxy.drop_reply(script, call=1, after=after)
            await change()
            assert lost.happened
        assert (await job.refresh()).state == "prioritized"
        assert await job.get_logs() == (["a line"], 1)
