"""Worker options: each value checked, wrong names answered, what is not built yet refused."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from bullrush.errors import InvalidOption, InvalidOptionType
from bullrush.options import (
    NOT_YET_AVAILABLE_WORKER,
    Batch,
    Keep,
    RateLimit,
    Recycle,
    WorkerOptions,
    WorkerSettings,
    worker_settings,
)
from bullrush.options.workers import CHECKS, NULLABLE


@asynccontextmanager
async def lifespan():
    yield 5


async def middleware(job, call_next):
    return await call_next(job)


def double(attempt, error):
    return 2 * attempt


VALID: dict[str, object] = {
    "concurrency": 50,
    "limiter": RateLimit(10, "1s"),
    "lease": "10s",
    "hang_limit": "1m",
    "max_crashes": 3,
    "prefetch": 0,
    "executor": "thread",
    "backoffs": {"double": double},
    "group_concurrency": 2,
    "group_limit": RateLimit(10, "1s"),
    "remove_on_complete": 10,
    "remove_on_fail": False,
    "name": "worker at host:1",
    "lifespan": lifespan,
    "middleware": [middleware],
    "never_retry": (ValueError, KeyError),
    "unknown": "fail",
    "recycle": Recycle(jobs=100),
}


def test_checks_typed_dict_and_settings_name_the_same_options() -> None:
    fields = set(WorkerSettings.__dataclass_fields__)
    assert set(WorkerOptions.__annotations__) == set(CHECKS) == set(VALID) == fields
    assert fields > NULLABLE > NOT_YET_AVAILABLE_WORKER


def test_no_options_are_the_documented_defaults() -> None:
    settings = worker_settings({})
    assert settings == WorkerSettings()
    assert (settings.concurrency, settings.lease, settings.hang_limit, settings.max_crashes) == (
        1,
        30_000,
        300_000,
        2,
    )
    assert (settings.prefetch, settings.executor, settings.unknown) == ("auto", "auto", "park")
    assert (settings.backoffs, settings.middleware, settings.never_retry) == ({}, (), ())


def test_valid_values_arrive_in_their_one_form() -> None:
    settings = worker_settings({k: v for k, v in VALID.items() if k not in NOT_YET_AVAILABLE_WORKER})
    assert (settings.concurrency, settings.lease, settings.hang_limit, settings.max_crashes) == (
        50,
        10_000,
        60_000,
        3,
    )
    assert (settings.prefetch, settings.executor, settings.unknown) == (0, "thread", "fail")
    assert (settings.remove_on_complete, settings.remove_on_fail) == (Keep(count=10), Keep())
    assert (settings.name, settings.lifespan) == ("worker at host:1", lifespan)
    assert (settings.middleware, settings.backoffs) == ((middleware,), {"double": double})
    assert settings.never_retry == (ValueError, KeyError)


def test_none_stands_for_not_given_where_it_is_the_default() -> None:
    assert worker_settings(dict.fromkeys(NULLABLE)) == WorkerSettings()


def test_the_hang_limit_follows_the_lease() -> None:
    assert worker_settings({"lease": "5s"}).hang_limit == 50_000
    assert worker_settings({"lease": "5s", "hang_limit": None}).hang_limit == 50_000
    with pytest.raises(InvalidOption, match="hang_limit is 29s, which is less than the lease of 30s"):
        worker_settings({"hang_limit": "29s"})


def test_settings_do_not_change_with_what_was_given() -> None:
    layers, backoffs = [middleware], {"double": double}
    settings = worker_settings({"middleware": layers, "backoffs": backoffs})
    layers.clear()
    backoffs.clear()
    assert (settings.middleware, settings.backoffs) == ((middleware,), {"double": double})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", 0),
        ("lease", "999ms"),
        ("lease", 30),
        ("hang_limit", 0),
        ("max_crashes", 0),
        ("prefetch", -1),
        ("executor", "threads"),
        ("backoffs", {"": double}),
        ("group_concurrency", 0),
        ("remove_on_fail", -1),
        ("name", ""),
        ("unknown", "drop"),
    ],
)
def test_a_wrong_value_is_a_value_error_with_the_name_of_the_option(name: str, value: object) -> None:
    with pytest.raises(InvalidOption, match=name) as caught:
        worker_settings({name: value})
    assert not isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", "5"),
        ("concurrency", True),
        ("concurrency", None),
        ("limiter", (10, 1_000)),
        ("lease", 30.0),
        ("max_crashes", 1.0),
        ("prefetch", "many"),
        ("prefetch", True),
        ("executor", None),
        ("backoffs", [double]),
        ("backoffs", {"double": 5}),
        ("group_limit", 5),
        ("remove_on_complete", "1d"),
        ("name", 5),
        ("lifespan", lifespan()),
        ("middleware", middleware),
        ("middleware", [5]),
        ("middleware", "abc"),
        ("never_retry", (5,)),
        ("never_retry", (ValueError("x"),)),
        ("never_retry", [ValueError]),
        ("never_retry", (int,)),
        ("recycle", 100),
    ],
)
def test_a_wrong_type_is_a_type_error_with_the_name_of_the_option(name: str, value: object) -> None:
    with pytest.raises(InvalidOptionType, match=name):
        worker_settings({name: value})


def test_one_class_is_enough_for_never_retry() -> None:
    assert worker_settings({"never_retry": ValueError}).never_retry == (ValueError,)


@pytest.mark.parametrize("name", sorted(NOT_YET_AVAILABLE_WORKER))
def test_what_is_not_built_yet_is_checked_and_then_refused(name: str) -> None:
    with pytest.raises(InvalidOption, match=f"{name}=.* is not available in this version"):
        worker_settings({name: VALID[name]})


def test_processes_are_not_built_yet() -> None:
    with pytest.raises(InvalidOption, match="executor='process' is not available in this version"):
        worker_settings({"executor": "process"})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lockDuration", "use lease"),
        ("maxStalledCount", "use max_crashes"),
        ("removeOnFail", "use remove_on_fail"),
        ("worker_concurrency", "use concurrency"),
        ("burst", "until_idle"),
        ("attempts", "option of the job"),
        ("batch_size", "batch=Batch"),
        ("concurency", "did you mean concurrency"),
    ],
)
def test_an_unknown_name_is_answered_with_ours(name: str, said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        worker_settings({name: 5})


@pytest.mark.parametrize(
    "make",
    [
        lambda: Batch(0),
        lambda: Batch(10, min_size=11),
        lambda: Batch(10, min_size=0),
        lambda: Batch(10, 0.5),
        lambda: Batch(10, by_group=1),
        lambda: Recycle(jobs=0),
        lambda: Recycle(age=0),
        lambda: Recycle(rss="1GB"),
    ],
)
def test_a_wrong_batch_or_recycle_is_refused_when_it_is_made(make) -> None:
    with pytest.raises(InvalidOption):
        make()


def test_batch_and_recycle_read_back_in_milliseconds() -> None:
    assert Batch(10, "50ms", 2).timeout == 50
    assert Recycle(age="1h").age == 3_600_000
