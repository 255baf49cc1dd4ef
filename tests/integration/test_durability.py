"""Durability levels: refused where the server cannot keep them, else confirmed before the add is done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from bullrush import (
    AddInterrupted,
    InvalidOption,
    InvalidOptionType,
    JobSpec,
    NotDurable,
    Queue,
    QueueFull,
    Replicas,
    UnsupportedServer,
    sync,
)
from bullrush._core.frames import encode_command
from bullrush._core.producer import Confirmation
from bullrush.operations.durability import _is_synced
from bullrush.operations.waitaof import probe_waitaof
from tests.conftest import MakeProxy, PrivateServer
from tests.servers import KINDS, Server
from tests.waiting import wait_until, wait_until_async


@pytest.fixture(params=KINDS)
def disk(request: pytest.FixtureRequest, private_server: PrivateServer) -> Server:
    """A server that writes to disk before it answers."""
    return private_server(request.param, persistent=True)


@pytest.fixture(params=KINDS)
def primary(request: pytest.FixtureRequest, private_server: PrivateServer) -> Server:
    return private_server(request.param, extra=("--repl-diskless-sync-delay", "0"))


@pytest.fixture
def replica(primary: Server, private_server: PrivateServer) -> Server:
    """A replica of `primary` that has caught up."""
    return join(primary, private_server)


def join(primary: Server, private_server: PrivateServer) -> Server:
    with primary.client() as client:
        before = client.info("replication")["connected_slaves"]
    replica = private_server(primary.kind, extra=("--replicaof", "127.0.0.1", str(primary.port)))
    with primary.client() as client:
        wait_until(
            lambda: (
                any(
                    str(key).startswith("slave") and value["state"] == "online"
                    for key, value in client.info("replication").items()
                    if isinstance(value, dict)
                )
                and client.info("replication")["connected_slaves"] > before
            ),
            20,
            what="the replica to be online",
        )
    return replica


@pytest.fixture
async def queue(disk: Server) -> AsyncIterator[Queue]:
    async with Queue("q", disk.url, defaults={"durability": "fsync"}, request_timeout="2s") as queue:
        yield queue


def questions(server: Server) -> int:
    """How often the server was asked for its settings."""
    with server.client() as client:
        return int(client.info("commandstats").get("cmdstat_config|get", {"calls": 0})["calls"])


async def test_every_way_to_add_is_confirmed(queue: Queue, disk: Server) -> None:
    before = questions(disk)
    job = await queue.add("work", 1)
    many = await queue.add_bulk([("work", n) for n in range(2_500)])
    assert await queue.add_stream(("work", n) for n in range(1_500)) == 1_500
    await queue.flush()
    later = queue.add_nowait("work", 2)
    await queue.flush()
    special = await queue.add("work", 3, delay="1h", job_id="mine")
    assert await queue.count() == 4_003
    assert len({job.id, later.id, special.id, *(one.id for one in many)}) == 2_503
    assert questions(disk) - before >= 6


async def test_adds_at_once_share_a_confirmation(queue: Queue, disk: Server) -> None:
    await queue.add("work")
    before = questions(disk)
    await asyncio.gather(*(queue.add("work", n) for n in range(500)))
    assert 1 <= questions(disk) - before <= 4


async def test_a_job_without_durability_asks_nothing(disk: Server) -> None:
    before = questions(disk)
    async with Queue("q", disk.url) as queue:
        await queue.add("work", 1)
        await queue.add_bulk([("work", n) for n in range(100)])
    assert questions(disk) == before


def test_blocking_code_has_the_same(disk: Server) -> None:
    with sync.Queue("q", disk.url, defaults={"durability": "fsync"}) as queue:
        queue.add("work")
        queue.add_bulk([("work", n) for n in range(1_500)])
        assert queue.count() == 1_501
    with disk.client() as client:
        assert client.config_set("appendfsync", "no")
    with (
        sync.Queue("q", disk.url, request_timeout="1s") as queue,
        pytest.raises(UnsupportedServer, match="appendfsync no"),
    ):
        queue.add("work", durability="fsync")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--appendonly", "no"), "appendonly no"),
        (("--appendonly", "yes", "--appendfsync", "everysec"), "everysec and has no WAITAOF"),
        (("--appendonly", "yes", "--appendfsync", "no"), "appendfsync no"),
    ],
)
async def test_a_server_that_cannot_keep_it_is_refused_before_anything_is_stored(
    private_server: PrivateServer, options: tuple[str, ...], why: str
) -> None:
    server = private_server(extra=options)
    async with Queue("q", server.url) as queue:
        for durability in ("fsync", "replica"):
            with pytest.raises(UnsupportedServer, match="nothing was stored") as caught:
                await queue.add("work", durability=durability)  # type: ignore[arg-type]  # one of the literals
            assert caught.value.took_effect is False
        with pytest.raises(UnsupportedServer, match=why):
            await queue.add_bulk([("work", 1)], durability="fsync")
        with pytest.raises(UnsupportedServer, match=why):
            await queue.add_stream([("work", 1)], durability="fsync")
        assert await queue.count() == 0


async def test_a_server_whose_waitaof_lies_is_refused(private_server: PrivateServer) -> None:
    """Valkey 8 and 9 answer it at once under everysec; a build that waits is believed instead."""
    server = private_server("valkey", extra=("--appendonly", "yes", "--appendfsync", "everysec"))
    async with Queue("q", server.url) as queue:
        probe = await queue._port.run(probe_waitaof(queue.keys))
        if not probe.premature:
            pytest.skip("this server's WAITAOF waits for the disk")
        with pytest.raises(UnsupportedServer, match="answers WAITAOF before the data is on the disk"):
            await queue.add("work", durability="fsync")
        assert await queue.count() == 0


async def test_waitaof_confirms_an_add(private_server: PrivateServer) -> None:
    """The command itself, on a server where what it says is true."""
    server = private_server("valkey", persistent=True)
    async with Queue("q", server.url, request_timeout="2s") as queue:
        await queue.flush()
        port = queue._port
        waiting = Confirmation("'fsync'", encode_command("WAITAOF", 1, 0, 500), _is_synced)
        job = await port.add(queue._factory.make("work", 1, None, 1), waiting)
        assert await queue.get_state(job.id) == "waiting"
        with server.client() as client:
            assert client.info("commandstats")["cmdstat_waitaof"]["calls"] >= 1
        never = Confirmation("'fsync'", encode_command("WAITAOF", 1, 1, 200), lambda reply: reply == [1, 1])
        with pytest.raises(NotDurable):
            await port.add(queue._factory.make("work", 2, None, 1), never)


async def test_a_server_that_hides_its_settings_is_refused(disk: Server) -> None:
    with disk.client() as client:
        client.acl_setuser("app", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-config|get"])
    url = disk.url.replace("redis://", "redis://app:any@")
    async with Queue("q", url) as queue:
        with pytest.raises(UnsupportedServer, match=r"\+config\|get"):
            await queue.add("work", durability="fsync")
        await queue.add("work")


async def test_a_server_that_stops_keeping_it_is_noticed_at_the_next_add(queue: Queue, disk: Server) -> None:
    await queue.add("work", 1)
    with disk.client() as client:
        client.config_set("appendfsync", "everysec")
        with pytest.raises(NotDurable, match="do not add them again") as caught:
            await queue.add("work", 2)
        assert caught.value.took_effect is True
        job = await queue.get_job(caught.value.ids[0])
        assert job is not None
        assert job.data == 2
        with pytest.raises(NotDurable) as caught:
            await queue.add_bulk([("work", n) for n in range(2_500)])
        assert len(set(caught.value.ids)) == 2_500
        assert await queue.count() == 2_502
        client.config_set("appendfsync", "always")
    await queue.add("work", 3)


@pytest.mark.parametrize("blocking", [False, True])
async def test_an_interrupted_bulk_tells_what_is_confirmed_and_what_is_only_stored(
    queue: Queue, disk: Server, blocking: bool
) -> None:
    stored = 0

    def jobs() -> Iterator[tuple[str, int]]:
        yield from (("work", n) for n in range(9_000))

    def look(count: int) -> None:
        nonlocal stored
        stored += count
        with disk.client() as client:
            client.config_set("appendfsync", "everysec")

    with pytest.raises(AddInterrupted) as caught:
        if blocking:
            with sync.Queue("q", disk.url, defaults={"durability": "fsync"}, request_timeout="1s") as other:
                other.add_stream(jobs(), on_progress=look)
        else:
            await queue.add_stream(jobs(), on_progress=look)
    cause = caught.value.__cause__
    assert isinstance(cause, NotDurable)
    assert caught.value.added == stored >= 1_000
    assert caught.value.added + len(cause.ids) == await queue.count() < 9_000


def test_chunks_whose_time_is_over_before_they_are_asked_for_tell_that_they_are_stored(disk: Server) -> None:
    with sync.Queue("q", disk.url, request_timeout="300ms") as queue, disk.client() as client:
        confirmation = queue._port.confirmation("fsync")
        client.config_set("appendfsync", "everysec")
        window = queue._port.window(lambda jobs: None, confirmation)
        chunks = [[queue._factory.make("work", n, None, 1) for n in range(10)] for _ in range(3)]
        for chunk in chunks:
            window.send(chunk)
        time.sleep(0.5)  # time is the subject
        error = NotDurable("the first of them", ids=[])
        window.settle(error)
        assert sorted(error.ids) == sorted(job.id for chunk in chunks for job in chunk)
        assert queue.count() == 30


async def test_memory_of_one_add_wins_over_the_queues_default(private_server: PrivateServer) -> None:
    server = private_server()
    async with Queue("q", server.url, defaults={"durability": "fsync"}) as queue:
        await queue.add("work", durability="memory")
        with pytest.raises(InvalidOption, match="job 0 has a durability of its own"):
            await queue.add_bulk([JobSpec("work", durability="memory")])
        with pytest.raises(QueueFull, match="durability"):
            queue.add_nowait("work")


@pytest.mark.parametrize("wrong", ["disk", "", "FSYNC"])
async def test_other_words_are_refused(wrong: str) -> None:
    async with Queue("q", "redis://127.0.0.1:1/0") as queue:
        with pytest.raises(InvalidOption, match="'memory', 'fsync', 'replica'"):
            await queue.add("work", durability=wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidOptionType):
            await queue.add("work", durability=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption):
        Replicas(0)


async def test_a_replica_has_the_job_when_the_add_is_done(primary: Server, replica: Server) -> None:
    async with Queue("q", primary.url) as queue:
        for number in range(20):
            job = await queue.add("work", number, durability="replica")
            with replica.client() as client:
                assert client.hexists(queue.keys["jobs"], job.id)
        await queue.add_bulk([("work", n) for n in range(2_000)], durability="replica")
        with replica.client() as client:
            assert client.hlen(queue.keys["jobs"]) == 2_020


async def test_more_replicas_than_there_are_is_refused(
    primary: Server, replica: Server, private_server: PrivateServer
) -> None:
    async with Queue("q", primary.url) as queue:
        with pytest.raises(UnsupportedServer, match="needs 2 replicas, the server has 1"):
            await queue.add("work", durability=Replicas(2))
        join(primary, private_server)
        await queue.add("work", durability=Replicas(2))
    async with Queue("q", replica.url, request_timeout="1s") as queue:
        with pytest.raises(UnsupportedServer, match="connect to the primary"):
            await queue.add("work", durability="replica")


async def test_a_silent_replica_makes_the_add_say_that_it_is_not_durable(
    primary: Server, replica: Server
) -> None:
    async with Queue("q", primary.url, request_timeout="1200ms") as queue:
        await queue.add("work", durability="replica")
        with replica.frozen():
            with pytest.raises(NotDurable) as caught:
                await queue.add("work", 2, durability="replica")
            assert await queue.get_state(caught.value.ids[0]) == "waiting"
        await queue.add("work", 3, durability="replica")


async def test_an_add_waits_for_a_replica_that_comes_back_in_time(primary: Server, replica: Server) -> None:
    async with Queue("q", primary.url) as queue:
        await queue.add("work", durability="replica")
        with replica.frozen():
            adding = asyncio.create_task(queue.add("work", 2, durability="replica"))
            with primary.client() as client:
                await wait_until_async(lambda: client.info("clients")["blocked_clients"] > 0, 5)
            assert not adding.done()
        job = await adding
        with replica.client() as client:
            assert client.hexists(queue.keys["jobs"], job.id)


@pytest.mark.parametrize("lost", ["add", "CONFIG", "add_special"])
async def test_a_lost_reply_is_neither_a_second_job_nor_an_unconfirmed_one(
    disk: Server, make_proxy: MakeProxy, lost: str
) -> None:
    proxy = make_proxy(disk)
    options = {"delay": "1h"} if lost == "add_special" else {}
    async with Queue("q", proxy.url, defaults={"durability": "fsync"}) as queue:
        await queue.add("work", 0, **options)  # type: ignore[arg-type]
        fault = proxy.drop_reply(lost)
        jobs = await asyncio.gather(*(queue.add("work", n, **options) for n in range(50)))  # type: ignore[arg-type]
        fault.wait()
        assert len({job.id for job in jobs}) == 50
        assert await queue.count() == 51


async def test_what_a_failover_lost_before_it_was_confirmed_is_added_to_the_new_primary(
    primary: Server, replica: Server, make_proxy: MakeProxy
) -> None:
    """The replica takes over without the job: the add goes on there, and waits there for a replica."""
    proxy = make_proxy(primary)
    async with Queue("q", proxy.url, request_timeout="4s") as queue:
        await queue.add("work", 1, durability="replica")
        with replica.client() as client:
            client.execute_command("REPLICAOF", "NO", "ONE")
        adding = asyncio.create_task(queue.add("work", 2, durability="replica"))
        with primary.client() as client:
            await wait_until_async(lambda: client.info("clients")["blocked_clients"] > 0, 5)
        proxy.lead_to(replica.port)
        primary.kill()
        with pytest.raises(NotDurable) as caught:
            await adding
        job = await queue.get_job(caught.value.ids[0])
        assert job is not None
        assert (job.data, job.state) == (2, "waiting")
        with replica.client() as client:
            assert client.hlen(queue.keys["jobs"]) == 2
