"""Build and parse one exchange of 1,000 plain jobs without a socket, and hiredis alone reading the same reply."""

from __future__ import annotations

import time

import hiredis
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.instruction_paths import JOBS, new_exchange
from bullrush._core.codec import encode_record
from bullrush._core.exchange import Exchange
from bullrush._core.frames import encode_command

IDS = [str(1_000_000 + i) for i in range(JOBS)]
RECORD = encode_record(
    "send-email", 1_795_000_000_000, None, {"to": "user000042@mail.example.com", "uid": 100_042}
)


def make_exchange() -> Exchange:
    """Make an exchange that believes its session is open."""
    exchange = new_exchange()
    now = time.monotonic()
    assert exchange.poll(now) is not None
    exchange.receive([1_795_000_000_000, b"epoch", None, None, None, b"all", b"msgpack", []], now)
    assert exchange.poll(now) is not None
    return exchange


def reply() -> list[object]:
    """The reply of an exchange that claimed all of them."""
    return [1_795_000_000_000, 2, 0, " ".join(IDS).encode(), [RECORD] * JOBS, [], [], [], b"1-0"]


@pytest.mark.benchmark(group="exchange of 1,000 jobs")
def test_parse(benchmark: BenchmarkFixture) -> None:
    def setup() -> tuple[tuple[Exchange, list[object]], dict[str, object]]:
        return (make_exchange(), reply()), {}

    def parse(exchange: Exchange, answer: list[object]) -> int:
        exchange.receive(answer, time.monotonic())
        return len(exchange.ready)

    assert benchmark.pedantic(parse, setup=setup, rounds=50) == JOBS


@pytest.mark.benchmark(group="exchange of 1,000 jobs")
def test_build(benchmark: BenchmarkFixture) -> None:
    def setup() -> tuple[tuple[Exchange, list[object]], dict[str, object]]:
        exchange = make_exchange()
        exchange.receive(reply(), time.monotonic())
        return (exchange, exchange.take_ready(JOBS)), {}

    def build(exchange: Exchange, jobs: list[object]) -> int:
        for job in jobs:
            exchange.complete_with(job, None)  # type: ignore[arg-type]
        frame = exchange.poll(time.monotonic())
        assert frame is not None
        return len(frame)

    assert benchmark.pedantic(build, setup=setup, rounds=50) > JOBS * 40


@pytest.mark.benchmark(group="exchange of 1,000 jobs")
def test_hiredis_reads_the_reply(benchmark: BenchmarkFixture) -> None:
    packed = b"*2\r\n$%d\r\n%b\r\n" % (len(" ".join(IDS)), " ".join(IDS).encode()) + encode_command(
        *[RECORD] * JOBS
    )

    def read() -> object:
        reader = hiredis.Reader()
        reader.feed(packed)
        return reader.gets()

    answer = benchmark(read)
    assert isinstance(answer, list)
    assert len(answer[1]) == JOBS
