"""Data of any size arrives as it was sent; bytes that are no data fail their job alone, in bounded memory."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from bullrush import Job, PayloadTooLarge, Queue
from bullrush._core.codec import encode_record
from tests.faults.traffic import check_books

MIB = 1024 * 1024
MOST_GROWTH = 64 * MIB
# Around what the formats, the scripts and the mark of large records change at.
SIZES = (
    *(0, 1, 31, 32, 255, 256, 4_095, 4_096, 65_535, 65_536, 65_537),
    *range(3_970, 4_001),  # a record of 4,000 bytes is the largest plain one
    *(MIB - 1, MIB, 8 * MIB - 100, 8 * MIB, 8 * MIB + 1),
)
COUNTS = (1, 2, 999, 1_000, 1_001, 1_999, 2_001, 3_998, 4_000)


# T44


async def test_data_of_every_size_comes_back_as_it_was(queue: Queue) -> None:
    """In one add each, in one call together, through a handler and out of its result."""
    texts = {size: chr(97 + size % 26) * size for size in SIZES}
    seen: Counter[int] = Counter()

    async def handle(job: Job) -> str:
        assert job.data == texts[len(job.data)]
        seen[len(job.data)] += 1
        return job.data

    async with queue.process(handle, concurrency=10, remove_on_complete=False) as worker:
        single = [await queue.add("work", text) for text in texts.values()]
        await queue.add_bulk([("work", text) for text in texts.values()])
        for job in single:
            assert await job.result("30s") == job.data
        await worker.wait_idle("60s")
    assert seen == dict.fromkeys(SIZES, 2)
    await check_books(queue, completed=2 * len(SIZES))


@pytest.mark.parametrize("count", [*COUNTS, pytest.param(100_000, marks=pytest.mark.long)])
async def test_batches_of_every_size_are_stored_whole_and_in_order(queue: Queue, count: int) -> None:
    jobs = await queue.add_bulk([("work", i) for i in range(count)])
    assert len({job.id for job in jobs}) == count
    assert (await queue.get_job_counts("waiting"))["waiting"] == count
    first, last = await queue.get_jobs("waiting", 0, 0), await queue.get_jobs("waiting", -1, -1)
    assert {first[0].data, last[0].data} == {0, count - 1}
    report = await queue.fsck()
    assert report.ok, str(report)


@pytest.mark.parametrize("limit", [1_000, None])
async def test_what_is_too_large_is_refused_before_anything_is_sent(
    queue: Queue, redis_client: redis.Redis, limit: int | None
) -> None:
    await queue.add("work", 1)
    before = int(redis_client.info("stats")["total_net_input_bytes"])
    with pytest.raises(PayloadTooLarge) as refused:
        if limit is None:
            await queue.add("work", "x" * (64 * MIB))
        else:
            await queue.add("work", "x" * (limit + 1), size_limit=limit)
    assert refused.value.took_effect is False
    assert int(redis_client.info("stats")["total_net_input_bytes"]) - before < 10_000
    assert (await queue.get_job_counts("waiting"))["waiting"] == 1


# T41


def corpus(chance: random.Random, count: int) -> Iterator[bytes]:
    """Records with flipped, cut, doubled and made-up bytes; towers, and lengths that lie."""
    whole = [
        encode_record("work", 0, None, value)
        for value in (None, [1, 2.5, "three"], {"a": {"b": [b"c"] * 20}}, "x" * 5_000, list(range(300)))
    ]
    head = whole[0][:-1]  # without the data
    for number in range(count):
        record = bytearray(chance.choice(whole))
        kind = number % 8
        if kind == 0:
            record[chance.randrange(len(record))] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del record[chance.randrange(len(record)) :]
        elif kind == 2:
            record[chance.randrange(len(record))] = chance.randrange(256)
        elif kind == 3:
            record += chance.randbytes(20)
        elif kind == 4:
            record = bytearray(head + bytes([chance.choice((0x91, 0x81))]) * chance.randrange(1, 100_000))
        elif kind == 5:  # a length of up to 4 GB, and little behind it
            record = bytearray(head + bytes([chance.choice((0xDD, 0xDF, 0xC6, 0xDB, 0xC9))]))
            record += chance.randbytes(4) + b"\x00" * 10
        elif kind == 6:
            record = bytearray(chance.randbytes(chance.randrange(200)))
        else:  # more objects than bytes can be trusted with
            record = bytearray(head + b"\xdd" + (200_000).to_bytes(4, "big") + b"\x80" * 200_000)
        yield bytes(record)


def reset_peak() -> int:
    """Forget how much memory this process had at most, and return what it has now."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


@pytest.mark.damaged
@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [160, pytest.param(10_000, marks=pytest.mark.long)])
async def test_bytes_that_are_no_job_fail_alone_in_bounded_memory(
    queue: Queue, redis_client: redis.Redis, count: int
) -> None:
    """Each poisoned record ends as completed or failed with a reason, and the jobs between them complete."""
    jobs = await queue.add_bulk([("work", None)] * count)
    good = await queue.add_bulk([("good", i) for i in range(50)])
    records = corpus(random.Random(41), count)
    for start in range(0, count, 500):
        part = {job.id: record for job, record in zip(jobs[start : start + 500], records, strict=False)}
        redis_client.hset(queue.keys["jobs"], mapping=part)
    reasons: Counter[str] = Counter()
    ran: list[str] = []

    async def handle(job: Job) -> None:
        ran.append(job.id)
        _ = job.data, job.settings

    worker = queue.process(handle, concurrency=5, remove_on_complete=False, remove_on_fail=False)
    worker.on("failed", lambda _, error: reasons.update([type(error).__name__]))
    before = reset_peak()
    async with worker:
        await worker.wait_idle("5m")
    assert memory("VmHWM") - before < MOST_GROWTH
    assert reasons.keys() == {"CodecError"}, reasons
    assert reasons["CodecError"] > count / 2
    assert {job.id for job in good} <= set(ran)
    counts = await queue.get_job_counts("completed", "failed", "active", "waiting")
    assert counts == {
        "completed": 50 + count - reasons["CodecError"],
        "failed": reasons["CodecError"],
        "active": 0,
        "waiting": 0,
    }


async def test_a_payload_of_16_mib_takes_little_more_than_itself(queue: Queue) -> None:
    """The worker's memory, producer and test included, grows by a small multiple and shrinks again."""
    size = 16 * MIB - 100  # the largest that is taken

    async def handle(job: Job) -> int:
        return len(job.data)

    job = await queue.add("work", "x" * size)
    async with queue.process(handle) as worker:
        before = reset_peak()
        assert await job.result("30s") == size
        await worker.wait_idle("20s")
        assert memory("VmHWM") - before < MOST_GROWTH
