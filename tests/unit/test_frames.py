"""Frames: every command is what a Redis parser reads back, whatever its arguments are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bullrush._core.frames import ScriptFrame, WriteBuffer, encode_command
from tests.unit.machines import commands

INT64 = st.integers(-(2**63), 2**63 - 1)
ARGUMENTS = st.lists(st.binary(max_size=300) | st.text(max_size=300) | INT64, max_size=20)


def on_the_wire(argument: bytes | str | int) -> bytes:
    return argument if isinstance(argument, bytes) else str(argument).encode()


@given(st.lists(st.binary() | st.text() | INT64, min_size=1, max_size=20))
def test_a_command_is_read_back(arguments: list[bytes | str | int]) -> None:
    assert commands(encode_command(*arguments)) == [[on_the_wire(argument) for argument in arguments]]


@pytest.mark.parametrize("number", [0, 9, 10, -1, 2**63 - 1, -(2**63)])
def test_numbers_at_the_edges(number: int) -> None:
    assert commands(encode_command(number)) == [[str(number).encode()]]


def test_a_number_beyond_64_bits_is_an_error() -> None:
    with pytest.raises(OverflowError):
        encode_command(2**63)


@pytest.mark.parametrize("size", [0, 1, 9, 10, 511, 512, 513, 10_000_000])
def test_sizes_around_the_growth_of_the_buffer(size: int) -> None:
    buffer = WriteBuffer()
    buffer.bulk("x" * size)
    buffer.bulk(b"end")
    assert len(buffer) == len(buffer.getvalue())
    assert buffer.getvalue() == b"$%d\r\n" % size + b"x" * size + b"\r\n$3\r\nend\r\n"


def test_text_that_has_no_utf8_form_is_an_error() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_command("SET", "\ud800")


@given(ARGUMENTS, st.lists(st.binary(max_size=40), max_size=5))
def test_a_script_call_has_its_keys_and_arguments(
    arguments: list[bytes | str | int], keys: list[bytes]
) -> None:
    frame = ScriptFrame("add", "ab" * 20, b"return 1", keys)
    tail = [str(len(keys)).encode(), *keys, *map(on_the_wire, arguments)]
    assert commands(frame.call(*arguments)) == [[b"EVALSHA", b"ab" * 20, *tail]]
    assert commands(frame.call(*arguments, by_text=True)) == [[b"EVAL", b"return 1", *tail]]


def test_a_script_frame_has_the_name_of_its_script() -> None:
    assert ScriptFrame("renew", "a", b"b", []).name == "renew"


def test_a_script_frame_serves_many_calls() -> None:
    frame = ScriptFrame("add", "a", b"b", [b"k"])
    assert [commands(frame.call(number))[0][-1] for number in range(3)] == [b"0", b"1", b"2"]
