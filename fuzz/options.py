"""Options: packed ones from a record, and values as users give them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from bullrush.errors import CodecError, InvalidOption
from bullrush.options import (
    Backoff,
    Deduplication,
    JobSettings,
    Keep,
    RateLimit,
    job_settings,
    settings_from_wire,
)
from bullrush.options.durations import MAX_DURATION, duration_ms, format_duration, time_ms
from bullrush.options.jobs import CHECKS
from bullrush.options.texts import check_job_id, check_name, check_prefix, check_text
from bullrush.options.workers import worker_settings
from fuzz.take import Take
from fuzz.values import Maker

NAMES: Final = [*CHECKS, "repeat", "countdown", "attemps"]
UNITS: Final = ["ms", "s", "m", "h", "d", "w", "", "S", " s"]


def one_input(data: bytes) -> None:
    """The first byte says what the others are."""
    take = Take(data)
    take.choice([packed, given, texts, of_worker])(take)


def packed(take: Take) -> None:
    """A map from a record is read or refused, and what was read is what would be written."""
    wire = take.rest()
    try:
        settings = settings_from_wire.__wrapped__(wire)
    except CodecError:
        return
    assert settings.wire == wire


def given(take: Take) -> None:
    """Options of a job are refused with a reason, or arrive at the worker as they were given."""
    maker = Maker(take)
    options = {take.choice(NAMES): an_option(maker) for _ in range(1 + take.byte() % 5)}
    settings = accepted(lambda: job_settings(options))
    if settings is None or settings.wire is None:
        return
    arrived = settings_from_wire.__wrapped__(settings.wire)
    for name in (
        "delay",
        "run_at",
        "priority",
        "attempts",
        "backoff",
        "timeout",
        "expires_in",
        "deduplication",
        "remove_on_complete",
        "remove_on_fail",
        "keep_logs",
        "stack_trace_limit",
        "lifo",
    ):
        assert getattr(arrived, name) == getattr(settings, name), f"{name}: {settings} arrived as {arrived}"


def accepted(check: Callable[[], JobSettings]) -> JobSettings | None:
    """The settings, None if they were refused as they should be."""
    try:
        return check()
    except InvalidOption as refusal:
        assert str(refusal), "a refusal without a reason"
        return None


def texts(take: Take) -> None:
    """Durations, names and ids: accepted ones are what they say."""
    text = take.text(take.byte())
    for check in (check_text, check_name, check_prefix, check_job_id):
        try:
            assert check(text, "it") == text
        except InvalidOption as refusal:
            assert "it is" in str(refusal) or "it has" in str(refusal), (
                f"a refusal that says nothing: {refusal}"
            )
    try:
        ms = duration_ms(text, "it")
    except InvalidOption:
        return
    assert 0 <= ms <= MAX_DURATION and duration_ms(format_duration(ms), "it") == ms


def of_worker(take: Take) -> None:
    """Options of a worker, and times."""
    maker = Maker(take)
    name = take.choice(
        [
            "concurrency",
            "lease",
            "prefetch",
            "limiter",
            "remove_on_complete",
            "backoffs",
            "never_retry",
            "hang_limit",
        ]
    )
    for check in (lambda: worker_settings({name: an_option(maker)}), lambda: time_ms(an_option(maker), "it")):
        try:
            cast("Callable[[], object]", check)()
        except InvalidOption as refusal:
            assert str(refusal)


def an_option(maker: Maker) -> Any:
    """Make something that may be meant as an option's value."""
    take = maker.take
    return take.choice(OPTIONS)(maker)


def a_duration(maker: Maker) -> Any:
    """Make a duration, as it is usually written."""
    take = maker.take
    sign, whole = take.choice(["", "-", "+", "0", "١"]), abs(take.number(take.byte() % 8))
    return f"{sign}{whole}{take.choice(['', '.5', '.25'])}{take.choice(UNITS)}"


def built(make: Callable[..., Any], *arguments: Any) -> Any:
    """Make an option's object; None for arguments that it refuses."""
    try:
        return make(*arguments)
    except InvalidOption:
        return None


OPTIONS: Final[list[Callable[[Maker], Any]]] = [
    a_duration,
    lambda maker: abs(maker.take.number(6)),
    lambda maker: maker.take.number(2),
    lambda maker: maker.take.choice([True, False, None, 1, 3, 1.5]),
    lambda maker: maker.take.text(20),
    lambda maker: maker.value(),
    lambda maker: built(Keep, maker.take.number(4), a_duration(maker)),
    lambda maker: built(
        Deduplication,
        maker.take.text(20),
        a_duration(maker),
        maker.take.choice(["simple", "throttle", "debounce", "replace", "keep-last", "x"]),
    ),
    lambda maker: built(Backoff.fixed, a_duration(maker)),
    lambda maker: built(
        lambda: Backoff.exponential(
            a_duration(maker), factor=maker.take.number(2) / 3, jitter=maker.take.byte() / 200
        )
    ),
    lambda maker: built(Backoff.steps, *[a_duration(maker) for _ in range(maker.take.byte() % 4)]),
    lambda maker: built(Backoff.custom, maker.take.text(9)),
    lambda maker: built(RateLimit, maker.take.number(3), a_duration(maker)),
    lambda maker: datetime(2027, 1, 1, tzinfo=UTC) + timedelta(seconds=maker.take.number(5) % 10**10),
    lambda maker: {"type": maker.take.choice(["fixed", "exponential"]), "delay": maker.value()},
]
