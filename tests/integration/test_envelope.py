"""Data and return values that are encrypted, and bound to their queue, name and job; compressed ones."""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import AsyncIterator
from typing import cast

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from bullrush import (
    CodecError,
    Completed,
    Compressed,
    Encrypted,
    InvalidOption,
    InvalidOptionType,
    Job,
    JobFailed,
    PayloadTooLarge,
    Queue,
    sync,
)
from bullrush.codec import data_context, result_context
from bullrush.errors import ServerError
from tests.unit.test_codec import VALUES

OLD, NEW = os.urandom(32), os.urandom(32)
NEEDLE = "needle-in-the-data"


@pytest.fixture
async def queue(url: str, prefix: str) -> AsyncIterator[Queue]:
    async with Queue("q", url, prefix=prefix, codec=Encrypted({"old": OLD})) as queue:
        yield queue


async def echo(job: Job) -> object:
    return {"echo": job.data}


def everything_stored(client: redis.Redis) -> bytes:
    found = [client.dump(key) or b"" for key in client.keys("*")]
    return b"".join(cast("list[bytes]", found))


async def test_data_and_result_come_back_and_are_not_to_be_read_in_redis(
    queue: Queue, redis_client: redis.Redis
) -> None:
    async with queue.process(echo, concurrency=3), queue.events(kinds=[Completed]) as events:
        jobs = [await queue.add("work", {"text": NEEDLE, "n": n}) for n in range(3)]
        jobs += await queue.add_bulk([("work", {"text": NEEDLE, "n": n}) for n in range(3, 1500)])
        jobs.append(await queue.add("work", {"text": NEEDLE, "n": 1500}, delay=1, job_id="own"))
        jobs.append(await queue.add("work", {"text": NEEDLE * 2000, "n": 1501}))
        results = await queue.gather(jobs, timeout="20s")
        assert [cast("dict[str, dict[str, int]]", result)["echo"]["n"] for result in results] == list(
            range(1502)
        )
        told = [await anext(events) for _ in range(3)]
        assert all(isinstance(event, Completed) and event.returnvalue is not None for event in told)
    assert NEEDLE.encode() not in everything_stored(redis_client)
    again = await queue.get_job("own")
    assert again is not None
    assert again.data == {"text": NEEDLE, "n": 1500}
    assert again.returnvalue == {"echo": again.data}
    assert [job.data["n"] for job in jobs[:3]] == [0, 1, 2]
    assert (await queue.add("work")).data is None


async def test_data_that_was_changed_is_sealed_as_well(queue: Queue, redis_client: redis.Redis) -> None:
    job = await queue.add("work", 1)
    await job.update_data({"text": NEEDLE})
    assert job.data == {"text": NEEDLE}
    again = await queue.get_job(job.id)
    assert again is not None
    assert again.data == {"text": NEEDLE}
    assert NEEDLE.encode() not in everything_stored(redis_client)


async def test_a_record_of_another_job_fails_for_good_and_says_why(
    queue: Queue, redis_client: redis.Redis
) -> None:
    """Somebody who can write to Redis gives one job the data of another."""
    mine = await queue.add("work", "mine", attempts=5)
    other = await queue.add("work", "other")
    record = cast("bytes", redis_client.hget(queue.keys["jobs"], other.id))
    redis_client.hset(queue.keys["jobs"], mine.id, record)
    async with queue.process(echo):
        with pytest.raises(JobFailed, match="for another job or queue") as caught:
            await mine.result("10s")
        assert await other.result("10s") == {"echo": "other"}
    assert caught.value.error_type == "CodecError"
    assert caught.value.attempts_made == 1


async def test_a_result_of_another_job_is_refused(queue: Queue, redis_client: redis.Redis) -> None:
    async with queue.process(echo):
        first, second = await queue.add("work", 1), await queue.add("work", 2)
        await queue.gather([first, second], timeout="10s")
    outcome = cast("bytes", redis_client.hget(queue.keys["outcomes"], second.id))
    redis_client.hset(queue.keys["outcomes"], first.id, outcome)
    with pytest.raises(CodecError, match="for another job or queue"):
        await queue.get_result(first.id, timeout="5s")


async def test_the_same_bytes_in_another_queue_are_refused(
    queue: Queue, url: str, prefix: str, redis_client: redis.Redis
) -> None:
    job = await queue.add("work", 1)
    async with Queue("other", url, prefix=prefix, codec=Encrypted({"old": OLD})) as other:
        await other.add("work", 1, job_id="a")
        record = cast("bytes", redis_client.hget(queue.keys["jobs"], job.id))
        redis_client.hset(other.keys["jobs"], "a", record)
        stolen = await other.get_job("a")
        assert stolen is not None
        with pytest.raises(CodecError, match="the data of job a cannot be read"):
            _ = stolen.data


async def test_keys_are_rotated_while_jobs_wait(queue: Queue, url: str, prefix: str) -> None:
    before = await queue.add("work", "before")
    both = Encrypted({"old": OLD, "new": NEW})
    async with Queue("q", url, prefix=prefix, codec=both) as rotated, rotated.process(echo):
        after = await rotated.add("work", "after")
        assert await rotated.gather([before, after], timeout="10s") == [{"echo": "before"}, {"echo": "after"}]
    async with Queue("q", url, prefix=prefix, codec=Encrypted({"new": NEW})) as late:
        found = [await late.get_job(job.id) for job in (before, after)]
        assert found[1] is not None
        assert found[1].data == "after"
        with pytest.raises(CodecError, match="key 'old', which is none of new"):
            _ = cast("Job", found[0]).data


async def test_a_queue_takes_plain_or_encrypted_jobs_never_both(queue: Queue, url: str, prefix: str) -> None:
    await queue.add("work", 1)
    async with Queue("q", url, prefix=prefix) as plain:
        with pytest.raises((InvalidOption, ServerError, CodecError), match="codec"):
            await plain.add("work", 1)


def test_blocking_code_and_handlers_in_threads_do_the_same(url: str, prefix: str) -> None:
    codec = Encrypted({"k": NEW}, codec=Compressed(threshold=100))
    with sync.Queue("q", url, prefix=prefix, codec=codec) as queue:
        job = queue.add("work", [NEEDLE] * 100)

        async def run() -> object:
            async with Queue("q", url, prefix=prefix, codec=codec) as other, other.process(length):
                return await other.get_result(job.id, timeout="10s")

        assert asyncio.run(run()) == 100
        assert queue.get_result(job.id, timeout="5s") == 100
        found = queue.get_job(job.id)
        assert found is not None
        assert found.data == [NEEDLE] * 100
        assert len(found.to_dict()["data"]) == 100


def length(job: sync.Job) -> int:
    return len(cast("list[str]", job.data))


async def test_the_size_limit_counts_what_is_stored(queue: Queue) -> None:
    with pytest.raises(PayloadTooLarge):
        await queue.add("work", "x" * 950, size_limit=1000)
    await queue.add("work", "x" * 850, size_limit=1000)


@given(VALUES)
def test_what_is_sealed_comes_back_from_its_place_only(value: object) -> None:
    codec = Encrypted({"a": OLD, "b": NEW})
    prepared = codec.prepare(value)
    here, there = data_context("q", "work", "1"), result_context("q", "1")
    sealed = codec.seal(prepared, here)
    assert len(sealed) == len(prepared) + codec.overhead
    assert codec.unseal(sealed, here) == prepared
    assert codec.seal(prepared, here) != sealed
    with pytest.raises(CodecError):
        codec.unseal(sealed, there)


@given(st.data())
def test_every_changed_byte_is_noticed(data: st.DataObject) -> None:
    codec = Encrypted({"key": OLD})
    sealed = bytearray(codec.seal(codec.prepare({"a": 1}), b"here"))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CodecError):
        codec.unseal(bytes(sealed), b"here")


@given(st.binary(max_size=80))
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(CodecError):
        Encrypted({"key": OLD}).unseal(garbage, b"")


def test_names_cannot_be_shifted_into_each_other() -> None:
    assert data_context("a", "bc", "1") != data_context("ab", "c", "1")


def test_a_fork_never_uses_a_nonce_of_its_parent() -> None:
    codec = Encrypted({"key": OLD})
    codec.seal(b"x", b"")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, codec.seal(b"x", b"")[:30])
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 30) != codec.seal(b"x", b"")[:30]
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({}, InvalidOptionType),
        (OLD, InvalidOptionType),
        ({"a": b"short"}, InvalidOption),
        ({"a": "x" * 32}, InvalidOption),
        ({"a b": OLD}, InvalidOption),
        ({"": OLD}, InvalidOption),
    ],
)
def test_wrong_keys_are_refused(keys: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        Encrypted(keys)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="none of the keys"):
        Encrypted({"a": OLD}, write_with="b")


def test_secrets_are_not_shown() -> None:
    assert OLD.hex() not in repr(Encrypted({"a": OLD}))
    assert repr(OLD) not in repr(Encrypted({"a": OLD}))


@given(VALUES)
def test_compressed_values_come_back(value: object) -> None:
    codec = Compressed(threshold=0)
    assert codec.decode(codec.encode(value)) == value or value != value  # nan


def test_short_data_is_left_alone_and_long_data_gets_short() -> None:
    codec = Compressed(threshold=100)
    assert codec.encode("x" * 50)[:1] == b"\0"
    assert len(codec.encode("x" * 10_000)) < 200
    assert codec.encode(os.urandom(1000))[:1] == b"\0"


@pytest.mark.parametrize(
    ("garbage", "why"),
    [
        (b"", "neither compressed"),
        (b"\2abc", "neither compressed"),
        (b"\1abc", "cannot be decompressed"),
        (b"\1" + zlib.compress(b"abc")[:-1], "ends too early"),
        (b"\1" + zlib.compress(bytes(70 << 20)), "decompresses to more"),
    ],
)
def test_what_cannot_be_decompressed_is_refused(garbage: bytes, why: str) -> None:
    with pytest.raises(CodecError, match=why):
        Compressed().decode(garbage)
