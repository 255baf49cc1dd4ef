"""Dates and times come back with their instant, offset, zone and fold."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bullrush._core.codec import decode, encode
from bullrush.errors import CodecError

BERLIN = ZoneInfo("Europe/Berlin")
OFFSETS = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone)
WALL = bytes([0x07, 0xEA, 7, 1, 12, 0, 0, 0, 0, 0])  # 2026-07-01 12:00, as the codec writes it


class Vague(tzinfo):
    """A time zone that knows no offset."""

    def utcoffset(self, _: datetime | None) -> timedelta | None:
        return None

    def dst(self, _: datetime | None) -> None:
        return None

    def tzname(self, _: datetime | None) -> None:
        return None


class Broken(tzinfo):
    """A time zone that fails."""

    def utcoffset(self, _: datetime | None) -> timedelta | None:
        raise ZeroDivisionError("no such zone")

    def dst(self, _: datetime | None) -> None:
        return None

    def tzname(self, _: datetime | None) -> None:
        return None


class Subclass(datetime):
    """What freezegun and pendulum do."""


def aware(key: bytes, offset: timedelta) -> bytes:
    """An aware datetime as a writer with other time zone rules might have written it."""
    microseconds = offset // timedelta(microseconds=1)
    packed: bytes = msgpack.packb(
        msgpack.ExtType(9, WALL + microseconds.to_bytes(8, "big", signed=True) + key)
    )
    return packed


@given(st.datetimes(timezones=OFFSETS | st.timezones() | st.just(UTC)), st.integers(0, 1))
def test_aware_datetimes(moment: datetime, fold: int) -> None:
    moment = moment.replace(fold=fold)
    back = decode(encode(moment))
    assert isinstance(back, datetime)
    assert repr(back) == repr(moment)
    assert back.utcoffset() == moment.utcoffset()


@given(st.datetimes(), st.integers(0, 1))
def test_naive_datetimes(moment: datetime, fold: int) -> None:
    assert repr(decode(encode(moment.replace(fold=fold)))) == repr(moment.replace(fold=fold))


@given(st.times(timezones=OFFSETS | st.timezones() | st.none()), st.integers(0, 1))
def test_times(value: time, fold: int) -> None:
    assert repr(decode(encode(value.replace(fold=fold)))) == repr(value.replace(fold=fold))


@pytest.mark.parametrize("value", [timedelta.min, timedelta.max, timedelta(0), timedelta(microseconds=-1)])
def test_durations_to_the_limits(value: timedelta) -> None:
    assert decode(encode(value)) == value


@given(st.integers(-106_751_995, -106_751_985) | st.integers(106_751_985, 106_751_995), st.timedeltas())
def test_durations_around_64_bits(days: int, rest: timedelta) -> None:
    value = timedelta(days=days, seconds=rest.seconds, microseconds=rest.microseconds)
    assert decode(encode(value)) == value


@pytest.mark.parametrize("value", [date.min, date.max, datetime.min, datetime.max, time.min, time.max])
def test_limits_of_dates(value: date | time) -> None:
    assert decode(encode(value)) == value


@pytest.mark.parametrize("fold", [0, 1])
def test_the_hour_that_happens_twice(fold: int) -> None:
    moment = datetime(2026, 10, 25, 2, 30, fold=fold, tzinfo=BERLIN)
    back = decode(encode(moment))
    assert isinstance(back, datetime)
    assert (back.tzinfo, back.fold, back.utcoffset()) == (BERLIN, fold, timedelta(hours=2 - fold))


def test_utc_takes_13_bytes() -> None:
    assert len(encode(datetime(2026, 1, 1, tzinfo=UTC))) == 13


def test_a_zone_is_kept_where_the_reader_agrees_about_it() -> None:
    back = decode(aware(b"Europe/Berlin", timedelta(hours=2)))
    assert repr(back) == repr(datetime(2026, 7, 1, 12, tzinfo=BERLIN))


@pytest.mark.parametrize(
    ("key", "offset"),
    [
        (b"Europe/Berlin", timedelta(hours=1)),
        (b"Mars/Olympus", timedelta(hours=5)),
        (b"../../../etc/passwd", timedelta(hours=5)),
        (b"/etc/passwd", timedelta(hours=5)),
        (b"Europe", timedelta(hours=5)),
        (b"\xff\x00", timedelta(hours=5)),
        (b"x" * 5000, timedelta(hours=5)),
    ],
)
def test_the_instant_wins_over_a_zone_that_is_unknown_or_has_new_rules(key: bytes, offset: timedelta) -> None:
    back = decode(aware(key, offset))
    assert repr(back) == repr(datetime(2026, 7, 1, 12, tzinfo=timezone(offset)))


def test_a_time_whose_zone_is_unknown_here_is_refused() -> None:
    zoned = msgpack.unpackb(encode(time(12, tzinfo=BERLIN)))
    lost = msgpack.packb(msgpack.ExtType(3, zoned.data.replace(b"Europe/Berlin", b"Mars/Olympus")))
    with pytest.raises(CodecError, match="time zone that is not known"):
        decode(lost)


@pytest.mark.parametrize("value", [datetime(2026, 1, 1, tzinfo=Vague()), time(12, tzinfo=Vague())])
def test_a_zone_without_an_offset_is_refused(value: object) -> None:
    with pytest.raises(CodecError, match=r"^data\.at: its time zone .* gives no UTC offset"):
        encode({"at": value})


def test_an_error_in_a_time_zone_is_the_cause() -> None:
    with pytest.raises(CodecError, match=r"^data\[0\]: no such zone") as caught:
        encode([datetime(2026, 1, 1, tzinfo=Broken())])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_subclass_comes_back_as_a_datetime() -> None:
    back = decode(encode(Subclass(2026, 1, 1, tzinfo=UTC)))
    assert type(back) is datetime
    assert back == Subclass(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("code", [2, 3, 4, 5, 9])
@given(payload=st.binary(max_size=24))
def test_impossible_payloads_are_refused(code: int, payload: bytes) -> None:
    try:
        back = decode(msgpack.packb(msgpack.ExtType(code, payload)))
    except CodecError:
        return
    assert decode(encode(back)) == back
