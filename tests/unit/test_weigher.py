"""Values that would fill the memory once decoded are refused; honest ones of the same length are not."""

from __future__ import annotations

import random
import struct
import tracemalloc

import pytest

from bullrush import Queue
from bullrush._core.codec import decode, encode
from bullrush.errors import CodecError, InvalidOption

MILLION = 1_000_000
MIB = 1 << 20


def array(head: bytes, count: int) -> bytes:
    return b"\xdd" + struct.pack(">I", count) + head * count


UNITS = {
    "empty maps": b"\x80",
    "empty lists": b"\x90",
    "empty sets": b"\xd4\x06\x90",
    "maps of one": b"\x81\x01\x02",
    "maps in maps": b"\x81\x01" * 400 + b"\x80",
    "one-digit decimals": b"\xd4\x01\x31",
    "sets of one": b"\xd5\x06\x91\x01",
}
BOMBS = {name: array(unit, MILLION // len(unit)) for name, unit in UNITS.items()}
BOMBS["maps in a set"] = b"\xc9" + struct.pack(">I", MILLION + 5) + b"\x06" + array(b"\x80", MILLION)


def peak_of_decoding(blob: bytes) -> int:
    tracemalloc.start()
    try:
        decode(blob)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


@pytest.mark.parametrize("name", BOMBS)
def test_a_megabyte_of_small_containers_is_refused_before_anything_is_made(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match="of memory once they are decoded"):
            decode(BOMBS[name])
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", UNITS)
def test_what_is_too_short_to_be_weighed_takes_less_than_the_base(name: str) -> None:
    assert peak_of_decoding(array(UNITS[name], (262_144 - 5) // len(UNITS[name]))) < 32 * MIB


def rows(count: int) -> list[object]:
    return [{"id": n, "name": f"user {n}", "score": n * 1.5, "tags": ["a", "b"]} for n in range(count)]


HONEST: dict[str, object] = {
    "rows": rows(20_000),
    "small rows": [{"a": 1}] * 100_000,
    "numbers": list(range(70_000, 1_500_000)),
    "floats": [random.Random(1).random() for _ in range(MILLION)],
    "words": [f"wörd {n}" for n in range(400_000)],
    "a mapping": {f"key {n}": n for n in range(200_000)},
    "a set": set(range(300_000)),
    "one text": "x" * (16 * MIB),
    "bytes": b"x" * (60 * MIB),
    "a matrix": [[float(n)] * 100 for n in range(10_000)],
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_data_of_many_megabytes_is_read_back(name: str) -> None:
    assert decode(encode(HONEST[name])) == HONEST[name]


def test_what_could_not_be_read_back_is_refused_by_the_encoder() -> None:
    with pytest.raises(CodecError, match="of memory once they are decoded"):
        encode([{}] * MILLION)
    with pytest.raises(CodecError, match="are the limit for one value"):
        encode(b"x" * (66 * MIB))


async def test_an_add_of_it_is_refused_before_anything_is_sent() -> None:
    async with Queue("q", "redis://127.0.0.1:1/0") as queue:
        with pytest.raises(CodecError, match="of memory once they are decoded"):
            await queue.add("work", [{}] * MILLION)
        with pytest.raises(InvalidOption, match="size_limit is 100000000"):
            await queue.add("work", None, size_limit=100_000_000)


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (b"\x81\x90\x01", "a key of type tuple"),
        (b"\x81\xc3\x01", "a key of type bool"),
        (b"\x81\xcb" + bytes(8) + b"\x01", "a key of type float"),
        (b"\x81\xc0\x01", "a key of type NoneType"),
        (b"\x81\xc4\x01a\x01", "a key of type bytes"),
        (b"\x82\x01\x01\x01\x02", "a key that stands twice"),
        (b"\x82\xa1a\x01\xa1a\x02", "a key that stands twice"),
    ],
)
def test_keys_that_no_encoder_of_ours_writes_are_refused(blob: bytes, why: str) -> None:
    with pytest.raises(CodecError, match=why):
        decode(blob)
