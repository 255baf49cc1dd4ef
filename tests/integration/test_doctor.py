"""The doctor names what is wrong with a server, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import redis

from bullrush import Bullrush, Diagnosis, Finding
from bullrush.operations.doctor import server_findings
from bullrush.operations.holes import holes_of, version_of
from bullrush.operations.replies import read_info
from tests.conftest import PrivateServer
from tests.servers import KINDS, Kind
from tests.waiting import wait_until


def seen(diagnosis: Diagnosis, check: str) -> list[Finding]:
    return [finding for finding in diagnosis.findings if finding.check == check]


def level(diagnosis: Diagnosis, check: str) -> str:
    found = seen(diagnosis, check)
    assert len(found) == 1, diagnosis
    return found[0].level


async def examined(url: str, prefix: str = "doc") -> Diagnosis:
    async with Bullrush(url, prefix=prefix) as app:
        return await app.doctor()


async def test_a_plain_server_is_a_primary_that_keeps_nothing(url: str, redis_client: redis.Redis) -> None:
    diagnosis = await examined(url)
    for check in ("latency", "clock", "role", "eviction", "permission"):
        assert level(diagnosis, check) == "ok", diagnosis
    assert level(diagnosis, "persistence") == "warn"
    assert redis_client.keys("*doc*") == [], "it wrote something"


def test_blocking_code_sees_the_same(url: str) -> None:
    diagnosis = Bullrush(url).doctor_sync()
    assert level(diagnosis, "role") == "ok"
    assert diagnosis.server in str(diagnosis)


@pytest.mark.parametrize(
    ("settings", "check", "expected", "words"),
    [
        (["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"], "eviction", "bad", "noeviction"),
        (["--maxmemory-policy", "allkeys-lru"], "eviction", "warn", "without a limit yet"),
        (
            ["--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl"],
            "eviction",
            "warn",
            "only keys with an end",
        ),
        (["--maxmemory", "1mb"], "memory", "warn", "QueueFull"),
        (["--appendonly", "yes", "--appendfsync", "no"], "persistence", "warn", "power loss"),
        (["--appendonly", "yes", "--appendfsync", "always"], "persistence", "ok", "takes nothing"),
        (["--save", "60 1"], "persistence", "warn", "snapshots only"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
async def test_settings_are_judged(
    private_server: PrivateServer, settings: Sequence[str], check: str, expected: str, words: str
) -> None:
    diagnosis = await examined(private_server(extra=settings).url)
    assert level(diagnosis, check) == expected
    assert words in str(seen(diagnosis, check)[0])


async def test_a_replica_is_bad_and_its_primary_wants_a_minimum(private_server: PrivateServer) -> None:
    primary = private_server()
    replica = private_server(extra=["--replicaof", "127.0.0.1", str(primary.port)])
    with replica.client() as client:
        wait_until(lambda: client.info("replication")["master_link_status"] == "up")
    assert level(await examined(replica.url), "role") == "bad"
    assert level(await examined(primary.url), "replicas") == "warn"
    with primary.client() as client:
        client.config_set("min-replicas-to-write", 1)
    assert level(await examined(primary.url), "replicas") == "ok"


@pytest.mark.parametrize("kind", KINDS)
async def test_waitaof_is_put_to_the_test(private_server: PrivateServer, kind: Kind) -> None:
    """Servers that answer before the sync are known among those of 2025; an honest one takes its time."""
    server = private_server(kind, extra=["--appendonly", "yes", "--appendfsync", "everysec"])
    diagnosis = await examined(server.url)
    found = seen(diagnosis, "waitaof")
    assert len(found) == 1
    with server.client() as client:
        if "valkey_version" not in client.info("server"):
            assert "WAITAOF is not to be had" in found[0].what
        assert client.keys("*probe*") == []
    premature = "within" in found[0].what
    assert (found[0].level == "bad") is premature


async def test_what_may_not_be_asked_is_a_finding(private_server: PrivateServer) -> None:
    server = private_server()
    with server.client() as client:
        client.acl_setuser(
            "few",
            enabled=True,
            nopass=True,
            keys=["*"],
            commands=["+@all", "-info", "-config", "-time", "-xadd", "-blpop"],
        )
    diagnosis = await examined(f"redis://few:any@127.0.0.1:{server.port}")
    texts = [finding.what for finding in seen(diagnosis, "permission")]
    assert texts == ["INFO is denied", "CONFIG GET is denied", "the user may not run BLPOP, TIME, XADD"]
    assert diagnosis.level == "bad"


def test_holes_by_version() -> None:
    def names(text: str, valkey: bool = False) -> set[str]:
        return {hole.name for hole in holes_of(version_of(text), valkey=valkey)}

    assert "CVE-2025-49844" in names("7.2.10")
    assert "CVE-2025-49844" not in names("7.2.11")
    assert "CVE-2025-49844" in names("8.1.0"), "a branch that got no fix"
    assert names("8.6.3") == names("9.0.0") == set()
    assert names("8.6.2") == {"CVE-2026-23479"}
    assert "CVE-2022-24834" in names("7.0.11")
    assert "CVE-2022-24834" not in names("7.0.12")
    assert "CVE-2025-49844" in names("8.1.3", valkey=True)
    assert names("8.1.4", valkey=True) == names("9.1.2", valkey=True) == set()


def test_an_old_server_is_named() -> None:
    info = read_info(b"# Server\r\nredis_version:6.2.20\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n")
    levels = {(finding.check, finding.level) for finding in server_findings(info)}
    assert ("version", "bad") in levels
    assert read_info(None) == {}
