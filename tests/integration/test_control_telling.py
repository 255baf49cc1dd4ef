"""Programs beside the handler: progress, log lines, events of one's own, the length of the stream."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from bullrush import (
    CodecError,
    InvalidOption,
    InvalidOptionType,
    Job,
    JobNotFound,
    PayloadTooLarge,
    Progress,
    Queue,
)
from tests.hearing import heard


async def ok(job: Job) -> str:
    return "ok"


async def test_other_programs_tell_progress(queue: Queue) -> None:
    job = await queue.add("work", 1)
    events = await heard(queue, (Progress,), lambda: queue.update_job_progress(job.id, {"percent": 5}))
    assert [(event.job_id, event.data) for event in events] == [(job.id, {"percent": 5})]
    assert (await job.refresh()).progress == {"percent": 5}
    with pytest.raises(JobNotFound, match="nothing was changed"):
        await queue.update_job_progress("nobody", 1)
    with pytest.raises(CodecError):
        await queue.update_job_progress(job.id, object())


async def test_other_programs_log(queue: Queue, redis_client: redis.Redis) -> None:
    job, other = await queue.add("work", 1), await queue.add("work", 2)
    lines = ["plain", "with\0NUL", "two\nlines", "", "ü€😀", "\x01", "x" * 1_000]
    for n, line in enumerate(lines, 1):
        assert await queue.add_job_log(job.id, line) == n
    await queue.add_job_log(other.id, "another")
    assert await job.get_logs() == (lines, 7)
    assert await job.get_logs(1, 2) == (lines[1:3], 7)
    assert await queue.add_job_log(job.id, "last", keep=3) == 3
    assert await job.get_logs() == ([*lines[-2:], "last"], 3)
    await job.clear_logs(keep=2)
    assert await job.get_logs() == ([lines[-1], "last"], 2)
    await queue.clear_job_logs(job.id)
    assert await job.get_logs() == ([], 0)
    assert await queue.add_job_log(job.id, "anew") == 1
    assert await other.get_logs() == (["another"], 1)
    with pytest.raises(JobNotFound):
        await queue.add_job_log("nobody", "line")
    with pytest.raises(InvalidOptionType):
        await queue.add_job_log(job.id, 5)  # type: ignore[arg-type]
    assert redis_client.hlen(queue.keys["logged"]) == 2


async def test_events_of_ones_own(queue: Queue, url: str, prefix: str) -> None:
    events = await heard(queue, (), lambda: queue.publish_event("deployed", {"version": 7}))
    assert [(event.kind, event.data) for event in events] == [("deployed", {"version": 7})]
    with pytest.raises(InvalidOption):
        await queue.publish_event("")
    with pytest.raises(PayloadTooLarge, match="nothing was sent"):
        await queue.publish_event("large", "x" * 2**20)


@pytest.mark.parametrize(("mode", "written"), [("outcomes", 1), ("off", 0)])
async def test_events_of_ones_own_follow_the_mode(
    url: str, prefix: str, redis_client: redis.Redis, mode: Any, written: int
) -> None:
    async with Queue("q", url, prefix=prefix, events=mode) as queue:
        await queue.add("work", 1)
        await queue.drain()
        await queue.publish_event("deployed")
        assert redis_client.xlen(queue.keys["events"]) == written


async def test_the_stream_is_trimmed(queue: Queue, redis_client: redis.Redis) -> None:
    for i in range(10):
        await queue.add("work", i)
    assert await queue.trim_events(4) == 6
    assert await queue.trim_events(100) == 0
    assert redis_client.xlen(queue.keys["events"]) == 4
    assert await queue.trim_events(0) == 4
    job = await queue.add("work", 1)
    async with queue.process(ok):
        assert await job.result("10s") == "ok"
