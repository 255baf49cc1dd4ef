"""Bytes in Redis that are no job: that one fails with the reason, the worker goes on with the others."""

from __future__ import annotations

from typing import cast

import pytest
import redis

from bullrush import CodecError, Job, Queue

GARBAGE: dict[str, bytes] = {
    "empty": b"",
    "no msgpack": b"\xc1\xc1\xc1",
    "text": b"Hello, is this a job?",
    "another type": b"\x2a",
    "a length that lies": b"\xdd\xff\xff\xff\xff",
    "a short array": b"\x91\xa4work",
    "deeply nested": b"\x91" * 5_000,
}
NEEDLE = "needle-in-the-record"


class Witness:
    """A handler that keeps what it saw of each job."""

    def __init__(self) -> None:
        self.seen: dict[str, object] = {}

    async def __call__(self, job: Job) -> object:
        self.seen[job.id] = job.data
        return job.data


async def add_three(queue: Queue) -> list[Job]:
    return await queue.add_bulk([("work", {"text": NEEDLE, "n": i}) for i in range(3)])


def record_of(client: redis.Redis, queue: Queue, job: Job) -> bytes:
    return cast("bytes", client.hget(queue.keys["jobs"], job.id))


def overwrite(client: redis.Redis, queue: Queue, job: Job, record: bytes) -> None:
    client.hset(queue.keys["jobs"], job.id, record)


async def work_off(queue: Queue, *, concurrency: int = 2) -> tuple[Witness, list[tuple[str, Exception]]]:
    """Let a worker do all there is; returns what its handler saw and what its listener heard of failures."""
    witness, failures = Witness(), list[tuple[str, Exception]]()
    worker = queue.process(witness, concurrency=concurrency)
    worker.on("failed", lambda job, error: failures.append((job.id, error)))
    async with worker:
        await worker.wait_idle("10s")
    return witness, failures


async def check_only_that_one_failed(
    queue: Queue, client: redis.Redis, jobs: list[Job], bad: Job, reason: str
) -> None:
    witness, failures = await work_off(queue)
    good = [job for job in jobs if job is not bad]
    assert witness.seen == {job.id: job.data for job in good}
    counts = await queue.get_job_counts()
    assert counts == {**dict.fromkeys(counts, 0), "completed": len(good), "failed": 1}
    [(id, error)] = failures
    assert id == bad.id
    assert isinstance(error, CodecError)
    assert reason in str(error)
    assert client.hget(queue.keys["meta"], "held") == b"0"
    outcome = cast("bytes", client.hget(queue.keys["outcomes"], bad.id))
    assert b"CodecError" in outcome
    assert client.hexists(queue.keys["jobs"], bad.id), "the bytes are kept for whoever looks for the cause"


@pytest.mark.parametrize("record", GARBAGE.values(), ids=GARBAGE)
async def test_a_record_that_is_garbage(
    url: str, prefix: str, redis_client: redis.Redis, record: bytes
) -> None:
    async with Queue("q", url, prefix=prefix) as queue:
        jobs = await add_three(queue)
        overwrite(redis_client, queue, jobs[1], record)
        await check_only_that_one_failed(queue, redis_client, jobs, jobs[1], f"record of job {jobs[1].id}")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
async def test_a_record_that_is_cut_off(
    url: str, prefix: str, redis_client: redis.Redis, kept: float
) -> None:
    async with Queue("q", url, prefix=prefix) as queue:
        jobs = await add_three(queue)
        whole = record_of(redis_client, queue, jobs[0])
        overwrite(redis_client, queue, jobs[0], whole[: int(len(whole) * kept)])
        await check_only_that_one_failed(queue, redis_client, jobs, jobs[0], f"job {jobs[0].id}")


async def test_a_name_that_is_no_utf_8(url: str, prefix: str, redis_client: redis.Redis) -> None:
    async with Queue("q", url, prefix=prefix) as queue:
        jobs = await add_three(queue)
        whole = record_of(redis_client, queue, jobs[2])
        overwrite(redis_client, queue, jobs[2], whole.replace(b"work", b"\xff\xfe\xfd\xfc"))
        await check_only_that_one_failed(queue, redis_client, jobs, jobs[2], f"name of job {jobs[2].id}")


async def test_data_that_cannot_be_decoded(url: str, prefix: str, redis_client: redis.Redis) -> None:
    async with Queue("q", url, prefix=prefix, defaults={"attempts": 5, "backoff": 0}) as queue:
        jobs = await add_three(queue)
        whole = record_of(redis_client, queue, jobs[1])
        overwrite(redis_client, queue, jobs[1], whole.replace(NEEDLE.encode(), b"\xff" * len(NEEDLE)))
        await check_only_that_one_failed(queue, redis_client, jobs, jobs[1], "cannot decode")


@pytest.mark.parametrize("record", [b"", b"\xc1\xc1\xc1"])
async def test_a_failed_one_can_be_looked_at(
    url: str, prefix: str, redis_client: redis.Redis, record: bytes
) -> None:
    async with Queue("q", url, prefix=prefix) as queue:
        jobs = await add_three(queue)
        overwrite(redis_client, queue, jobs[1], record)
        await work_off(queue)
        job = await queue.get_job(jobs[1].id)
        assert job is not None
        assert job.error_type == "CodecError"
        assert "cannot be decoded" in str(job.failed_reason)
        assert [job.id for job in await queue.get_jobs("failed")] == [jobs[1].id]
        with pytest.raises(CodecError):
            print(job.data)


async def test_a_record_that_is_gone_is_dropped(url: str, prefix: str, redis_client: redis.Redis) -> None:
    async with Queue("q", url, prefix=prefix) as queue:
        jobs = await queue.add_bulk([("work", i) for i in range(100)])
        for job in jobs[::3]:
            redis_client.hdel(queue.keys["jobs"], job.id)
        witness, failures = await work_off(queue, concurrency=10)
        gone = {job.id for job in jobs[::3]}
        assert set(witness.seen) == {job.id for job in jobs} - gone
        assert failures == []
        counts = await queue.get_job_counts()
        assert counts == {**dict.fromkeys(counts, 0), "completed": len(jobs) - len(gone)}
        assert redis_client.hget(queue.keys["meta"], "held") == b"0"


async def test_a_job_removed_from_a_long_line_is_skipped(
    url: str, prefix: str, redis_client: redis.Redis
) -> None:
    """In a long list the id stays behind as a tombstone."""
    async with Queue("q", url, prefix=prefix, defaults={"remove_on_complete": True}) as queue:
        jobs = await queue.add_bulk([("work", i) for i in range(12_000)])
        removed = [jobs[0], jobs[6_000], jobs[11_999]]
        for job in removed:
            assert await queue.remove(job.id)
            assert not await queue.remove(job.id)
            assert await queue.get_state(job.id) == "unknown"
        assert redis_client.llen(queue.keys["waiting"]) == 12_000
        assert await queue.get_job_counts("waiting") == {"waiting": 11_997}
        witness, _ = await work_off(queue, concurrency=100)
        assert set(witness.seen) == {job.id for job in jobs} - {job.id for job in removed}
        counts = await queue.get_job_counts()
        assert counts == dict.fromkeys(counts, 0)
        assert redis_client.exists(queue.keys["removed"]) == 0


async def test_an_outcome_that_is_garbage_does_not_hide_the_job(
    url: str, prefix: str, redis_client: redis.Redis
) -> None:
    async with Queue("q", url, prefix=prefix) as queue:
        jobs = await add_three(queue)
        await work_off(queue)
        redis_client.hset(queue.keys["outcomes"], jobs[1].id, b"\xc1")
        found = await queue.get_jobs("completed", ascending=True)
        assert {job.id for job in found} == {job.id for job in jobs}
