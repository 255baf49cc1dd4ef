"""What goes in comes back: every supported type, nested at will, and what subclasses become."""

from __future__ import annotations

import enum
import math
import threading
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bullrush._core.codec import decode, encode
from bullrush.codec import Codec, MsgpackCodec

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
)
HASHABLE = st.one_of(
    PLAIN,
    st.integers(),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.datetimes(),
    st.datetimes(timezones=st.timezones()),
)
KEYS = st.one_of(st.text(), st.integers())
FROZEN = st.recursive(HASHABLE, lambda inner: st.frozensets(inner, max_size=4), max_leaves=6)
VALUES = st.recursive(
    st.one_of(HASHABLE, FROZEN, st.sets(FROZEN, max_size=4)),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)
PLAIN_VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20)
)


class Colour(str, enum.Enum):  # noqa: UP042 - what older code has
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int


def same(left: object, right: object) -> bool:
    """Equal, of the same types all the way down, and with the same time zones and folds."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, datetime) and isinstance(right, datetime):
        return repr(left) == repr(right) and left.utcoffset() == right.utcoffset()
    return left == right


@given(VALUES)
def test_every_supported_value_comes_back(value: object) -> None:
    assert same(decode(encode(value)), value)


@given(PLAIN_VALUES)
def test_plain_values_are_what_the_msgpack_library_writes(value: object) -> None:
    assert encode(value) == msgpack.packb(value)


@given(PLAIN_VALUES)
def test_what_the_msgpack_library_writes_is_read(value: object) -> None:
    packed = msgpack.packb(value)
    assert decode(packed) == msgpack.unpackb(packed)


@given(st.floats(width=32, allow_nan=False))
def test_floats_of_32_bits_are_read(value: float) -> None:
    assert decode(msgpack.packb(value, use_single_float=True)) == value


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536])
@pytest.mark.parametrize(
    "make", [lambda n: "x" * n, lambda n: b"x" * n, lambda n: [None] * n, lambda n: "ü" * n]
)
def test_lengths_around_each_change_of_head(size: int, make: Callable[[int], object]) -> None:
    value = make(size)
    assert encode(value) == msgpack.packb(value)
    assert decode(encode(value)) == value


@pytest.mark.parametrize("bits", [5, 7, 8, 15, 16, 31, 32, 62, 63, 64, 65, 127, 128, 4096])
def test_integers_around_each_change_of_size(bits: int) -> None:
    for value in (2**bits - 1, 2**bits, 2**bits + 1, -(2**bits) - 1, -(2**bits), -(2**bits) + 1):
        assert decode(encode(value)) == value
        if -(2**63) <= value < 2**64:
            assert encode(value) == msgpack.packb(value)


@pytest.mark.parametrize("size", [1, 15, 16, 65_535, 65_536])
def test_large_dicts_with_int_keys(size: int) -> None:
    value = {number * 7: str(number) for number in range(size)}
    assert decode(encode(value)) == value


def test_the_keys_of_a_dict_may_be_big_ints_and_keep_their_order() -> None:
    value = {"b": 1, -(2**70): 2, "a": 3, 0: 4}
    assert list(decode(encode(value)).items()) == list(value.items())  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [math.inf, -math.inf, -0.0, 5e-324])
def test_odd_floats_stay_as_they_are(value: float) -> None:
    back = decode(encode(value))
    assert isinstance(back, float)
    assert back == value
    assert math.copysign(1, back) == math.copysign(1, value)


def test_nan_stays_nan() -> None:
    assert math.isnan(decode(encode(math.nan)))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["1.10", "-0", "NaN", "sNaN123", "-Infinity", "1E+999999", "0E-20"])
def test_decimals_keep_their_digits(text: str) -> None:
    assert str(decode(encode(Decimal(text)))) == str(Decimal(text))


@pytest.mark.parametrize(
    ("value", "back"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        (Point(1, 2), [1, 2]),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        ({Colour.RED: Level.HIGH}, {"red": 3}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (bytearray(b"raw"), b"raw"),
        (memoryview(b"raw"), b"raw"),
        ([True, 1, False, 0], [True, 1, False, 0]),
    ],
)
def test_what_other_types_become(value: object, back: object) -> None:
    assert same(decode(encode(value)), back)


def test_an_ordered_dict_keeps_its_own_order() -> None:
    value = OrderedDict(a=1, b=2, c=3)
    value.move_to_end("a")
    assert list(decode(encode(value))) == ["b", "c", "a"]  # type: ignore[call-overload]


def test_tuples_stay_tuples_where_lists_cannot_be() -> None:
    value = {(1, (2, 3)), frozenset({("a",)})}
    assert decode(encode(value)) == value


def test_sets_and_frozensets_are_told_apart_inside_each_other() -> None:
    value = [{frozenset({1})}, frozenset({frozenset({2})}), set[int]()]
    assert same(decode(encode(value)), value)


def test_extension_codes_are_the_documented_ones() -> None:
    values = {
        0: UUID(int=1),
        1: Decimal("1.5"),
        2: date(2026, 1, 2),
        3: time(1, 2, 3),
        4: timedelta(1),
        5: datetime(2026, 1, 2),
        6: {1},
        7: frozenset({1}),
        8: 2**70,
        9: datetime(2026, 1, 2).astimezone(),
    }
    for code, value in values.items():
        assert msgpack.unpackb(encode(value), ext_hook=lambda code, _: code, timestamp=0) == code


@pytest.mark.parametrize("code", [10, 31, 32, 127])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 8, 16, 17, 300, 70_000])
def test_unknown_extensions_pass_through(code: int, size: int) -> None:
    value = msgpack.ExtType(code, b"x" * size)
    assert encode([value]) == msgpack.packb([value])
    assert decode(encode([value])) == [value]


def test_timestamps_of_other_languages_are_read() -> None:
    moment = datetime.fromisoformat("2026-11-24T12:00:00.000123+00:00")
    assert decode(msgpack.packb(moment, datetime=True)) == moment


def test_buffers_of_every_kind_are_decoded() -> None:
    packed = encode({"a": [1, 2]})
    for buffer in (packed, bytearray(packed), memoryview(packed), memoryview(b"xx" + packed)[2:]):
        assert decode(buffer) == {"a": [1, 2]}


def test_threads_do_not_disturb_each_other() -> None:
    """Time zones run Python code in the middle of a value, so threads really alternate there."""
    broken: list[object] = []

    def work(number: int) -> None:
        value = {
            "n": number,
            "at": [datetime(2026, 1, 1, number).astimezone()] * 50,
            "s": {number},
            "t": "x" * 2000,
        }
        broken.extend(value for _ in range(100) if decode(encode(value)) != value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert broken == []


def test_the_codec_object_is_a_codec() -> None:
    codec = MsgpackCodec()
    assert isinstance(codec, Codec)
    assert MsgpackCodec.name == codec.name == "msgpack"
    assert codec.decode(codec.encode({"a": 1})) == {"a": 1}
