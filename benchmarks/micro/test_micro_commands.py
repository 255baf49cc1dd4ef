"""Packing commands: one small, and one with 1,000 ids and records, as add_bulk sends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hiredis
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from redis.connection import Connection

from benchmarks.instruction_paths import IDS, KEYS, RECORD
from bullrush._core.frames import ScriptFrame, WriteBuffer, encode_command
from bullrush.operations.requests import script_frame

REDIS_PY = Connection()
HEAD = ("EVALSHA", "0" * 40, 1, b"{bullrush:emails}:jobs")
COMMANDS: dict[str, tuple[Any, ...]] = {
    "small": ("HSET", b"{bullrush:emails}:jobs", "1000042", RECORD),
    "bulk": (*HEAD, *(part for id in IDS for part in (id, RECORD))),
}


def _redis_py(*arguments: Any) -> bytes:
    return b"".join(REDIS_PY.pack_command(*arguments))


def _hiredis(*arguments: Any) -> bytes:
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type]
    return packed


PACKERS: dict[str, Callable[..., bytes]] = {
    "bullrush": encode_command,
    "hiredis": _hiredis,
    "redis-py": _redis_py,
}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("kind", COMMANDS)
@pytest.mark.benchmark(group="pack a command")
def test_pack_command(benchmark: BenchmarkFixture, kind: str, packer: str) -> None:
    assert benchmark(PACKERS[packer], *COMMANDS[kind]) == encode_command(*COMMANDS[kind])


@pytest.mark.benchmark(group="a script call with its constant head")
def test_script_frame(benchmark: BenchmarkFixture) -> None:
    frame: ScriptFrame = script_frame("add", KEYS)
    assert benchmark(frame.call, b"0123456789abcdef", 7, 1, b"1000042-1000042", 1_000_042, RECORD)


@pytest.mark.benchmark(group="a script call with its constant head")
@pytest.mark.parametrize("packer", ["hiredis", "redis-py"])
def test_script_frame_rivals(benchmark: BenchmarkFixture, packer: str) -> None:
    names = [KEYS[name] for name in ("meta", "sessions", "jobs", "waiting", "events", "wake")]
    call = ("EVALSHA", "0" * 40, 6, *names, b"0123456789abcdef", 7, 1, b"1000042-1000042", 1_000_042, RECORD)
    assert benchmark(PACKERS[packer], *call)


@pytest.mark.benchmark(group="write 1,000 arguments into a buffer")
def test_write_buffer(benchmark: BenchmarkFixture) -> None:
    def write() -> bytes:
        buffer = WriteBuffer()
        for id in IDS:
            buffer.bulk(id)
        return buffer.getvalue()

    assert len(benchmark(write)) == len(IDS) * 13
