"""The histogram: never more than 3 % off, merged without loss, saved in few bytes."""

from __future__ import annotations

import contextlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bullrush._core.codec import encode
from bullrush._core.histogram import Histogram
from bullrush.errors import CodecError

LARGEST = 2**63 - 1
DURATIONS = st.integers(0, 62).flatmap(lambda bits: st.integers(2**bits - 1, 2 ** (bits + 1) - 1))
QUANTILES = [0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0]


def filled(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


def ranked(values: list[int], q: float) -> int:
    """The nearest rank, by the definition."""
    place = next(place for place in range(1, len(values) + 1) if place >= q * len(values))
    return sorted(values)[place - 1]


@given(st.lists(DURATIONS, min_size=1, max_size=50))
def test_quantiles_are_at_most_3_percent_off(values: list[int]) -> None:
    histogram = filled(values)
    for q in QUANTILES:
        exact = ranked(values, q)
        assert abs(histogram.quantile(q) - exact) <= exact * 0.03


def test_every_value_up_to_100_000_is_at_most_3_percent_off() -> None:
    histogram = Histogram()
    for value in range(100_000):
        histogram.reset()
        histogram.record(value)
        histogram.record(LARGEST)
        assert abs(histogram.quantile(0.5) - value) <= value * 0.03


def test_values_below_32_are_exact() -> None:
    histogram = filled(list(range(32)))
    assert [histogram.quantile((value + 1) / 32) for value in range(32)] == list(range(32))


@given(st.lists(DURATIONS, min_size=1))
def test_count_max_and_mean(values: list[int]) -> None:
    histogram = filled(values)
    assert (histogram.count, histogram.max) == (len(values), max(values))
    assert histogram.mean == pytest.approx(sum(values) / len(values))
    assert histogram.quantile(1) == float(max(values))


@given(st.lists(DURATIONS), st.lists(DURATIONS))
def test_merging_is_the_same_as_recording_into_one(left: list[int], right: list[int]) -> None:
    merged = filled(left)
    other = filled(right)
    merged.merge(other)
    both = filled(left + right)
    assert (merged.count, merged.max) == (both.count, both.max)
    assert merged.mean == pytest.approx(both.mean)
    assert [merged.quantile(q) for q in QUANTILES] == [both.quantile(q) for q in QUANTILES]
    assert other.count == len(right)


@given(st.lists(DURATIONS))
def test_a_saved_histogram_comes_back(values: list[int]) -> None:
    histogram = filled(values)
    back = Histogram.from_bytes(histogram.to_bytes())
    assert back.to_bytes() == histogram.to_bytes()
    assert (back.count, back.max, back.mean) == (histogram.count, histogram.max, histogram.mean)
    assert [back.quantile(q) for q in QUANTILES] == [histogram.quantile(q) for q in QUANTILES]


def test_an_empty_one_is_all_zeros() -> None:
    histogram = Histogram()
    assert (histogram.count, histogram.max, histogram.mean, histogram.quantile(0.5)) == (0, 0, 0.0, 0.0)


def test_reset_forgets_everything() -> None:
    histogram = filled([5, 5000, LARGEST])
    histogram.reset()
    assert histogram.to_bytes() == Histogram().to_bytes()
    assert histogram.count == 0


def test_a_negative_duration_counts_as_zero() -> None:
    histogram = filled([-5, -LARGEST])
    assert (histogram.count, histogram.max, histogram.mean, histogram.quantile(1)) == (2, 0, 0.0, 0.0)


def test_it_is_small_in_memory_and_saved() -> None:
    histogram = filled([20 + 7 * value for value in range(1000)])
    assert sys.getsizeof(histogram) <= 8192
    assert len(histogram.to_bytes()) < 1000


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan")])
def test_an_impossible_quantile_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match=r"is not between 0 and 1"):
        filled([1]).quantile(q)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        encode(None),
        encode([1.0]),
        encode([1.0, 2, 3]),
        encode(["a", "b"]),
        encode([1.0, 2, 1018, 1]),
        encode([1.0, 2, -1, 1]),
        encode([1.0, 2, 1, -1]),
        encode([1.0, 2, 1, LARGEST, 2, 1]),
        encode([1.0, 2**64, 1, 1]),
        encode([float("nan"), 2]),
        encode([1.0, -2]),
    ],
)
def test_what_is_no_saved_histogram_is_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        Histogram.from_bytes(data)


@given(st.binary())
def test_random_bytes_are_a_histogram_or_refused(data: bytes) -> None:
    with contextlib.suppress(CodecError):
        Histogram.from_bytes(data)
