"""Durations and times: what is milliseconds, what is refused, and what is said about it."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bullrush.errors import InvalidOption, InvalidOptionType
from bullrush.options.durations import MAX_DURATION, UNITS, duration_ms, format_duration, time_ms


class Pause(enum.IntEnum):
    SHORT = 250


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (0, 0),
        (250, 250),
        (Pause.SHORT, 250),
        ("250ms", 250),
        ("5s", 5_000),
        ("1m", 60_000),
        ("2h", 7_200_000),
        ("7d", 604_800_000),
        ("1.5h", 5_400_000),
        ("0.25s", 250),
        ("0.0005s", None),
        ("0s", 0),
        (timedelta(seconds=3), 3_000),
        (timedelta(microseconds=1), 1),
        (timedelta(milliseconds=2, microseconds=1), 3),
    ],
)
def test_what_a_duration_means(value: object, ms: int | None) -> None:
    if ms is None:
        with pytest.raises(InvalidOption, match="no whole number"):
            duration_ms(value, "delay")
    else:
        assert duration_ms(value, "delay") == ms
        assert type(duration_ms(value, "delay")) is int


@pytest.mark.parametrize("value", [0.5, 5.0, True, False, None, b"5s", [5], object()])
def test_other_types_are_type_errors_that_name_the_value(value: object) -> None:
    with pytest.raises(InvalidOptionType) as caught:
        duration_ms(value, "delay")
    assert "delay" in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "5 s",
        " 5s",
        "5s\n",
        "-5s",
        "+5s",
        "5S",
        "1w",
        "1h30m",
        "1,5s",
        ".5s",
        "5.s",
        "٥s",
        "1e3s",
        "1_0s",
    ],
)
def test_other_texts_are_refused_with_the_forms_that_are_not(text: str) -> None:
    with pytest.raises(InvalidOption, match="250ms") as caught:
        duration_ms(text, "delay")
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("value", [-1, timedelta(seconds=-1), MAX_DURATION + 1, "36501d", "999999999999999d"])
def test_out_of_range_is_refused(value: object) -> None:
    with pytest.raises(InvalidOption, match="it must be at"):
        duration_ms(value, "delay")


def test_the_least_is_the_callers() -> None:
    assert duration_ms("1s", "lease", least=1_000) == 1_000
    with pytest.raises(InvalidOption, match="lease is '999ms'; it must be at least 1s"):
        duration_ms("999ms", "lease", least=1_000)


@pytest.mark.parametrize("value", [0, 1, 5, 99])
def test_a_short_wait_needs_a_unit(value: int) -> None:
    with pytest.raises(InvalidOption, match=f'"{value}ms", else "{value}s"'):
        duration_ms(value, "timeout", wait=True)
    assert duration_ms(f"{value}ms", "timeout", wait=True) == value
    assert duration_ms(timedelta(milliseconds=value), "timeout", wait=True) == value


def test_from_100_on_a_wait_needs_none() -> None:
    assert duration_ms(100, "timeout", wait=True) == 100


@given(st.integers(0, MAX_DURATION))
def test_a_formatted_duration_reads_back(ms: int) -> None:
    assert duration_ms(format_duration(ms), "delay") == ms


@given(st.integers(0, 10_000), st.integers(0, 9_999), st.sampled_from(sorted(UNITS)))
def test_a_fraction_is_exact_or_refused(whole: int, fraction: int, unit: str) -> None:
    text = f"{whole}.{fraction:04}{unit}"
    exact = (whole + Fraction(fraction, 10_000)) * UNITS[unit]
    if exact.denominator == 1:
        assert duration_ms(text, "delay") == exact
    else:
        with pytest.raises(InvalidOption, match="no whole number"):
            duration_ms(text, "delay")


@given(st.timedeltas(timedelta(0), timedelta(days=36_000)))
def test_a_timedelta_is_rounded_up_so_no_wait_ends_early(value: timedelta) -> None:
    ms = duration_ms(value, "delay")
    assert timedelta(milliseconds=ms - 1) < value <= timedelta(milliseconds=ms)


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (10**11, 10**11),
        (1_700_000_000_000, 1_700_000_000_000),
        (datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), 1_700_000_000_000),
        (datetime(2023, 11, 15, 0, 13, 20, 1, tzinfo=timezone(timedelta(hours=2))), 1_700_000_000_001),
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
    ],
)
def test_what_a_time_means(value: object, ms: int) -> None:
    assert time_ms(value, "run_at") == ms


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (datetime(2030, 1, 1), "without a time zone"),
        (1_700_000_000, "seconds"),
        (10**11 - 1, "seconds"),
        (0, "seconds"),
        (-1, "seconds"),
        (1_700_000_000_000_000, "beyond the year 2286"),
        (datetime(1969, 12, 31, tzinfo=UTC), "between 1970 and 2286"),
        (datetime(9999, 1, 1, tzinfo=UTC), "between 1970 and 2286"),
    ],
)
def test_a_time_that_cannot_be_meant_is_a_value_error(value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        time_ms(value, "run_at")
    assert not isinstance(caught.value, TypeError)
    assert "run_at" in str(caught.value)


@pytest.mark.parametrize(
    "value", [1_700_000_000_000.0, True, None, "2030-01-01", date(2030, 1, 1), timedelta(1)]
)
def test_other_types_of_time_are_type_errors(value: object) -> None:
    with pytest.raises(InvalidOptionType, match="run_at"):
        time_ms(value, "run_at")


@given(st.datetimes(datetime(1970, 1, 2), datetime(2286, 1, 1), timezones=st.timezones()))
def test_a_time_is_never_early_and_less_than_one_ms_late(value: datetime) -> None:
    late = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=time_ms(value, "run_at")) - value
    assert timedelta(0) <= late < timedelta(milliseconds=1)
