"""The job: fields are decoded when they are looked at, and a snapshot shows what was read."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bullrush._core.codec import encode, encode_record
from bullrush._core.factory import JobFactory
from bullrush._core.job import JobBase
from bullrush.errors import CodecError, InvalidOption, InvalidOptionType, JobCancelled, PayloadTooLarge
from bullrush.options import Backoff, JobRef, JobSpec, check_text, job_settings
from tests.unit.machines import NOW, make_factory, make_job

DATA = {"to": "a@b.c", "n": [1, 2]}


class Backwards:
    """A codec for which nobody could take ours."""

    name = "backwards"

    def encode(self, value: object) -> bytes:
        return str(value)[::-1].encode()

    def decode(self, data: bytes) -> object:
        return bytes(data).decode()[::-1]


def loaded(record: bytes, **fields: Any) -> JobBase[Any, Any]:
    """A job as it is read from a server."""
    job = make_factory().named("7")
    job._load(record=record, **fields)
    return job


# Made here.


def test_a_new_job_has_what_it_was_given() -> None:
    job = make_factory().make("send", DATA, None, NOW)
    assert (job.name, job.data, job.timestamp, job.queue, job.id) == ("send", DATA, NOW, "q", "")
    assert (job.opts, job.delay, job.priority, job.attempts) == ({}, 0, 0, 1)
    assert (job.attempts_made, job.attempts_started, job.crashes, job.duplicate) == (0, 0, 0, False)
    assert (job.returnvalue, job.failed_reason, job.stacktrace, job.state) == (None, None, [], None)


@given(st.none() | st.integers(-5, 5) | st.text() | st.lists(st.integers()) | st.binary())
def test_data_is_a_copy_that_later_changes_do_not_touch(data: object) -> None:
    given_data = [data]
    job = make_factory().make("n", given_data, None, NOW)
    given_data.append("changed")
    assert job.data == [data]
    assert job.data is job.data


def test_options_are_shown_as_they_were_checked() -> None:
    job = make_factory().make(
        "n", None, job_settings({"attempts": 4, "delay": "5s", "backoff": Backoff.fixed("2s")}), NOW
    )
    assert (job.attempts, job.delay, job.settings.backoff) == (4, 5_000, Backoff.fixed("2s"))
    assert job.opts["attempts"] == 4
    assert job.due_at == datetime.fromtimestamp((NOW + 5_000) / 1000, UTC)


def test_a_custom_id_is_known_at_once() -> None:
    assert make_job(job_id="mine").id == "mine"


def test_names_are_checked_each_time() -> None:
    factory = make_factory()
    for name in ("", "a\0", "x" * 256):
        for _ in range(2):
            with pytest.raises(InvalidOption):
                factory.make(name, None, None, NOW)


@pytest.mark.parametrize("limit_of", ["queue", "job"])
def test_a_job_beyond_the_limit_is_refused_with_its_size(limit_of: str) -> None:
    factory = make_factory(size_limit=100 if limit_of == "queue" else 10_000)
    settings = job_settings({"size_limit": 100}) if limit_of == "job" else None
    with pytest.raises(PayloadTooLarge, match=r"takes 1,0.. bytes, the limit is 100: nothing was stored"):
        factory.make("n", "x" * 1000, settings, NOW)


def test_data_that_no_codec_takes_names_its_path() -> None:
    with pytest.raises(CodecError, match=r"data\.when"):
        make_factory().make("n", {"when": object()}, None, NOW)


def test_a_codec_of_the_users_own_is_asked_both_ways() -> None:
    factory = make_factory(codec=Backwards())
    job = factory.make("n", "abc", None, NOW)
    assert job.data == "abc"
    assert factory.make("n", None, None, NOW).data is None


# Many.


def test_chunks_are_made_of_tuples_and_specs_and_options_of_a_job_win() -> None:
    jobs: list[Any] = [("a", 1), ("b", 2, {"attempts": 5}), JobSpec("c", 3, priority=2), JobSpec("d", 4)]
    made = make_factory().make_all(jobs, {"attempts": 3}, NOW)
    assert [(job.name, job.data, job.attempts, job.priority) for job in made] == [
        ("a", 1, 3, 0),
        ("b", 2, 5, 0),
        ("c", 3, 3, 2),
        ("d", 4, 3, 0),
    ]


@pytest.mark.parametrize("wrong", ["text", 5, None, ("only",), ("a", 1, {}, 2), ["a", 1]])
def test_what_is_no_job_is_refused_with_its_place(wrong: Any) -> None:
    with pytest.raises(InvalidOptionType, match=r"job 1 is a .*nothing of this chunk was stored"):
        make_factory().make_all([("a", 1), wrong], {}, NOW)


# Read.


def test_a_record_that_was_read_shows_name_data_and_options() -> None:
    wire = job_settings({"attempts": 3}).wire
    job = loaded(encode_record("send", NOW, wire, DATA))
    assert (job.id, job.name, job.data, job.timestamp, job.attempts) == ("7", "send", DATA, NOW, 3)


def test_what_was_read_replaces_options_that_were_given() -> None:
    """As where a job is refused, because another one of its id is stored."""
    job = make_factory().make("send", DATA, job_settings({"attempts": 7, "priority": 3}), NOW)
    job._load(record=encode_record("send", NOW, job_settings({"attempts": 2}).wire, DATA))
    assert (job.attempts, job.opts) == (2, {"attempts": 2})
    job._load(record=encode_record("send", NOW, None, DATA))
    assert (job.attempts, job.opts) == (1, {})


def test_what_no_record_holds_outlives_a_reading() -> None:
    settings = job_settings({"attempts": 7, "size_limit": 5_000})
    job = make_factory().make("send", DATA, settings, NOW)
    job._load(record=encode_record("send", NOW, settings.wire, DATA))
    assert job.settings.size_limit == 5_000


@pytest.mark.parametrize("record", [b"", b"\xc1", b"garbage", encode([1, 2, 3]), encode({"a": 1})])
def test_a_record_that_is_none_is_an_error_that_names_the_job(record: bytes) -> None:
    job = loaded(record)  # one that cannot be read must not hide a page of others
    with pytest.raises(CodecError, match="the record of job 7 cannot be decoded"):
        _ = job.data


def test_attempts_are_made_lost_crashes_and_suspicion() -> None:
    job = loaded(encode_record("n", NOW, None, None), attempts=b"2 1 1 2")
    assert (job.attempts_made, job.attempts_started, job.crashes) == (2, 3, 1)


@pytest.mark.parametrize(("attempts", "made", "last"), [(1, 0, True), (3, 1, False), (3, 2, True)])
def test_the_last_attempt_is_known(attempts: int, made: int, last: bool) -> None:
    job = loaded(encode_record("n", NOW, job_settings({"attempts": attempts}).wire, None))
    job._count(made, made)
    assert job.is_last_attempt is last


def test_an_outcome_is_shown_until_the_next_snapshot() -> None:
    record = encode_record("n", NOW, None, None)
    job = loaded(
        record,
        outcome=(None, "no address", "ValueError", "line 1\nline 2"),
        state="failed",
        worker="77",
        processed=NOW + 1,
        finished=NOW + 2,
    )
    assert (job.failed_reason, job.error_type, job.stacktrace) == (
        "no address",
        "ValueError",
        ["line 1", "line 2"],
    )
    assert (job.state, job.worker, job.processed_on, job.finished_on) == ("failed", "77", NOW + 1, NOW + 2)
    assert job.finished_at == datetime.fromtimestamp((NOW + 2) / 1000, UTC)
    job._load(record=record, outcome=("value", None, None, ""), state="completed")
    assert (job.returnvalue, job.failed_reason, job.stacktrace, job.finished_on) == ("value", None, [], None)


def test_times_are_aware_and_absent_where_nothing_happened() -> None:
    job = loaded(encode_record("n", NOW, None, None))
    assert job.created_at == datetime.fromtimestamp(NOW / 1000, UTC)
    assert (job.started_at, job.finished_at, job.processed_on, job.finished_on) == (None, None, None, None)


def test_a_dict_of_it_is_plain() -> None:
    job = loaded(encode_record("n", NOW, None, DATA), state="waiting")
    plain = job.to_dict()
    assert (plain["id"], plain["name"], plain["data"], plain["state"]) == ("7", "n", DATA, "waiting")
    assert plain["returnvalue"] is None


# Everywhere.


def test_a_job_is_named_by_its_queue_and_id() -> None:
    assert loaded(encode_record("n", NOW, None, None)).ref == JobRef("q", "7")


def test_types_may_be_given_at_run_time() -> None:
    assert JobBase[int, str] is JobBase


def test_a_job_says_what_it_is() -> None:
    assert repr(loaded(encode_record("n", NOW, None, None))) == "<JobBase 7 'n' in 'q'>"
    assert repr(make_job()) == "<JobBase (no id yet) 'n' in 'q'>"


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_job_is_not_copied_but_fetched(take: Any) -> None:
    with pytest.raises(TypeError, match=r"queue\.get_job"):
        take(make_job())


def test_a_job_may_be_held_weakly_and_goes_without_the_collector() -> None:
    gc.disable()
    try:
        job = make_job(DATA)
        held = weakref.ref(job)
        del job
        assert held() is None
    finally:
        gc.enable()


def test_cancelling_sets_the_flag_that_threads_look_at() -> None:
    job = make_job()
    job.raise_if_cancelled()
    assert (job.cancelled, job.cancel_reason) == (False, None)
    job._cancel("timeout")
    assert (job.cancelled, job.cancel_reason) == (True, "timeout")
    with pytest.raises(JobCancelled, match="asked to stop: timeout"):
        job.raise_if_cancelled()


def test_names_that_repeat_are_one_object() -> None:
    record = encode_record("a-name-that-is-not-interned", NOW, None, None)
    assert loaded(record).name is loaded(record).name


def test_a_job_of_no_queue_is_harmless() -> None:
    owner = SimpleNamespace(name="q", codec=None)
    factory = JobFactory(JobBase, owner, None, check_text, lambda options: None, 1000)
    assert factory.named("9").data is None
