"""The server answers with "not now": jobs wait until it is over, and no error reaches a handler."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from bullrush import Job, Queue, QueueFull, ServerError
from tests.conftest import MakeProxy, PrivateServer
from tests.faults.traffic import Traffic, check_books, holding
from tests.servers import KINDS, Kind, Server
from tests.waiting import wait_until_async

SLOW = "local n = 0 while n < {} do n = n + 1 end return n"


@pytest.fixture(params=KINDS)
def own(private_server: PrivateServer, request: pytest.FixtureRequest) -> Server:
    """A server of this test's own."""
    kind: Kind = request.param
    return private_server(kind)


@pytest.fixture
def admin(own: Server) -> Iterator[redis.Redis]:
    with own.client(timeout=30) as client:
        yield client


def connections_made(admin: redis.Redis) -> int:
    return int(admin.info("stats")["total_connections_received"])


def answers(client: redis.Redis, code: str) -> int:
    """How often the server has answered with this error."""
    found = client.info("errorstats").get(f"errorstat_{code}", {"count": 0})
    return int(found["count"])


# T27


async def test_a_demoted_primary_is_left_alone_until_it_is_one_again(own: Server, admin: redis.Redis) -> None:
    """While it refuses to write, nothing is hammered: connections are few, and no error reaches anybody."""
    async with Queue("q", own.url, request_timeout="30s") as queue:
        async with Traffic(queue, queue, lease="10s") as traffic:
            await traffic.flows()
            admin.replicaof("127.0.0.1", "1")  # nobody is there, so nothing is copied over
            made = connections_made(admin)
            began = time.monotonic()
            busy = time.process_time()
            await asyncio.sleep(1.5)  # time is the subject
            spent = (time.process_time() - busy) / (time.monotonic() - began)
            made = connections_made(admin) - made
            admin.replicaof("NO", "ONE")
            await traffic.flows()
            await traffic.finish()
        assert traffic.refused == []
        assert made < 40, "it hammered the server"
        assert spent < 0.3


async def test_an_add_that_is_refused_until_its_timeout_says_why(own: Server, admin: redis.Redis) -> None:
    async with Queue("q", own.url, request_timeout="500ms") as queue:
        await queue.add("work", 1)
        admin.replicaof("127.0.0.1", "1")
        with pytest.raises(ServerError, match="READONLY") as refused:
            await queue.add("work", 2)
        assert refused.value.took_effect is False
        admin.replicaof("NO", "ONE")
        await queue.add("work", 3)
        assert sorted(job.data for job in await queue.get_jobs("waiting")) == [1, 3]


# T24


async def test_a_full_disk_pauses_everything_until_there_is_room(
    private_server: PrivateServer, tmp_path: Path
) -> None:
    """A server that cannot save its data refuses all writes (MISCONF): adds say so, workers wait."""
    gone, good = tmp_path / "gone", tmp_path / "good"
    gone.mkdir()
    good.mkdir()
    server = private_server(extra=["--dir", str(gone), "--enable-protected-configs", "yes"])
    with server.client() as admin:
        async with Queue("q", server.url, request_timeout="1s") as queue:
            async with Traffic(queue, queue, lease="10s") as traffic:
                await traffic.flows()
                admin.config_set("save", "3600 1")
                gone.rmdir()
                admin.bgsave()
                await wait_until_async(lambda: traffic.refused, 20, what="an add to be refused")
                assert isinstance(traffic.refused[0], ServerError)
                assert "MISCONF" in str(traffic.refused[0])
                assert traffic.refused[0].took_effect is False
                admin.config_set("dir", str(good))
                admin.bgsave()
                await traffic.flows()
                await traffic.finish()
            await traffic.check(queue)


# T28


@pytest.mark.parametrize("mode", ["WRITE", "ALL"])
@pytest.mark.parametrize("seconds", [1.5, pytest.param(4.0, marks=pytest.mark.long)])
async def test_a_paused_server_is_waited_for(
    own: Server, admin: redis.Redis, mode: str, seconds: float
) -> None:
    """T28 and T37: for longer than two leases, too, nobody is taken for dead and nothing runs twice."""
    async with Queue("q", own.url, request_timeout="30s") as queue:
        stalled = list[str]()
        async with holding(queue, stalled), Traffic(queue, queue, lease="1s") as traffic:
            traffic.worker.on("stalled", stalled.append)
            await traffic.flows()
            admin.execute_command("CLIENT", "PAUSE", int(seconds * 1000), mode)
            await asyncio.sleep(seconds)  # time is the subject
            await traffic.flows()
            await traffic.stop_adding()
            await wait_until_async(lambda: traffic.runs.total() == len(traffic.acknowledged))
        assert stalled == traffic.refused == []
        assert set(traffic.runs.values()) == {1}
        await check_books(queue, completed=len(traffic.runs) + 1)


def begins_failover(old: redis.Redis, port: int) -> bool:
    """Ask for it; the primary refuses until the replica counts as online."""
    try:
        old.execute_command("FAILOVER", "TO", "127.0.0.1", port)
    except redis.ResponseError as error:
        assert "not online" in str(error)
        return False
    return True


async def test_a_failover_loses_nothing_and_repeats_nothing(
    private_server: PrivateServer, make_proxy: MakeProxy
) -> None:
    """FAILOVER waits until the replica has everything; a client is led to it by its address."""
    primary = private_server(extra=["--repl-diskless-sync-delay", "0"])
    replica = private_server()
    proxy = make_proxy(primary)
    with primary.client() as old, replica.client() as new:
        new.replicaof("127.0.0.1", str(primary.port))
        await wait_until_async(lambda: new.info("replication")["master_link_status"] == "up", 30)
        async with Queue("q", proxy.url, request_timeout="30s") as queue:
            async with Traffic(queue, queue, lease="10s") as traffic:
                await traffic.flows()
                await wait_until_async(lambda: begins_failover(old, replica.port), 30)
                await wait_until_async(lambda: new.info("replication")["role"] == "master", 30)
                proxy.lead_to(replica.port)
                await traffic.flows()
                await traffic.finish()
            assert traffic.refused == []
            # Which one a waker gets depends on whether its BLPOP was blocked or held up by the failover's pause.
            assert answers(old, "UNBLOCKED") + answers(old, "READONLY") > 0
            await traffic.check(queue)


# T31


async def test_a_full_server_drains(own: Server, admin: redis.Redis) -> None:
    """Adds are refused; everything that makes room goes on, to the end."""
    retried = 0

    async def handle(job: Job) -> str:
        nonlocal retried
        await job.update_progress(1)
        await job.log("a line")
        if job.name == "flaky" and job.attempts_made == 0:
            retried += 1
            raise LookupError("once")
        return "x" * 1_000

    async with Queue("q", own.url) as queue:
        filler = "x" * 10_000
        await queue.add_bulk([("work", filler) for _ in range(300)])
        await queue.add_bulk([("flaky", filler) for _ in range(30)], attempts=2)
        await queue.add_bulk([("work", filler) for _ in range(30)], delay="1s")
        admin.config_set("maxmemory-policy", "noeviction")
        admin.config_set("maxmemory", admin.info("memory")["used_memory"] + 200_000)
        stored = 360
        with pytest.raises(QueueFull) as full:
            for _ in range(200):
                await queue.add("work", filler)
                stored += 1
        assert full.value.took_effect is False
        admin.config_set("maxmemory", admin.info("memory")["used_memory"] - 100_000)
        async with queue.process(handle, concurrency=20, remove_on_complete=10) as worker:
            await wait_until_async(lambda: worker.stats.settled >= stored + 30, 60)
            await worker.wait_idle("20s")
        assert retried == 30
        await check_books(queue, completed=10)
        await queue.add("work", "there is room again")


# T33


async def test_scripts_are_flushed_all_the_time(own: Server, admin: redis.Redis) -> None:
    async with Queue("q", own.url) as queue, Traffic(queue, queue) as traffic:
        for number in range(60):
            admin.script_flush("ASYNC" if number % 2 else "SYNC")
            await traffic.flows(1)
        assert answers(admin, "NOSCRIPT") > 10
        await traffic.finish()
        assert traffic.refused == traffic.errors == []
        await traffic.check(queue)


# T34


async def test_a_slow_script_of_somebody_else_is_waited_for(own: Server, admin: redis.Redis) -> None:
    """BUSY is answered to everybody meanwhile; the lease is three times as long."""
    admin.config_set("busy-reply-threshold", 50)
    rounds = 40_000_000  # a fifth of a second or more
    async with Queue("q", own.url, request_timeout="30s") as queue:
        async with Traffic(queue, queue, lease="4s") as traffic:
            await traffic.flows()
            await asyncio.to_thread(admin.eval, SLOW.format(rounds), 0)
            assert answers(admin, "BUSY") > 0
            await traffic.flows()
            await traffic.finish()
        assert traffic.refused == []
        await traffic.check(queue)


# T36


@pytest.mark.parametrize("kills", [10, pytest.param(1_000, marks=pytest.mark.long)])
async def test_connections_are_killed_by_an_operator(own: Server, admin: redis.Redis, kills: int) -> None:
    """All at once, the blocked ones included; each time work goes on without a new add being needed for it."""
    async with Queue("q", own.url) as queue:
        async with Traffic(queue, queue) as traffic:
            for _ in range(kills):
                admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                await traffic.flows(3)
            await traffic.finish()
            before = traffic.runs.total()
            admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await queue.add("work", -1)  # the blocked pop is armed again, or a look comes by itself
            await wait_until_async(lambda: traffic.runs.total() > before, 10)
            await traffic.worker.wait_idle("10s")
        assert traffic.refused == []
        assert traffic.runs.total() == len(traffic.acknowledged) + 1
        await check_books(queue, completed=len(traffic.runs))


async def test_a_server_without_a_free_connection_is_asked_again(own: Server, admin: redis.Redis) -> None:
    async with Queue("q", own.url, request_timeout="30s") as queue, Traffic(queue, queue) as traffic:
        await traffic.flows()
        admin.config_set("maxclients", 1)
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        before = traffic.runs.total()
        await asyncio.sleep(0.5)  # time is the subject
        assert traffic.runs.total() - before <= traffic.worker.concurrency
        admin.config_set("maxclients", 1_000)
        await traffic.flows()
        await traffic.finish()
        assert traffic.refused == []
        await traffic.check(queue)
