"""Backoff: the wait after each attempt, its jitter and its limits."""

from __future__ import annotations

import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bullrush.errors import InvalidOption, InvalidOptionType
from bullrush.options import Backoff
from bullrush.options.backoff import DEFAULT_BACKOFF
from bullrush.options.durations import MAX_DURATION

RNG = random.Random(1)


def waits(backoff: Backoff, attempts: int) -> list[int]:
    return [backoff.delay_ms(attempt, RNG) for attempt in range(1, attempts + 1)]


def test_fixed_waits_the_same_each_time() -> None:
    assert waits(Backoff.fixed("1s"), 3) == [1_000, 1_000, 1_000]
    assert waits(Backoff.fixed(0), 2) == [0, 0]


def test_exponential_doubles_from_the_delay_on() -> None:
    assert waits(Backoff.exponential("1s"), 4) == [1_000, 2_000, 4_000, 8_000]


def test_exponential_takes_another_factor_and_a_limit() -> None:
    assert waits(Backoff.exponential("1s", factor=1.5), 3) == [1_000, 1_500, 2_250]
    assert waits(Backoff.exponential("1s", factor=1), 3) == [1_000, 1_000, 1_000]
    assert waits(Backoff.exponential("1s", max_delay="3s"), 4) == [1_000, 2_000, 3_000, 3_000]
    assert waits(Backoff.exponential("5s", max_delay="3s"), 1) == [3_000]


def test_steps_go_on_with_the_last_one() -> None:
    assert waits(Backoff.steps("1s", "10s", 0), 5) == [1_000, 10_000, 0, 0, 0]


def test_the_default_is_the_documented_one() -> None:
    assert Backoff.exponential("1s", jitter=0.5, max_delay="5m") == DEFAULT_BACKOFF


@pytest.mark.parametrize("attempt", [1_000, 10**6, 10**9])
def test_growth_ends_at_the_limit_and_never_overflows(attempt: int) -> None:
    assert Backoff.exponential("1s").delay_ms(attempt, RNG) == MAX_DURATION
    assert Backoff.exponential("1s", max_delay="1h").delay_ms(attempt, RNG) == 3_600_000
    assert Backoff.exponential(0).delay_ms(attempt, RNG) == 0


@given(st.integers(0, MAX_DURATION), st.floats(0, 1), st.integers(0, 2**32))
def test_jitter_takes_off_at_most_its_fraction_and_adds_nothing(delay: int, jitter: float, seed: int) -> None:
    wait = Backoff.fixed(delay, jitter=jitter).delay_ms(1, random.Random(seed))
    assert delay * (1 - jitter) - 0.01 <= wait <= delay


@given(
    st.integers(0, 10**6),
    st.floats(1, 1_000),
    st.none() | st.integers(0, 10**9),
    st.integers(1, 10**6),
)
def test_a_later_wait_is_never_shorter_and_never_above_the_limit(
    delay: int, factor: float, limit: int | None, attempt: int
) -> None:
    backoff = Backoff.exponential(delay, factor=factor, max_delay=limit)
    wait, later = backoff.delay_ms(attempt, RNG), backoff.delay_ms(attempt + 1, RNG)
    assert 0 <= wait <= later <= (MAX_DURATION if limit is None else limit)


def test_jitter_spreads_over_the_whole_fraction() -> None:
    backoff = Backoff.fixed(1_000, jitter=0.5)
    seen = [backoff.delay_ms(1, RNG) for _ in range(2_000)]
    assert min(seen) < 520
    assert max(seen) > 980


def test_an_attempt_below_one_counts_as_the_first() -> None:
    assert Backoff.exponential("1s").delay_ms(0, RNG) == 1_000
    assert Backoff.steps("1s", "2s").delay_ms(0, RNG) == 1_000


def test_custom_is_computed_by_the_worker_only() -> None:
    backoff = Backoff.custom("mine")
    assert (backoff.kind, backoff.name) == ("custom", "mine")
    with pytest.raises(InvalidOption, match="'mine' is custom"):
        backoff.delay_ms(1, RNG)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Backoff.fixed(-1), InvalidOption),
        (lambda: Backoff.fixed(0.5), InvalidOptionType),
        (lambda: Backoff.fixed("1s", jitter=1.1), InvalidOption),
        (lambda: Backoff.fixed("1s", jitter=-0.1), InvalidOption),
        (lambda: Backoff.fixed("1s", jitter=float("nan")), InvalidOption),
        (lambda: Backoff.fixed("1s", jitter=True), InvalidOptionType),
        (lambda: Backoff.fixed("1s", jitter="0.5"), InvalidOptionType),
        (lambda: Backoff.exponential("1s", factor=0.5), InvalidOption),
        (lambda: Backoff.exponential("1s", factor=float("inf")), InvalidOption),
        (lambda: Backoff.exponential("1s", max_delay=1.5), InvalidOptionType),
        (lambda: Backoff.steps(), InvalidOption),
        (lambda: Backoff.steps(*[1] * 1_001), InvalidOption),
        (lambda: Backoff.steps("1s", "1"), InvalidOption),
        (lambda: Backoff.custom(""), InvalidOption),
        (lambda: Backoff.custom(5), InvalidOptionType),
        (lambda: Backoff("fixed"), InvalidOption),
        (lambda: Backoff("custom"), InvalidOption),
        (lambda: Backoff("custom", (1,), name="a"), InvalidOption),
        (lambda: Backoff("fixed", (1,), name="a"), InvalidOption),
    ],
)
def test_a_wrong_value_is_refused_when_it_is_made(make, error) -> None:
    with pytest.raises(InvalidOption) as caught:
        make()
    assert type(caught.value) is error


def test_equal_ones_are_equal_hashable_and_frozen() -> None:
    assert Backoff.fixed("1s") == Backoff.fixed(1_000)
    assert len({Backoff.fixed("1s"), Backoff.fixed(1_000), Backoff.steps("1s")}) == 2
    assert pickle.loads(pickle.dumps(DEFAULT_BACKOFF)) == DEFAULT_BACKOFF
    with pytest.raises(AttributeError):
        DEFAULT_BACKOFF.jitter = 0
