"""Latencies: percentiles within a bucket, and merging that loses nothing."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bullrush import Latencies
from bullrush._core.histogram import Histogram
from bullrush.operations.metrics import BUCKETS, bucket_text

LARGEST = 2**63 - 1
DURATIONS = st.integers(0, 62).flatmap(lambda bits: st.integers(2**bits - 1, 2 ** (bits + 1) - 1))
SAMPLES = st.lists(DURATIONS, max_size=50)


def measured(values: list[int]) -> Latencies:
    """As a worker does: µs into a histogram."""
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return Latencies.of(histogram.used())


@given(SAMPLES, SAMPLES)
def test_merging_is_commutative_and_the_same_as_measuring_in_one_place(a: list[int], b: list[int]) -> None:
    merged = measured(a).merge(measured(b))
    assert merged == measured(b).merge(measured(a)) == measured(a + b)


@given(SAMPLES, SAMPLES, SAMPLES)
def test_merging_is_associative(a: list[int], b: list[int], c: list[int]) -> None:
    first, second, third = measured(a), measured(b), measured(c)
    assert first.merge(second).merge(third) == first.merge(second.merge(third))


@given(st.lists(DURATIONS, min_size=1, max_size=100))
def test_percentiles_lie_within_the_bucket_of_the_value_at_that_rank(values: list[int]) -> None:
    found, ordered = measured(values), sorted(values)
    assert found.count == len(values)
    for share, ms in ((50, found.p50), (95, found.p95), (99, found.p99)):
        rank = next(rank for rank in range(1, len(ordered) + 1) if rank * 100 >= share * len(ordered))
        exact = ordered[rank - 1] / 1000
        assert abs(ms - exact) <= exact * 0.03
    assert max(values) / 1000 <= found.max * (1 + 1e-12) <= max(values) / 1000 * 1.0625 + 0.001
    assert found.p50 <= found.p95 <= found.p99 <= found.max


def test_nothing_measured() -> None:
    assert measured([]) == Latencies() == Latencies.of({5: 0})
    assert (Latencies().count, Latencies().p99, Latencies().max) == (0, 0.0, 0.0)
    assert measured([1000]).merge(Latencies()) == measured([1000])


@given(SAMPLES)
def test_buckets_in_use_lie_around_what_they_count(values: list[int]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    used = histogram.used()
    assert sum(used.values()) == len(values)
    assert used == Counter(
        bucket
        for value in values
        for bucket in used
        if Histogram.bounds(bucket)[0] <= value <= Histogram.bounds(bucket)[1]
    )


def test_buckets_follow_each_other_without_a_hole() -> None:
    edges = [Histogram.bounds(bucket) for bucket in range(BUCKETS)]
    assert edges[0][0] == 0
    assert edges[-1][1] == LARGEST
    assert all(low == before + 1 for (_, before), (low, _) in pairwise(edges))
    for bucket in (-1, BUCKETS):
        with pytest.raises(ValueError, match="no bucket"):
            Histogram.bounds(bucket)


def test_counts_are_written_as_the_script_takes_them() -> None:
    assert bucket_text({5: 2, 285: 1}) == "5:2 285:1"
    assert bucket_text({}) == ""
