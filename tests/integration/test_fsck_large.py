"""How long an examination of a million jobs takes, and its slowest call."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import pytest
import redis

from bullrush import JobOptions
from bullrush.sync import Queue
from tests.conftest import PrivateServer
from tests.servers import KINDS, Kind

JOBS = 1_000_000


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_a_million_jobs(
    private_server: PrivateServer, kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    server = private_server(kind)
    with Queue("q", server.url) as queue, server.client() as client:
        queue.add_stream(jobs())
        client.config_set("slowlog-log-slower-than", 1000)
        client.config_set("slowlog-max-len", 10_000)
        client.slowlog_reset()
        start, used = perf_counter(), processor_time(client)
        report = queue.fsck()
        seconds, used = perf_counter() - start, processor_time(client) - used
        assert report.ok and not report.problems, report
        assert report.checked["jobs"] == JOBS
        slowest = slowest_call(client)
        waiting = queue.keys["waiting"]
        lost, twice = client.lindex(waiting, 250_000), client.lindex(waiting, 200_000)  # type: ignore[misc]
        client.execute_command("LREM", waiting, 1, lost)
        client.execute_command("LPUSH", waiting, twice)
        client.slowlog_reset()
        found = queue.fsck()
        assert {(p.kind, p.id) for p in found.problems} == {
            ("lost", lost.decode()),
            ("twice", twice.decode()),
        }, found
        with capsys.disabled():
            print(
                f"\n{kind}: {JOBS:,} jobs examined in {seconds:.1f} s ({used:.1f} s of the server), slowest call {slowest / 1000:.1f} ms; "
                f"with two that are wrong {slowest_call(client) / 1000:.1f} ms"
            )
        # By the clock on the wall, which runs on while others have the processor.
        assert slowest < 1_000_000, "a call that holds the server up"


def jobs() -> Iterator[tuple[str, int, JobOptions]]:
    """Half of them plain, the others prioritized or delayed."""
    kinds = (JobOptions(), JobOptions(), JobOptions(priority=3), JobOptions(delay="1d"))
    for n in range(JOBS):
        yield "job", n, kinds[n % 4]


def processor_time(client: redis.Redis) -> float:
    """What the server has used, in s."""
    info = client.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


def slowest_call(client: redis.Redis) -> int:
    """In µs, of the scripts that only look."""
    slow = client.slowlog_get(10_000)
    calls = [call["duration"] for call in slow if call["command"].startswith((b"EVAL", b"SCAN", b"LPOS"))]
    return max(calls, default=0)
