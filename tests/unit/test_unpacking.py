"""Bytes that are no value are refused, whatever they are, and cost no memory."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bullrush._core.codec import decode, encode
from bullrush.errors import CodecError
from tests.unit.test_codec import VALUES

SET_HEAD = b"\xc9"


def bomb(inner: bytes, levels: int = 1) -> bytes:
    """An extension in an extension, as a set that holds one set that holds …"""
    for _ in range(levels):
        inner = SET_HEAD + struct.pack(">I", len(inner) + 1) + b"\x07\x91" + inner
    return inner


BOMBS = [
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x06",
    b"\xdd\x00\x0f\x00\x00" * 100_000,
    b"\x91" * 1_000_000,
    b"\x81\x01" * 500_000 + b"\x01",
    bomb(b"\x01", 2_000),
    bomb(b"\xdd\xff\xff\xff\xff"),
]


@pytest.mark.parametrize("data", BOMBS, ids=range(len(BOMBS)))
def test_a_bomb_is_refused_without_taking_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CodecError):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(data) + 3_000_000  # tracebacks of 512 levels
    finally:
        tracemalloc.stop()


@given(st.binary())
@example(b"")
@example(b"\xc1")
@settings(max_examples=1000)
def test_random_bytes_are_a_value_or_refused(data: bytes) -> None:
    with contextlib.suppress(CodecError):
        decode(data)


@given(VALUES, st.data())
def test_values_with_flipped_bytes_are_a_value_or_refused(value: object, data: st.DataObject) -> None:
    packed = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CodecError):
        decode(packed)


@pytest.mark.parametrize(
    "data", [b"\xa1\xff", b"\xa3\xed\xa0\x80", b"\x81\x90\x01\x01", b"\x81\x80\x01", b"\xd4\xfb\x00"]
)
def test_bytes_that_only_look_like_values_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError, match=f"cannot decode {len(data)} bytes"):
        decode(data)


@pytest.mark.parametrize("data", [None, 5, "text", [1]])
def test_what_is_no_buffer_is_a_type_error(data: object) -> None:
    with pytest.raises(TypeError):
        decode(data)  # type: ignore[arg-type]
