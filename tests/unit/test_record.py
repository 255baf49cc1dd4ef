"""The job record: name, timestamp, options and data in one array that later versions may lengthen."""

from __future__ import annotations

import contextlib

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bullrush._core.codec import decode, decode_record, encode, encode_record
from bullrush.errors import CodecError
from tests.unit.test_codec import VALUES, same

NOW = 1_790_000_000_000
TIMES = st.integers(0, 2**63 - 1)
OPTIONS = st.none() | st.dictionaries(st.text(), st.integers()).map(encode)


@given(st.text(), TIMES, OPTIONS, VALUES)
def test_a_record_comes_back(name: str, timestamp: int, options: bytes | None, data: object) -> None:
    record = encode_record(name, timestamp, options, data)
    assert decode_record(record)[:3] == (name, timestamp, options)
    assert same(decode(decode_record(record)[3]), data)


def test_a_record_is_an_array_that_any_msgpack_reader_understands() -> None:
    record = encode_record("send", NOW, encode({"attempts": 3}), {"to": "a@example.com"})
    assert msgpack.unpackb(record) == ["send", NOW, {"attempts": 3}, {"to": "a@example.com"}]


@given(TIMES, OPTIONS, st.lists(VALUES, max_size=20))
def test_elements_behind_the_data_are_ignored(
    timestamp: int, options: bytes | None, extra: list[object]
) -> None:
    head = b"\xdc" + (4 + len(extra)).to_bytes(2, "big")
    parts = [encode("send"), encode(timestamp), options or encode(None), encode("data"), *map(encode, extra)]
    assert decode_record(head + b"".join(parts)) == ("send", timestamp, options, encode("data"))


@pytest.mark.parametrize("size", [0, 31, 32, 255, 256, 65_535, 65_536])
def test_names_and_data_of_every_size(size: int) -> None:
    record = encode_record("n" * size, NOW, None, "d" * size)
    assert decode_record(record) == ("n" * size, NOW, None, encode("d" * size))


@pytest.mark.parametrize("timestamp", [0, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**63 - 1])
def test_timestamps_of_every_width_are_read(timestamp: int) -> None:
    assert decode_record(msgpack.packb(["send", timestamp, None, 1]))[1] == timestamp


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"", "not an array of four elements or more"),
        (encode({"name": 1}), "not an array of four elements or more"),
        (encode(["send", 1, None]), "not an array of four elements or more"),
        (b"\xdc\x00", "not an array of four elements or more"),
        (b"\x94", "name is not a str"),
        (encode([b"send", 1, None, 1]), "name is not a str"),
        (encode(["send", -1, None, 1]), "timestamp is not an unsigned"),
        (encode(["send", 2**63, None, 1]), "timestamp is not an unsigned"),
        (encode(["send", 1.0, None, 1]), "timestamp is not an unsigned"),
        (encode(["send", 1, [], 1]), "options are neither a map nor nil"),
        (encode(["send", 1, False, 1]), "options are neither a map nor nil"),
        (encode(["send", 1, None, "text"])[:-1], "ends too early"),
        (encode(["send", 1, None, 1])[:-1] + b"\xc1", "not MessagePack"),
        (encode(["send", 1, None, 1])[:-1] + b"\x91" * 513 + b"\x01", "more than 512 levels"),
        (encode(["send", 1, None, 1]) + b"\x01", "bytes follow it"),
        (b"\x94\xa1\xff\x01\xc0\x01", "name is not UTF-8"),
        (b"\xdd\xff\xff\xff\xff" + encode("send") + b"\x01\xc0\x01", "ends too early"),
    ],
)
def test_what_is_no_record_is_refused_with_the_reason(record: bytes, reason: str) -> None:
    with pytest.raises(CodecError, match=f"^not a job record: .*{reason}"):
        decode_record(record)


@given(st.binary())
@example(b"\x94\xd9")
@settings(max_examples=500)
def test_random_bytes_are_a_record_or_refused(data: bytes) -> None:
    for record in (data, b"\x94\xa1n\x01" + data, b"\x94\xa1n\x01\xc0" + data):
        with contextlib.suppress(CodecError):
            decode_record(record)


@given(OPTIONS, VALUES)
@settings(max_examples=30, deadline=None)
def test_a_record_cut_anywhere_is_refused(options: bytes | None, data: object) -> None:
    record = encode_record("send", NOW, options, data)
    for size in range(len(record)):
        with pytest.raises(CodecError):
            decode_record(record[:size])


@pytest.mark.parametrize("timestamp", [-1, 2**63])
def test_an_impossible_timestamp_is_refused(timestamp: int) -> None:
    with pytest.raises(CodecError, match=f"^timestamp={timestamp} is not a time in ms"):
        encode_record("send", timestamp, None, None)


def test_options_that_are_no_map_are_refused() -> None:
    with pytest.raises(CodecError, match="options are neither a map nor nil"):
        encode_record("send", NOW, encode([1]), None)


@pytest.mark.parametrize("options", ["text", 5, [1]])
def test_options_that_are_no_bytes_are_a_type_error(options: object) -> None:
    with pytest.raises(TypeError):
        encode_record("send", NOW, options, None)  # type: ignore[arg-type]


def test_unsupported_data_is_named_with_its_path() -> None:
    with pytest.raises(CodecError, match=r"^data\.x: object is not supported"):
        encode_record("send", NOW, None, {"x": object()})


def test_a_record_larger_than_the_first_buffer() -> None:
    data = {"rows": ["x" * 100] * 10_000}
    assert decode(decode_record(encode_record("send", NOW, None, data))[3]) == data
