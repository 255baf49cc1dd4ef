"""Encoding and decoding the data of a job: our codec, with its extension types, and bare msgpack."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgpack
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

codec = pytest.importorskip("bullrush._core.codec", reason="the core is not built")

# What msgpack is at its best: one Packer that is kept, and no hooks.
PACK: Callable[[Any], bytes] = msgpack.Packer(autoreset=True).pack
UNPACK: Callable[[bytes], Any] = msgpack.unpackb

VALUES = {
    "none": None,
    "small": {"to": "user000042@mail.example.com", "uid": 100_042},
    "nested": {"order": 7, "lines": [{"sku": f"A-{n}", "n": n, "price": n / 4} for n in range(20)]},
    "text_10k": {"html": "x" * 10_000},
}
RICH = {
    "at": datetime.datetime(2026, 11, 24, 12, 0, tzinfo=datetime.UTC),
    "id": uuid.UUID(int=42),
    "price": Decimal("19.99"),
    "tags": {"a", "b"},
}

ours = pytest.mark.parametrize("kind", VALUES)


@ours
@pytest.mark.benchmark(group="encode")
def test_encode(benchmark: BenchmarkFixture, kind: str) -> None:
    assert codec.decode(benchmark(codec.encode, VALUES[kind])) == VALUES[kind]


@ours
@pytest.mark.benchmark(group="encode")
def test_encode_msgpack(benchmark: BenchmarkFixture, kind: str) -> None:
    assert UNPACK(benchmark(PACK, VALUES[kind])) == VALUES[kind]


@ours
@pytest.mark.benchmark(group="decode")
def test_decode(benchmark: BenchmarkFixture, kind: str) -> None:
    assert benchmark(codec.decode, codec.encode(VALUES[kind])) == VALUES[kind]


@ours
@pytest.mark.benchmark(group="decode")
def test_decode_msgpack(benchmark: BenchmarkFixture, kind: str) -> None:
    assert benchmark(UNPACK, PACK(VALUES[kind])) == VALUES[kind]


@ours
@pytest.mark.benchmark(group="encode")
def test_encode_msgspec(benchmark: BenchmarkFixture, kind: str) -> None:
    msgspec = pytest.importorskip("msgspec", reason="msgspec is not installed")
    assert UNPACK(benchmark(msgspec.msgpack.Encoder().encode, VALUES[kind])) == VALUES[kind]


@ours
@pytest.mark.benchmark(group="decode")
def test_decode_msgspec(benchmark: BenchmarkFixture, kind: str) -> None:
    msgspec = pytest.importorskip("msgspec", reason="msgspec is not installed")
    assert benchmark(msgspec.msgpack.Decoder().decode, PACK(VALUES[kind])) == VALUES[kind]


@pytest.mark.benchmark(group="extension types, no msgpack of the kind")
def test_encode_rich(benchmark: BenchmarkFixture) -> None:
    assert codec.decode(benchmark(codec.encode, RICH)) == RICH


@pytest.mark.benchmark(group="extension types, no msgpack of the kind")
def test_decode_rich(benchmark: BenchmarkFixture) -> None:
    assert benchmark(codec.decode, codec.encode(RICH)) == RICH
