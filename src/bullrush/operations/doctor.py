"""Examine a server: is it one on which jobs are safe, and what to do where it is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from bullrush._core.session import ReplyError
from bullrush.keys import Keys
from bullrush.operations.holes import holes_of, version_of
from bullrush.operations.permissions import BY_TOOLS, NEEDED, denied
from bullrush.operations.replies import read_config, read_info
from bullrush.operations.requests import Argument, Operation, read
from bullrush.operations.waitaof import WaitAof, probe_waitaof

Level: TypeAlias = Literal["ok", "warn", "bad"]
OLDEST = (7, 0)
NEARLY = 0.8  # of a limit


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was seen, why it matters, and what to do."""

    level: Level
    check: str
    what: str
    why: str = ""
    advice: str = ""

    def __str__(self) -> str:
        text = f"{self.level:4} {self.check}: {self.what}"
        return text + "".join(f"; {part}" for part in (self.why, self.advice) if part)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings about a server."""

    server: str
    findings: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        """The worst of them."""
        levels = {finding.level for finding in self.findings}
        return "bad" if "bad" in levels else "warn" if "warn" in levels else "ok"

    def __str__(self) -> str:
        return "\n".join([f"server {self.server}", *(f"  {finding}" for finding in self.findings)])


def examine_server(keys: Keys, label: str) -> Operation[Diagnosis]:
    """Ask the server everything; what may not be asked is a finding of its own."""
    found: list[Finding] = []
    found += yield from _latency_and_clock()
    info = yield from _info()
    if not info:
        found.append(_unasked("INFO"))
    found += server_findings(info)
    settings = yield from _settings()
    if settings is None:
        found.append(_unasked("CONFIG GET"))
    found += _persistence(info, settings or {})
    found += _replication(info, settings or {})
    found += _room(info)
    found += yield from _permissions(keys)
    if info.get("aof_enabled") == "1" and (settings or {}).get("appendfsync", "everysec") == "everysec":
        found += _waitaof((yield from probe_waitaof(keys)))
    return Diagnosis(label, tuple(found))


def _unasked(command: str) -> Finding:
    return Finding(
        "warn",
        "permission",
        f"{command} is denied",
        "part of this examination is missing",
        f"grant {command}",
    )


# Asking.


def _ask(*words: Argument) -> Operation[object]:
    """Ask for one thing; None where that is refused."""
    try:
        return cast("list[object]", (yield read(words)))[0]
    except ReplyError:
        return None


def _info() -> Operation[dict[str, str]]:
    reply = yield from _ask("INFO")
    return read_info(reply)


def _settings() -> Operation[dict[str, str] | None]:
    found: dict[str, str] = {}
    for name in ("appendfsync", "save", "min-replicas-to-write"):
        reply = yield from _ask("CONFIG", "GET", name)
        if reply is None:
            return None
        found |= read_config(reply)
    return found


def _latency_and_clock() -> Operation[list[Finding]]:
    times: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        yield from _ask("PING")
        times.append((time.perf_counter() - start) * 1000)
    best = min(times)
    level: Level = "ok" if best < 20 else "warn"
    found = [
        Finding(
            level,
            "latency",
            f"a PING takes {best:.1f} ms",
            *(
                ("each call takes that long at least", "run workers nearer to the server")
                if level != "ok"
                else ()
            ),
        )
    ]
    before = time.time()
    reply = cast("list[bytes] | None", (yield from _ask("TIME")))
    if reply is not None:
        offset = int(reply[0]) + int(reply[1]) / 1e6 - (before + time.time()) / 2
        seen = f"the server is {abs(offset):.2f} s {'ahead of' if offset > 0 else 'behind'} this machine"
        if abs(offset) < 1:
            found.append(Finding("ok", "clock", seen))
        else:
            found.append(
                Finding(
                    "warn", "clock", seen, "`run_at` and delays follow the server's clock", "synchronise both"
                )
            )
    return found


def _permissions(keys: Keys) -> Operation[list[Finding]]:
    missing = yield from denied(keys, NEEDED)
    tools = yield from denied(keys, BY_TOOLS)
    if missing:
        names = ", ".join(missing)
        return [
            Finding(
                "bad",
                "permission",
                f"the user may not run {names}",
                "producers or workers will fail",
                "grant it on the queue's keys: docs/security.md has the whole list",
            )
        ]
    if tools:
        return [
            Finding(
                "warn",
                "permission",
                f"the user may not run {', '.join(tools)}",
                "fsck needs it",
                "grant it to whoever examines queues",
            )
        ]
    return [Finding("ok", "permission", "every command that is needed is allowed")]


# Judging.


def server_findings(info: dict[str, str]) -> Iterator[Finding]:
    """What INFO says about the kind of server, its role, and what it does when memory ends."""
    if "redis_version" not in info:
        return
    valkey = "valkey_version" in info
    name = "Valkey" if valkey else "Redis"
    text = info.get("valkey_version", info["redis_version"])
    version = version_of(text)
    if version_of(info["redis_version"]) < OLDEST:
        yield Finding(
            "bad",
            "version",
            f"{name} {text}",
            "its scripts know no flags",
            "use Redis 7.0 or newer, or Valkey",
        )
    holes = holes_of(version, valkey=valkey)
    for hole in holes:
        yield Finding(
            "warn",
            "version",
            f"{name} {text} has {hole.name}",
            hole.what,
            "update, unless your distribution has mended it in this version",
        )
    if not holes:
        yield Finding("ok", "version", f"{name} {text}")
    yield from trouble_of(info)
    if info.get("role") == "master":
        yield Finding("ok", "role", "primary")
    if info.get("maxmemory_policy") == "noeviction":
        yield Finding("ok", "eviction", "noeviction")
    if info.get("cluster_enabled") == "1":
        yield Finding(
            "warn",
            "cluster",
            "this is a node of a cluster",
            "a queue lies in one slot, and this version follows no redirection",
            "connect to the node that has the slot of the queue",
        )


def trouble_of(info: dict[str, str]) -> Iterator[Finding]:
    """What a program must know before it uses this server: a replica, or one that evicts."""
    if info.get("role") == "slave":
        yield Finding(
            "bad",
            "role",
            "this is a replica",
            "nothing can be added or claimed here",
            "connect to its primary",
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return
    limited = info.get("maxmemory", "0") != "0"
    level: Level = "bad" if policy.startswith("allkeys") and limited else "warn"
    why = (
        "when memory ends whole queues vanish"
        if policy.startswith("allkeys")
        else "only keys with an end are evicted, which jobs have not"
    )
    yield Finding(
        level,
        "eviction",
        f"maxmemory-policy is {policy}" + ("" if limited else ", without a limit yet"),
        why,
        "set maxmemory-policy noeviction",
    )


def _persistence(info: dict[str, str], settings: dict[str, str]) -> Iterator[Finding]:
    if "aof_enabled" not in info:
        return
    if info.get("aof_last_write_status", "ok") != "ok" or info.get("rdb_last_bgsave_status", "ok") != "ok":
        yield Finding(
            "bad",
            "persistence",
            "the last write to disk failed",
            "the server may refuse writes, or lose them",
            "look at its log and its disk",
        )
    if info["aof_enabled"] == "1":
        sync = settings.get("appendfsync", "unknown")
        if sync == "no":
            yield Finding(
                "warn",
                "persistence",
                "appendfsync is no",
                "a power loss takes half a minute of jobs",
                "set appendfsync everysec or always",
            )
        else:
            lost = "nothing" if sync == "always" else "about a second of jobs"
            yield Finding(
                "ok", "persistence", f"appendonly with appendfsync {sync}: a power loss takes {lost}"
            )
    elif settings.get("save", "?"):
        yield Finding(
            "warn",
            "persistence",
            "snapshots only",
            "a crash takes all jobs since the last one",
            "set appendonly yes",
        )
    else:
        yield Finding("warn", "persistence", "none", "a restart takes all jobs", "set appendonly yes")


def _replication(info: dict[str, str], settings: dict[str, str]) -> Iterator[Finding]:
    replicas = int(info.get("connected_slaves", "0"))
    if not replicas:
        return
    if settings.get("min-replicas-to-write", "0") == "0":
        yield Finding(
            "warn",
            "replicas",
            f"{replicas} replicas, min-replicas-to-write is 0",
            "a primary that is cut off goes on acknowledging what is lost at the failover",
            "set min-replicas-to-write 1",
        )
    else:
        yield Finding(
            "ok",
            "replicas",
            f"{replicas} replicas, min-replicas-to-write {settings['min-replicas-to-write']}",
        )


def _room(info: dict[str, str]) -> Iterator[Finding]:
    for check, used, limit, why in (
        ("memory", "used_memory", "maxmemory", "beyond it `add` raises QueueFull"),
        ("connections", "connected_clients", "maxclients", "beyond it nobody can connect"),
    ):
        most = int(info.get(limit, "0"))
        if most:
            share = int(info.get(used, "0")) / most
            level: Level = "ok" if share < NEARLY else "warn"
            advice = (why, f"raise {limit}, or find out what takes it") if level != "ok" else ()
            yield Finding(level, check, f"{share:.0%} of {limit} is used", *advice)


def _waitaof(probe: WaitAof) -> Iterator[Finding]:
    if not probe.supported:
        yield Finding(
            "warn",
            "waitaof",
            "WAITAOF is not to be had here",
            "an add cannot wait until it is on disk",
            "use Redis 7.2 or newer, or Valkey, and grant WAITAOF and SET",
        )
    elif probe.premature:
        yield Finding(
            "bad",
            "waitaof",
            f"WAITAOF answered two writes within {sum(probe.seconds) * 1000:.1f} ms",
            "this server says that it has synced before it has",
            "do not rely on WAITAOF here; set appendfsync always",
        )
    elif all(probe.local):
        yield Finding("ok", "waitaof", f"answers after the sync ({max(probe.seconds):.1f} s)")
    else:
        yield Finding(
            "warn", "waitaof", f"no answer within {max(probe.seconds):.1f} s", "the disk may be slow"
        )
