"""The worker's paths: dispatch, next to bare tasks; events; durations; encrypted data; the lease's thread."""

from __future__ import annotations

import asyncio

import msgpack
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.instruction_paths import (
    COMPLETED,
    JOBS,
    LOOP,
    NOW,
    RECORD,
    Dispatching,
    Working,
    expand_events,
)
from bullrush._core.codec import decode, encode
from bullrush._core.exchange import Exchange
from bullrush._core.histogram import Histogram
from bullrush._core.job import JobBase
from bullrush._core.renewer import Renewer
from bullrush.envelope import Compressed, Encrypted

DURATIONS = [(n * 7919) % 100_000 for n in range(JOBS)]


@pytest.mark.benchmark(group="claim and settle 1,000")
def test_claim_and_settle(benchmark: BenchmarkFixture) -> None:
    working = Working()
    benchmark(working.claim_and_settle)
    assert working.exchange.claimed_total % JOBS == 0


@pytest.mark.benchmark(group="settle one of another fate")
@pytest.mark.parametrize("fate", ["fail", "retry", "release", "progress", "log"])
def test_other_outcomes(benchmark: BenchmarkFixture, fate: str) -> None:
    """What does not simply complete: packed the moment it is said. Alternatives of one job, not rivals."""

    def setup() -> tuple[tuple[Exchange, JobBase[object, object]], dict[str, object]]:
        working = Working()
        working.claim()
        [job] = working.exchange.take_ready(1)
        return (working.exchange, job), {}

    def settle(exchange: Exchange, job: JobBase[object, object]) -> int:
        if fate == "fail":
            exchange.fail(job, b"\xa3why", b"\xaaValueError", b"\xa0", None, 1000, -1)
        elif fate == "retry":
            exchange.retry(job, b"\xa3why", b"\xaaValueError", b"\xa0", 1000)
        elif fate == "release":
            exchange.release(job)
        elif fate == "progress":
            exchange.progress(job, b"\x07")
        else:
            exchange.log(job, b"a line")
        return exchange.gathered

    benchmark.pedantic(settle, setup=setup, rounds=50)


@pytest.mark.benchmark(group="run 1,000 no-op handlers")
def test_dispatch(benchmark: BenchmarkFixture) -> None:
    dispatching = Dispatching()
    benchmark(dispatching.claim_run_and_settle)
    assert dispatching.dispatcher.runs.count % JOBS == 0


@pytest.mark.benchmark(group="run 1,000 no-op handlers")
def test_bare_tasks(benchmark: BenchmarkFixture) -> None:
    """What asyncio alone costs, with the record unpacked."""

    async def handler(record: bytes) -> None:
        msgpack.unpackb(record)

    async def run() -> None:
        await asyncio.gather(*[handler(RECORD) for _ in range(JOBS)])

    benchmark(lambda: LOOP.run_until_complete(run()))


@pytest.mark.benchmark(group="1,000 completed events")
def test_events(benchmark: BenchmarkFixture) -> None:
    benchmark(expand_events)


@pytest.mark.benchmark(group="1,000 completed events")
def test_events_msgpack(benchmark: BenchmarkFixture) -> None:
    """Splitting the same bytes, without making events of them."""

    def split() -> int:
        unpacker = msgpack.Unpacker(raw=False)
        unpacker.feed(COMPLETED)
        return sum(1 for _ in unpacker)

    assert benchmark(split) == 2 * JOBS


@pytest.mark.benchmark(group="count 1,000 durations")
def test_histogram(benchmark: BenchmarkFixture) -> None:
    histogram = Histogram()

    def record() -> int:
        for duration in DURATIONS:
            histogram.record(duration)
        return histogram.count

    assert benchmark(record) % JOBS == 0


@pytest.mark.benchmark(group="count 1,000 durations")
def test_durations_in_a_dict(benchmark: BenchmarkFixture) -> None:
    counts: dict[int, int] = {}

    def record() -> int:
        for duration in DURATIONS:
            bucket = duration.bit_length()
            counts[bucket] = counts.get(bucket, 0) + 1
        return len(counts)

    assert benchmark(record) > 0


@pytest.mark.benchmark(group="quantile")
def test_quantile(benchmark: BenchmarkFixture) -> None:
    histogram = Histogram()
    for duration in DURATIONS:
        histogram.record(duration)
    assert benchmark(histogram.quantile, 0.99) > 90_000


@pytest.mark.benchmark(group="weigh and walk 100 kB before it is decoded")
@pytest.mark.parametrize("kind", ["numbers", "maps"])
def test_decode_large(benchmark: BenchmarkFixture, kind: str) -> None:
    value = list(range(30_000)) if kind == "numbers" else [{"id": n, "ok": True} for n in range(9_000)]
    assert benchmark(decode, encode(value)) == value


@pytest.mark.benchmark(group="weigh and walk 100 kB before it is decoded")
@pytest.mark.parametrize("kind", ["numbers", "maps"])
def test_decode_large_msgpack(benchmark: BenchmarkFixture, kind: str) -> None:
    value = list(range(30_000)) if kind == "numbers" else [{"id": n, "ok": True} for n in range(9_000)]
    assert benchmark(msgpack.unpackb, encode(value)) == value


@pytest.mark.benchmark(group="seal and open")
def test_seal(benchmark: BenchmarkFixture) -> None:
    codec = Encrypted({"one": bytes(32)})

    def through() -> bytes:
        return codec.unseal(codec.seal(RECORD, b"emails 1"), b"emails 1")

    assert benchmark(through) == RECORD


@pytest.mark.benchmark(group="seal and open")
def test_aes_gcm_alone(benchmark: BenchmarkFixture) -> None:
    aead = pytest.importorskip("cryptography.hazmat.primitives.ciphers.aead")
    cipher, nonce = aead.AESGCM(bytes(32)), bytes(12)

    def through() -> bytes:
        opened: bytes = cipher.decrypt(nonce, cipher.encrypt(nonce, RECORD, b"emails 1"), b"emails 1")
        return opened

    assert benchmark(through) == RECORD


@pytest.mark.benchmark(group="compress 10 kB")
def test_compress(benchmark: BenchmarkFixture) -> None:
    codec = Compressed()
    text = "the same words again and again " * 320
    assert codec.decode(benchmark(codec.encode, text)) == text


@pytest.mark.benchmark(group="a turn of the loop tells the lease's thread")
def test_renewer_tick(benchmark: BenchmarkFixture) -> None:
    renewer = Renewer(interval=10.0, reply_limit=10.0, hang_limit=10.0)
    try:
        benchmark(renewer.tick, NOW / 1000, 0.0)
    finally:
        renewer.stop()
