"""The first connection of an app looks at the server: a warning once, or with `strict` a refusal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bullrush import Bullrush, UnsupportedServer
from tests.conftest import PrivateServer
from tests.servers import Server
from tests.waiting import wait_until, wait_until_async

EVICTING = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]


@contextmanager
def replica_of(primary: Server, replica: Server) -> Iterator[str]:
    with replica.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", str(primary.port))
        wait_until(lambda: client.info("replication")["master_link_status"] == "up")
    yield replica.url


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if "maxmemory-policy" in record.getMessage()]


async def test_an_evicting_server_is_warned_of_once_in_each_app(
    private_server: PrivateServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = private_server(extra=EVICTING)
    async with Bullrush(server.url) as app:
        for name in ("one", "two"):
            await app.queue(name).add("a")
        async with app.queue("one").process(lambda job: None) as worker:
            await worker.wait_idle()
        app.sync_queue("one").add("a")
        await wait_until_async(lambda: warnings(caplog))
        await app.queue("two").ping()
    found = warnings(caplog)
    assert len(found) == 1
    assert "whole queues vanish" in found[0] and "set maxmemory-policy noeviction" in found[0]


def test_blocking_code_is_warned_too(private_server: PrivateServer, caplog: pytest.LogCaptureFixture) -> None:
    app = Bullrush(private_server(extra=EVICTING).url)
    app.sync_queue("q").add("a")
    app.close_sync()
    assert len(warnings(caplog)) == 1


async def test_a_sound_server_is_not_mentioned(
    url: str, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "bullrush"):
        async with Bullrush(url, prefix=prefix, strict=True) as app:
            await app.queue("q").add("a")
            app.sync_queue("q").add("a")
            async with app.queue("q").process(lambda job: None) as worker:
                await worker.wait_idle()
            assert (await app.queue("q").get_job_counts())["completed"] == 2
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_strict_app_refuses_a_server_that_evicts(private_server: PrivateServer) -> None:
    server = private_server(extra=EVICTING)
    async with Bullrush(server.url, strict=True) as app:
        with pytest.raises(UnsupportedServer, match=r"allkeys-lru.*noeviction.*nothing was sent") as caught:
            await app.queue("q").add("a")
        assert caught.value.took_effect is False
        with pytest.raises(UnsupportedServer, match="allkeys-lru"):
            await app.queue("q").get_job_counts()
        with pytest.raises(UnsupportedServer, match="allkeys-lru"):
            app.sync_queue("q").add("a")
        with pytest.raises(UnsupportedServer, match="allkeys-lru"):
            async with app.queue("q").process(lambda job: None):
                pass
        with server.client() as client:
            assert client.keys() == []
            client.config_set("maxmemory-policy", "noeviction")
        assert (await app.queue("q").add("a")).id, "the next connection asks again"
        assert app.sync_queue("q").add("a").id


async def test_a_strict_app_refuses_a_replica(private_server: PrivateServer) -> None:
    with replica_of(private_server(), private_server()) as url:
        async with Bullrush(url, strict=True) as app:
            with pytest.raises(UnsupportedServer, match=r"this is a replica.*connect to its primary"):
                await app.queue("q").add("a")


async def test_who_may_not_ask_is_not_warned(
    private_server: PrivateServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = private_server()
    with server.client() as client:
        client.acl_setuser("few", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-info"])
    url = server.url.replace("redis://", "redis://few:any@")
    async with Bullrush(url) as app:
        await app.queue("q").add("a")
        await app.queue("q").ping()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    async with Bullrush(url, strict=True) as app:
        with pytest.raises(UnsupportedServer, match="grant INFO, or leave out strict=True"):
            await app.queue("q").add("a")
