"""Job options: each value checked, wrong names answered, and one settings object for the same options."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bullrush.errors import InvalidOption, InvalidOptionType
from bullrush.options import (
    DEFAULT_BACKOFF,
    DEFAULT_SETTINGS,
    NOT_YET_AVAILABLE,
    Backoff,
    Deduplication,
    JobOptions,
    JobRef,
    JobSpec,
    Keep,
    RateLimit,
    Replicas,
    TemplateOptions,
    job_settings,
    merge_options,
    template_settings,
)
from bullrush.options.jobs import CHECKS, JobSettings, _remembered

VALID: dict[str, object] = {
    "job_id": "order-7",
    "delay": "5s",
    "run_at": datetime(2030, 1, 1, tzinfo=UTC),
    "priority": 3,
    "lifo": True,
    "attempts": 3,
    "backoff": "10s",
    "timeout": "1m",
    "expires_in": "1h",
    "remove_on_complete": True,
    "remove_on_fail": 100,
    "keep_result": "5m",
    "deduplication": Deduplication("user:7"),
    "group": "example.com:8080",
    "parent": JobRef("videos", "1"),
    "on_child_failure": "ignore",
    "keep_logs": 50,
    "stack_trace_limit": 20,
    "size_limit": 10_000,
    "durability": "replica",
}


def test_no_options_are_the_shared_default() -> None:
    assert job_settings({}) is DEFAULT_SETTINGS
    assert JobSettings() == DEFAULT_SETTINGS
    assert DEFAULT_SETTINGS.wire is None


def test_checks_and_typed_dicts_name_the_same_options() -> None:
    assert set(JobOptions.__annotations__) == set(CHECKS) == set(VALID)
    template = set(TemplateOptions.__annotations__)
    assert set(CHECKS) - template == {"job_id", "delay", "run_at", "deduplication", "parent", "durability"}
    assert get_args(get_type_hints(JobOptions)["remove_on_fail"]) == (bool, int, Keep)


def test_valid_values_arrive_in_their_one_form() -> None:
    settings = job_settings({k: v for k, v in VALID.items() if k not in {*NOT_YET_AVAILABLE, "run_at"}})
    assert settings.job_id == "order-7"
    assert settings.delay == 5_000
    assert (settings.priority, settings.lifo, settings.attempts) == (3, True, 3)
    assert settings.backoff == Backoff.fixed("10s")
    assert settings.remove_on_complete == Keep(count=0)
    assert settings.remove_on_fail == Keep(count=100)
    assert (settings.keep_logs, settings.stack_trace_limit, settings.size_limit) == (50, 20, 10_000)
    assert settings.durability == Replicas(1)
    assert job_settings({"run_at": VALID["run_at"]}).run_at == 1_893_456_000_000


WRONG_VALUES: list[tuple[str, object]] = [
    ("job_id", ""),
    ("job_id", "17"),
    ("job_id", "-17"),
    ("job_id", "a b"),
    ("job_id", "ä"),
    ("job_id", "x" * 129),
    ("delay", -1),
    ("delay", "5"),
    ("run_at", 1_700_000_000),
    ("run_at", datetime(2030, 1, 1)),
    ("priority", -1),
    ("priority", 2_097_152),
    ("attempts", 0),
    ("backoff", -1),
    ("timeout", 5),
    ("timeout", "0ms"),
    ("expires_in", 0),
    ("remove_on_complete", -1),
    ("keep_result", 0),
    ("group", ""),
    ("group", "a\0b"),
    ("group", "ä" * 128),
    ("group", "\ud800"),
    ("on_child_failure", "fial"),
    ("keep_logs", -1),
    ("stack_trace_limit", -1),
    ("size_limit", 0),
]
WRONG_TYPES: list[tuple[str, object]] = [
    ("job_id", 17),
    ("job_id", None),
    ("delay", 0.5),
    ("delay", True),
    ("run_at", 1.7e12),
    ("priority", True),
    ("priority", 1.0),
    ("priority", "1"),
    ("lifo", 1),
    ("attempts", "3"),
    ("backoff", {"type": "exponential"}),
    ("timeout", 60.0),
    ("remove_on_complete", 1.0),
    ("remove_on_fail", {"age": 3600}),
    ("remove_on_fail", None),
    ("deduplication", "user:7"),
    ("group", 7),
    ("parent", "videos:1"),
    ("on_child_failure", True),
    ("keep_logs", False),
    ("stack_trace_limit", [1]),
    ("size_limit", "1kB"),
]


@pytest.mark.parametrize(("name", "value"), WRONG_VALUES)
def test_a_wrong_value_is_a_value_error_with_the_name_of_the_option(name: str, value: object) -> None:
    with pytest.raises(InvalidOption, match=name) as caught:
        job_settings({name: value})
    assert not isinstance(caught.value, TypeError)
    assert caught.value.took_effect is False


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES)
def test_a_wrong_type_is_a_type_error_with_name_and_value(name: str, value: object) -> None:
    with pytest.raises(InvalidOptionType, match=name) as caught:
        job_settings({name: value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("name", sorted(NOT_YET_AVAILABLE))
def test_what_is_not_built_yet_is_checked_and_then_refused(name: str) -> None:
    with pytest.raises(InvalidOption, match=f"{name}=.* is not available in this version"):
        job_settings({name: VALID[name]})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("repeat", "upsert_job_scheduler"),
        ("countdown", "use delay"),
        ("eta", "use run_at"),
        ("max_retries", "use attempts"),
        ("jobId", "use job_id"),
        ("removeOnComplete", "use remove_on_complete"),
        ("stackTraceLimit", "use stack_trace_limit"),
        ("failParentOnFailure", "on_child_failure"),
        ("job_timeout", "use timeout"),
        ("at_front", "use lifo=True"),
        ("result_ttl", "remove_on_complete"),
        ("dealy", "did you mean delay"),
        ("prioritiy", "did you mean priority"),
        ("zzz", "there are attempts, backoff"),
    ],
)
def test_an_unknown_name_is_answered_with_ours(name: str, said: str) -> None:
    with pytest.raises(InvalidOption, match=said) as caught:
        job_settings({name: 5})
    assert f"{name}=5" in str(caught.value)


def test_delay_and_run_at_exclude_each_other() -> None:
    with pytest.raises(InvalidOption, match="exclude each other"):
        job_settings({"delay": "5s", "run_at": 10**12})


@pytest.mark.parametrize(
    ("value", "keep"),
    [
        (True, Keep(count=0)),
        (False, Keep()),
        (0, Keep(count=0)),
        (1, Keep(count=1)),
        (Keep(5, "1d"), Keep(5, "1d")),
    ],
)
def test_retention_takes_a_bool_a_number_or_a_keep(value: object, keep: Keep) -> None:
    assert job_settings({"remove_on_fail": value}).remove_on_fail == keep


def test_only_retries_have_a_backoff_by_default() -> None:
    assert job_settings({"attempts": 1}).backoff is None
    assert job_settings({"attempts": 2}).backoff is DEFAULT_BACKOFF
    assert job_settings({"attempts": 2, "backoff": 0}).backoff == Backoff.fixed(0)


def test_the_same_options_are_checked_once() -> None:
    options: dict[str, object] = {"attempts": 3, "delay": "5s"}
    assert job_settings(options) is job_settings(dict(options))


def test_equal_values_of_another_type_are_not_taken_for_the_same() -> None:
    assert job_settings({"remove_on_fail": 1}).remove_on_fail == Keep(count=1)
    assert job_settings({"remove_on_fail": True}).remove_on_fail == Keep(count=0)
    assert job_settings({"attempts": 1}).attempts == 1
    for wrong in (True, 1.0):
        with pytest.raises(InvalidOptionType):
            job_settings({"attempts": wrong})


def test_what_is_remembered_is_bounded() -> None:
    for delay in range(5_000):
        assert job_settings({"delay": delay}).delay == delay
    assert len(_remembered) <= 1_024


def test_what_holds_for_one_job_only_pushes_nothing_out() -> None:
    before = len(_remembered)
    for number in range(10):
        assert job_settings({"job_id": f"j{number}"}).job_id == f"j{number}"
        assert job_settings({"run_at": 10**12 + number}).run_at == 10**12 + number
    assert len(_remembered) == before


@given(st.integers(), st.integers())
def test_numbers_are_accepted_exactly_within_their_range(priority: int, attempts: int) -> None:
    valid = 0 <= priority <= 2_097_151 and 1 <= attempts <= 1_000_000
    try:
        settings = job_settings({"priority": priority, "attempts": attempts})
    except InvalidOption:
        assert not valid
    else:
        assert valid
        assert (settings.priority, settings.attempts) == (priority, attempts)


@pytest.mark.parametrize("name", ["job_id", "delay", "run_at", "deduplication", "parent"])
def test_templates_refuse_what_can_hold_for_one_job_only(name: str) -> None:
    with pytest.raises(InvalidOption, match=f"{name}=.*scheduler"):
        template_settings({name: VALID[name]})


def test_templates_take_the_rest() -> None:
    assert template_settings({"attempts": 2}) is job_settings({"attempts": 2})


@pytest.mark.parametrize(
    ("defaults", "options", "merged"),
    [
        ({}, {"delay": 1}, {"delay": 1}),
        ({"delay": 1}, {}, {"delay": 1}),
        ({"attempts": 2, "priority": 1}, {"priority": 5}, {"attempts": 2, "priority": 5}),
        ({"delay": 1}, {"run_at": 10**12}, {"run_at": 10**12}),
        ({"run_at": 10**12}, {"delay": 1}, {"delay": 1}),
        ({"attempts": 2}, {"delay": 1, "run_at": 10**12}, {"attempts": 2, "delay": 1, "run_at": 10**12}),
    ],
)
def test_options_of_the_call_win_over_defaults(defaults: Any, options: Any, merged: Any) -> None:
    before = dict(defaults), dict(options)
    assert merge_options(defaults, options) == merged
    assert (defaults, options) == before


def test_a_spec_is_checked_when_it_is_made() -> None:
    spec = JobSpec("send", {"to": "a"}, delay="5s")
    assert (spec.name, spec.data, spec.options) == ("send", {"to": "a"}, {"delay": "5s"})
    assert JobSpec[int]("send").data is None
    assert pickle.loads(pickle.dumps(spec)) == spec
    for make in (lambda: JobSpec(""), lambda: JobSpec("x", delay=0.5), lambda: JobSpec("x", dealy=5)):
        with pytest.raises(InvalidOption):
            make()
    with pytest.raises(AttributeError):
        spec.name = "other"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Keep(age=86_400),
        lambda: Keep(age=True),
        lambda: Keep(age="0s"),
        lambda: Keep(count=-1),
        lambda: Keep(count=True),
        lambda: RateLimit("10", "1s"),
        lambda: RateLimit(0, "1s"),
        lambda: RateLimit(10, 0),
        lambda: RateLimit(10, "1s", burst=0),
        lambda: Deduplication(""),
        lambda: Deduplication("a", mode="throttle"),
        lambda: Deduplication("a", mode="other"),
        lambda: JobRef("a b", "1"),
        lambda: JobRef("a", ""),
        lambda: JobRef("a", 1),
    ],
)
def test_a_wrong_value_type_is_refused_when_it_is_made(make) -> None:
    with pytest.raises(InvalidOption):
        make()


def test_value_types_read_back_in_milliseconds() -> None:
    assert Keep(age=timedelta(days=1)).age == 86_400_000
    assert repr(Keep(5, "1d")) == "Keep(count=5, age='1d')"
    assert RateLimit(10, "1s").duration == 1_000
    assert Deduplication("a", "1m").ttl == 60_000
    assert len({Keep(5, "1d"), Keep(5, timedelta(days=1))}) == 1
    assert pickle.loads(pickle.dumps(Keep(5, "1d"))) == Keep(5, "1d")
