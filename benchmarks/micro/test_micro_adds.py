"""From the arguments of add to the bytes that leave and the answered futures, without a socket.

Beside it what a program without the core does for the same bytes: msgpack or msgspec for each job and
hiredis or redis-py for the call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.instruction_paths import DATA, IDS, JOBS, NOW, Adding
from benchmarks.micro.test_micro_commands import HEAD, PACKERS

PACK: dict[str, Callable[[Any], bytes]] = {"msgpack": msgpack.Packer(autoreset=True).pack}
try:
    import msgspec
except ImportError:
    pass
else:
    PACK["msgspec"] = msgspec.msgpack.Encoder().encode

by_hand = pytest.mark.parametrize("packer", ["hiredis", "redis-py"])
with_each = pytest.mark.parametrize("codec", PACK)


@pytest.mark.benchmark(group="add one")
def test_add_one(benchmark: BenchmarkFixture) -> None:
    adding = Adding()
    benchmark(adding.one)
    assert adding.producer.acknowledged > 0


@pytest.mark.benchmark(group="add 1,000 at once")
def test_add_concurrently(benchmark: BenchmarkFixture) -> None:
    adding = Adding()
    benchmark(adding.concurrent)
    assert adding.producer.acknowledged % JOBS == 0


@pytest.mark.benchmark(group="add_bulk of 1,000")
def test_add_bulk(benchmark: BenchmarkFixture) -> None:
    adding = Adding()
    benchmark(adding.bulk)
    assert adding.producer.acknowledged % JOBS == 0


@pytest.mark.benchmark(group="make 1,000 jobs")
def test_make_jobs(benchmark: BenchmarkFixture) -> None:
    factory = Adding().factory
    assert len(benchmark(factory.make_all, [("send-email", DATA)] * JOBS, {}, NOW)) == JOBS


@with_each
@by_hand
@pytest.mark.benchmark(group="add one")
def test_add_one_by_hand(benchmark: BenchmarkFixture, packer: str, codec: str) -> None:
    pack, encode = PACKERS[packer], PACK[codec]
    assert benchmark(lambda: pack(*HEAD, IDS[0], encode(["send-email", NOW, None, DATA])))


@with_each
@by_hand
@pytest.mark.benchmark(group="add_bulk of 1,000")
def test_add_bulk_by_hand(benchmark: BenchmarkFixture, packer: str, codec: str) -> None:
    pack, encode = PACKERS[packer], PACK[codec]

    def add() -> bytes:
        arguments: list[Any] = []
        for id in IDS:
            arguments += (id, encode(["send-email", NOW, None, DATA]))
        return pack(*HEAD, *arguments)

    assert len(benchmark(add)) > JOBS * 60
