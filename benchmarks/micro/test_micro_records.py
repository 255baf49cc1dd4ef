"""Packing and splitting a job record (name, time, options, data), and plain msgpack doing the same."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

codec = pytest.importorskip("bullrush._core.codec", reason="the core is not built")

NAME, AT = "send-email", 1_795_000_000_000
DATA: dict[str, Any] = {"to": "user000042@mail.example.com", "uid": 100_042}
OPTIONS: bytes = msgpack.packb({"attempts": 3, "priority": 5})
PACKER = msgpack.Packer(autoreset=True)

with_and_without_options = pytest.mark.parametrize("options", [None, OPTIONS], ids=["plain", "options"])


def _pack_by_hand(name: str, at: int, options: bytes | None, data: object) -> bytes:
    # Options come packed, as they do for the codec: one set of defaults is packed once for millions of jobs.
    pack = PACKER.pack
    packed: bytes = b"\x94" + pack(name) + pack(at) + (options or b"\xc0") + pack(data)
    return packed


@with_and_without_options
@pytest.mark.benchmark(group="pack a record")
def test_encode_record(benchmark: BenchmarkFixture, options: bytes | None) -> None:
    record = benchmark(codec.encode_record, NAME, AT, options, DATA)
    assert codec.decode_record(record) == (NAME, AT, options, codec.encode(DATA))


@with_and_without_options
@pytest.mark.benchmark(group="pack a record")
def test_encode_record_msgpack(benchmark: BenchmarkFixture, options: bytes | None) -> None:
    record = benchmark(_pack_by_hand, NAME, AT, options, DATA)
    assert msgpack.unpackb(record)[0] == NAME


@with_and_without_options
@pytest.mark.benchmark(group="read a record and its data")
def test_decode_record(benchmark: BenchmarkFixture, options: bytes | None) -> None:
    record = codec.encode_record(NAME, AT, options, DATA)

    def read() -> object:
        _, _, _, data = codec.decode_record(record)
        return codec.decode(data)

    assert benchmark(read) == DATA


@with_and_without_options
@pytest.mark.benchmark(group="read a record and its data")
def test_decode_record_msgpack(benchmark: BenchmarkFixture, options: bytes | None) -> None:
    record = _pack_by_hand(NAME, AT, options, DATA)
    assert benchmark(msgpack.unpackb, record)[3] == DATA


@pytest.mark.benchmark(group="pack a record")
def test_encode_record_msgspec(benchmark: BenchmarkFixture) -> None:
    msgspec = pytest.importorskip("msgspec", reason="msgspec is not installed")
    encode = msgspec.msgpack.Encoder().encode
    record = benchmark(lambda: encode([NAME, AT, None, DATA]))
    assert codec.decode_record(record)[0] == NAME


@pytest.mark.benchmark(group="read a record and its data")
def test_decode_record_msgspec(benchmark: BenchmarkFixture) -> None:
    msgspec = pytest.importorskip("msgspec", reason="msgspec is not installed")
    assert benchmark(msgspec.msgpack.Decoder().decode, codec.encode_record(NAME, AT, None, DATA))[3] == DATA
