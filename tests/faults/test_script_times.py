"""T35: no script holds the server up for long, with a million jobs in the queue and the largest arguments."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any, cast

import pytest
import redis

from bullrush import Job, Queue
from bullrush.scripts import load
from tests.conftest import PrivateServer
from tests.servers import KINDS, Kind
from tests.waiting import wait_until_async

JOBS = 1_000_000
LONGEST_MS = (
    500.0  # of nine calls out of ten, on a machine that does a lot else; alone it is about a tenth of that
)
LARGE = "x" * 3_900
MORE = re.compile(rb"\.\.\. \((\d+) more bytes\)")


def scripts() -> dict[bytes | int, str]:
    """Names by digest, and by the length of the text for those that are sent whole."""
    found: dict[bytes | int, str] = {}
    for path in files("bullrush").joinpath("lua").iterdir():
        if path.name.endswith(".lua"):
            script = load(path.name.removesuffix(".lua"))
            found[script.sha.encode()] = found[len(script.source)] = script.name
    return found


def times_of(client: redis.Redis) -> dict[str, list[float]]:
    """How long the calls of each script took in ms, by the server's own clock, those below 50 µs left out."""
    names = scripts()
    found: defaultdict[str, list[float]] = defaultdict(list)
    for entry in cast("list[dict[str, Any]]", client.slowlog_get(-1)):
        command = cast("bytes", entry["command"])
        kind, _, rest = command.partition(b" ")
        if kind not in (b"EVAL", b"EVALSHA"):
            continue
        more = MORE.search(rest)  # a text is cut after 128 bytes
        key = rest.partition(b" ")[0] if kind == b"EVALSHA" or more is None else 128 + int(more[1])
        name = names.get(key, "another")
        found[name].append(entry["duration"] / 1000)
    return {name: sorted(times) for name, times in found.items()}


def most(times: list[float]) -> float:
    """What nine calls out of ten took at most."""
    return times[len(times) * 9 // 10]


async def fail(job: Job) -> None:
    """Fail, with as long a stack as there is."""
    raise LookupError(LARGE)


async def value(job: Job) -> str:
    """Complete with a large outcome."""
    return LARGE


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
async def test_no_script_holds_the_server_up(private_server: PrivateServer, kind: Kind) -> None:
    server = private_server(kind)
    with server.client(timeout=60) as admin:
        async with Queue("q", server.url, request_timeout="60s") as queue:
            admin.config_set("slowlog-max-len", 1_000_000)
            admin.config_set("slowlog-log-slower-than", 50)
            await queue.add_bulk([("work", i) for i in range(JOBS // 2)])
            await queue.add_bulk([("work", i) for i in range(JOBS // 8)], delay="1h")
            await queue.add_bulk([("work", i) for i in range(JOBS // 8)], priority=5)
            await queue.add_bulk([("work", i) for i in range(JOBS // 4)], lifo=True, attempts=2)
            await queue.add_bulk([("work", LARGE) for _ in range(4_000)])
            for handler in (value, fail):
                await some(queue, handler, 20_000)
            await queue.retry_jobs()
            await queue.promote_jobs(limit=50_000)
            await queue.clean(0, "completed", limit=10_000)
            await queue.clean(0, "delayed", limit=10_000)
            report = await queue.fsck()
            assert report.ok, str(report)
            times = times_of(admin)
            print(
                f"\n{kind}, a queue of {JOBS:,} jobs: calls, nine out of ten took at most, the longest (ms)"
            )
            for name, calls in sorted(times.items(), key=lambda item: -most(item[1])):
                print(f"  {name:14}{len(calls):8,}{most(calls):8.2f}{calls[-1]:8.2f}")
            assert {"add", "add_special", "exchange", "retry", "promote", "clean", "survey"} <= times.keys()
            assert max(map(most, times.values())) < LONGEST_MS


async def some(queue: Queue, handler: Callable[[Job], Awaitable[object]], count: int) -> None:
    """Let a worker do so many jobs or a few more, as many at once as it may hold."""
    worker = queue.process(handler, concurrency=1_000, remove_on_complete=False, remove_on_fail=False)
    async with worker:
        await wait_until_async(lambda: worker.stats.settled >= count, 120)
