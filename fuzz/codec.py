"""Any bytes as a value and as a record, against the msgpack package, and around through the encoder."""

from __future__ import annotations

import sys
import tracemalloc
import zlib
from typing import Any, cast

import msgpack

from bullrush._core.codec import decode, decode_record, encode, encode_record
from bullrush._core.histogram import Histogram
from bullrush.errors import CodecError

# What decoding may take, in bytes: the promise of `weigher`, and the record's own objects.
MEMORY_BASE, MEMORY_FACTOR = 33_554_432, 8
MEASURED = 64  # one of so many inputs is measured, since that is slow
SETS = (set, frozenset)


def one_input(data: bytes) -> None:
    """Look at these bytes in every way in which the library would."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(6_000)  # for `spelled`, which goes as deep as values do
    try:
        look(data)
    finally:
        sys.setrecursionlimit(limit)


def look(data: bytes) -> None:
    """Do so, with room for deep values."""
    if zlib.crc32(data) % MEASURED == 0:
        bounded(data)
    as_value(data)
    as_record(data)
    as_histogram(data)


def as_value(data: bytes) -> None:
    """What we accept the msgpack package reads alike, and it comes back from the encoder."""
    try:
        value = decode(data)
    except CodecError:
        return
    mine = spelled(value)
    theirs = spelled(theirs_of(data))
    assert mine == theirs, f"{mine[:300]} here, {theirs[:300]} by msgpack"
    comes_back(value, mine)


def comes_back(value: object, mine: str) -> None:
    """Encode what was decoded; the codec may refuse a foreign extension, but must not change anything."""
    try:
        again = encode(value)
    except CodecError:
        return
    assert spelled(decode(again)) == mine, f"{mine[:300]} came back as {decode(again)!r:.300}"


def as_record(data: bytes) -> None:
    """A record that we accept is a list of four values or more, and is written anew from its parts."""
    try:
        name, timestamp, options, packed = decode_record(data)
    except CodecError:
        return
    try:
        value = decode(packed)
    except CodecError:
        return
    again = decode_record(encode_record(name, timestamp, options, value))
    assert again[:3] == (name, timestamp, options), f"{again!r:.300} from {(name, timestamp, options)!r:.300}"


def as_histogram(data: bytes) -> None:
    """A saved histogram that we accept can be saved and used."""
    try:
        histogram = Histogram.from_bytes(data)
    except CodecError:
        return
    assert Histogram.from_bytes(histogram.to_bytes()).used() == histogram.used()
    histogram.quantile(0.5)


def bounded(data: bytes) -> None:
    """Decoding takes a constant and a multiple of the bytes at most, whatever the bytes claim."""
    tracemalloc.start()
    try:
        decode(data)
    except CodecError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= MEMORY_BASE + MEMORY_FACTOR * len(data), f"{len(data)} bytes took {peak} of memory"


def theirs_of(data: bytes) -> object:
    """What the msgpack package reads; payloads of extensions go through our reader, one by one."""
    unpack = cast("Any", msgpack.unpackb)
    return unpack(data, raw=False, strict_map_key=False, timestamp=3, ext_hook=extension)


def extension(code: int, payload: bytes) -> object:
    """One extension as our reader sees it, on its own."""
    size = len(payload).to_bytes(4, "big")
    return decode(b"\xc9" + size + (code & 0xFF).to_bytes(1, "big") + payload)


def spelled(value: object) -> str:
    """A value as text, sets in one order, so that NaN equals itself and -0.0 differs from 0.0."""
    if isinstance(value, dict):
        pairs = cast("dict[object, object]", value).items()
        return "{" + ",".join([f"{spelled(key)}:{spelled(item)}" for key, item in pairs]) + "}"
    if isinstance(value, SETS):
        members = sorted([spelled(item) for item in cast("set[object]", value)])
        return f"{type(value).__name__}({','.join(members)})"
    if type(value) is list or type(value) is tuple:
        return f"{type(value).__name__}({','.join([spelled(item) for item in cast('list[object]', value)])})"
    return repr(value)
