"""Nothing of the core leaks: on the way that works, and on the way of each error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from bullrush._core import codec
from bullrush._core.frames import ScriptFrame, encode_command
from bullrush._core.histogram import Histogram
from bullrush._core.protocol import DataProtocol
from bullrush.errors import BullrushError, CodecError
from bullrush.options import job_settings
from fuzz.replies import Transport, resp
from tests.native.growth import no_growth
from tests.unit import machines as m

VALUE = {
    "text": "x" * 2_000,
    "more": [
        1.5,
        2**40,
        2**80,
        (1, "ü"),
        {3, 4},
        b"y",
        UUID(int=7),
        Decimal("1.5"),
        datetime(2027, 1, 1, tzinfo=UTC),
    ],
}
PACKED = codec.encode(VALUE)
RECORD = codec.encode_record("name", 1, job_settings({"attempts": 3}).wire, VALUE)
BROKEN = [
    b"",
    b"\xc1",
    b"\x92\x01",
    b"\x81\xa1",
    b"\xd4\x06\x01",
    b"\xa2\xff\xff",
    b"\xc7\x04\x02abcd",
    b"\x82\x01\x01\x01\x01",
]
REFUSED = [object(), [{"a": {"b": object()}}], {(1, 2): 1}, "\ud800", {1: {2: {3, "\ud800"}}}]


def codec_refuses() -> None:
    for value in REFUSED:
        with contextlib.suppress(CodecError):
            codec.encode(value)
    for data in BROKEN:
        with contextlib.suppress(CodecError):
            codec.decode(data)
        with contextlib.suppress(CodecError):
            codec.decode_record(data)


def frames() -> None:
    frame = ScriptFrame("n", "sha", b"source" * 100, [b"key"] * 5)
    frame.call("a", 1, b"b" * 900)
    encode_command(b"GET", "key", 5)
    with contextlib.suppress(TypeError, UnicodeEncodeError):
        encode_command("\ud800")
    with contextlib.suppress(TypeError):
        encode_command(1.5)  # type: ignore[arg-type]


def histogram() -> None:
    one, other = Histogram(), Histogram()
    one.record(17)
    other.merge(one)
    Histogram.from_bytes(other.to_bytes()).used()
    with contextlib.suppress(CodecError):
        Histogram.from_bytes(b"\x93\x01\x02\x03")


def job() -> None:
    made = m.make_job(VALUE, attempts=3, delay="1s")
    assert made.data and made.settings and made.opts and repr(made) and made.to_dict()


def producer() -> None:
    """Adds of all kinds that are stored, refused, cut off, and given up."""
    machine = m.open_producer()
    waiters = [
        m.push(machine),
        m.push(machine, priority=1),
        m.push(machine, job_id="own"),
        m.push_many(machine, 30),
    ]
    m.poll(machine)
    machine.receive(m.add_reply(), 0.0)
    m.poll(machine)
    machine.receive(m.refused("OOM full"), 0.0)
    m.poll(machine)
    machine.lost()
    m.poll(machine)
    machine.receive(m.open_reply(known=1, last_id=200), 0.0)
    m.poll(machine)
    machine.expire(m.FAR + 1)
    machine.end()
    assert any(waiter.done() for waiter in waiters)


def exchange() -> None:
    """Jobs that are claimed and end in all ways, one that cannot be read, and a lease that is lost."""
    machine = m.open_exchange()
    records = {str(number): m.record(data=VALUE, attempts=3) for number in range(5)}
    m.claim(machine, {**records, "9": b"broken", "8": None})
    first, second, third, fourth, fifth = machine.take_ready(5)
    machine.complete_with(first, VALUE)
    machine.fail(second, b"\xa1r", b"\xa1t", b"\xa1s", None, 1, 1)
    machine.retry(third, b"\xa1r", b"\xa1t", b"\xa1s", 5)
    machine.release(fourth)
    with contextlib.suppress(BullrushError):
        machine.complete_with(fifth, object())
    machine.progress(fifth, b"\x01")
    assert machine.take_broken()
    m.poll(machine)
    machine.receive(m.exchange_reply(refused=[b"1"], expired=[b"3", b"5"]), 0.0)
    machine.lost()
    m.poll(machine)
    machine.receive(m.open_reply(known=2, held=[b"4"]), 0.0)
    machine.start_over(b"78", b"{}")


def protocol() -> None:
    """Replies in pieces, one that is wrong, and a connection that ends with calls in flight."""
    machine = m.make_producer()
    wire = DataProtocol(None, None)  # type: ignore[arg-type]
    wire.connection_made(Transport())  # type: ignore[arg-type]
    waiter = m.push(machine)
    wire.pump(machine)
    data = resp(m.open_reply()) + resp(m.add_reply())
    for at in range(0, len(data), 7):
        wire.data_received(data[at : at + 7])
    assert waiter.done()
    m.push(machine)
    wire.pump(machine)
    wire.data_received(b"!nonsense\r\n")
    wire.connection_lost(None)
    machine.lost()


STEPS: dict[str, Callable[[], object]] = {
    "encode": lambda: codec.encode(VALUE),
    "decode": lambda: codec.decode(PACKED),
    "record": lambda: codec.encode_record("name", 1, None, VALUE),
    "read a record": lambda: codec.decode_record(RECORD),
    "codec refuses": codec_refuses,
    "frames": frames,
    "histogram": histogram,
    "job": job,
    "producer": producer,
    "exchange": exchange,
    "protocol": protocol,
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_leaves_nothing_behind(name: str) -> None:
    no_growth(STEPS[name], 30)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", STEPS)
def test_hundreds_of_steps_leave_nothing_behind(name: str) -> None:
    no_growth(STEPS[name], 400)


def test_a_leak_is_found() -> None:
    """The measure itself: something that is kept each time, and references that are."""
    kept: list[object] = []
    with pytest.raises(AssertionError, match="bytes"):
        no_growth(lambda: kept.append(bytes(20)), 50)
    counted = (
        "references to None" if sys.version_info < (3, 12) else "bytes"
    )  # None has no count from 3.12 on
    with pytest.raises(AssertionError, match=counted):
        no_growth(lambda: kept.append(None), 50)
