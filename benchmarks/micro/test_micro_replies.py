"""Reading replies: the reply of an exchange that claimed 1,000 jobs, and 1,000 small ones handed to who asked."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import hiredis
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from redis._parsers import Encoder, _RESP2Parser  # type: ignore[attr-defined]

from benchmarks.instruction_paths import IDS, JOBS, RECORD
from bullrush._core.frames import encode_command
from bullrush._core.protocol import DataProtocol, make_reader, not_enough

LISTED = " ".join(IDS).encode()
CLAIM = b"*2\r\n$%d\r\n%b\r\n" % (len(LISTED), LISTED) + encode_command(*[RECORD] * JOBS)
SMALL = b"*2\r\n:1795000000000\r\n$3\r\n1-0\r\n" * JOBS
REPLIES = {"claim of 1,000": (CLAIM, 1), "1,000 of an add": (SMALL, JOBS)}

each_kind = pytest.mark.parametrize("kind", REPLIES)


class Feed:
    """A socket whose bytes are all there already."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def recv(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        return self._content[start : self._at]


@each_kind
@pytest.mark.benchmark(group="parse replies")
def test_bullrush(benchmark: BenchmarkFixture, kind: str) -> None:
    content, count = REPLIES[kind]

    def read() -> int:
        reader = make_reader()
        reader.feed(content)
        return sum(1 for _ in iter(reader.gets, not_enough()))

    assert benchmark(read) == count


@each_kind
@pytest.mark.benchmark(group="parse replies")
def test_hiredis(benchmark: BenchmarkFixture, kind: str) -> None:
    content, count = REPLIES[kind]

    def read() -> int:
        reader = hiredis.Reader()
        reader.feed(content)
        return sum(1 for _ in iter(reader.gets, False))

    assert benchmark(read) == count


@each_kind
@pytest.mark.benchmark(group="parse replies")
def test_redis_py(benchmark: BenchmarkFixture, kind: str) -> None:
    content, count = REPLIES[kind]

    def read() -> int:
        parser = _RESP2Parser(socket_read_size=65536)
        parser.on_connect(
            SimpleNamespace(
                _sock=Feed(content), socket_timeout=None, encoder=Encoder("utf-8", "strict", False)
            )
        )
        return sum(1 for _ in range(count) if parser.read_response() is not None)

    assert benchmark(read) == count


@pytest.mark.benchmark(group="1,000 replies to who asked")
def test_protocol(benchmark: BenchmarkFixture) -> None:
    loop = asyncio.new_event_loop()

    def setup() -> tuple[tuple[DataProtocol, list[asyncio.Future[object]]], dict[str, object]]:
        protocol = DataProtocol(loop, None)
        transport = SimpleNamespace(write=lambda data: None, abort=lambda: None)
        protocol.connection_made(cast("Any", transport))
        return (protocol, [protocol.send(b"") for _ in range(JOBS)]), {}

    def read(protocol: DataProtocol, futures: list[asyncio.Future[object]]) -> bool:
        protocol.data_received(SMALL)
        return futures[-1].done()

    try:
        assert benchmark.pedantic(read, setup=setup, rounds=50)
    finally:
        loop.close()
