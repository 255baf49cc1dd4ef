"""The walk over bytes before they are read: lengths, tags and depth, at their limits and past them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bullrush._core.codec import decode, encode
from bullrush.errors import CodecError
from tests.unit.test_codec import VALUES


def nested(levels: int, value: object = None) -> object:
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def nested_sets(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = frozenset({value})
    return value


def test_512_levels_are_encoded_and_decoded() -> None:
    assert decode(encode(nested(512))) == nested(512)
    assert decode(encode(nested_sets(512))) == nested_sets(512)


@pytest.mark.parametrize("make", [nested, nested_sets])
def test_513_levels_are_refused(make: Callable[[int], object]) -> None:
    with pytest.raises(CodecError, match="more than 512 levels deep"):
        encode(make(513))


@pytest.mark.parametrize(
    "head", [b"\x91", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01", b"\x81\x01", b"\xde\x00\x01\x01"]
)
@pytest.mark.parametrize("last", [b"\x01", b"\x90", b"\x80"])
def test_every_kind_of_container_counts_as_a_level(head: bytes, last: bytes) -> None:
    inner = 512 - (last != b"\x01")
    decode(head * inner + last)
    with pytest.raises(CodecError, match="more than 512 levels deep"):
        decode(head * (inner + 1) + last)


def test_containers_beside_each_other_are_no_levels() -> None:
    value: list[object] = [[[]], {}] * 2_000
    assert decode(encode(value)) == value


@given(st.binary(min_size=1, max_size=12))
@settings(max_examples=1000, deadline=None)
def test_it_agrees_with_the_msgpack_library_about_where_a_value_ends(data: bytes) -> None:
    unpacker = msgpack.Unpacker(
        strict_map_key=False, ext_hook=lambda code, _: code, unicode_errors="surrogateescape"
    )
    unpacker.feed(data)
    try:
        unpacker.skip()
    except (msgpack.OutOfData, msgpack.FormatError):
        expected = f"cannot decode {len(data)} bytes: it "
    else:
        end = unpacker.tell()
        expected = f"the value ends at {end}, more follows" if end < len(data) else ""
    try:
        decode(data)
    except CodecError as error:
        assert expected in str(error)
    else:
        assert expected == ""


@given(VALUES)
@settings(max_examples=30, deadline=None)
def test_a_value_cut_anywhere_or_followed_by_anything_is_refused(value: object) -> None:
    packed = encode(value)
    for size in range(len(packed)):
        with pytest.raises(CodecError):
            decode(packed[:size])
    with pytest.raises(CodecError, match=f"the value ends at {len(packed)}, more follows"):
        decode(packed + b"\xc0")


DEEP = """
import sys, threading
from bullrush._core.codec import decode, encode
from tests.unit.test_walker import nested, nested_sets

def work():
    for value in (nested(512), nested_sets(512)):
        assert decode(encode(value)) == value
    print("done")

threading.stack_size(int(sys.argv[1]))
threading.Thread(target=work).start()
"""


def test_deep_values_fit_the_small_stack_of_a_thread() -> None:
    """Some platforms give threads no more than 1 MB; a crash there would take the worker with it."""
    size = (
        2**21 if os.environ.get("BULLRUSH_DEBUG") else 2**19
    )  # frames of a traced build are three times as large
    child = subprocess.run(
        [sys.executable, "-c", DEEP, str(size)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (child.returncode, child.stdout) == (0, "done\n"), child.stderr
