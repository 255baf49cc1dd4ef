"""The options inside a job record: small, readable by older versions, and never trusted."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bullrush.errors import CodecError
from bullrush.options import DEFAULT_BACKOFF, Backoff, Keep, job_settings, settings_from_wire
from bullrush.options.wire import unpack_options

durations = st.integers(0, 10**9)
jitters = st.floats(0, 1)
backoffs = st.one_of(
    durations,
    st.builds(Backoff.fixed, durations, jitter=jitters),
    st.builds(
        Backoff.exponential,
        durations,
        factor=st.floats(1, 100),
        jitter=jitters,
        max_delay=st.none() | durations,
    ),
    st.lists(durations, min_size=1, max_size=5).map(lambda delays: Backoff.steps(*delays)),
    st.builds(
        Backoff.custom, st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9)
    ),
)
keeps = st.one_of(
    st.booleans(),
    st.integers(0, 10**6),
    st.builds(Keep, st.none() | st.integers(0, 10**6), st.none() | durations.map(lambda ms: f"{ms + 1}ms")),
)
options = st.fixed_dictionaries(
    {},
    optional={
        "delay": durations,
        "priority": st.integers(0, 2_097_151),
        "lifo": st.booleans(),
        "attempts": st.integers(1, 100),
        "backoff": backoffs,
        "remove_on_complete": keeps,
        "remove_on_fail": keeps,
        "keep_logs": st.integers(0, 10**6),
        "stack_trace_limit": st.integers(0, 10**6),
    },
)


@given(options)
def test_what_is_written_reads_back_equal(given_options: dict[str, object]) -> None:
    settings = job_settings(given_options)
    if settings.wire is None:
        assert settings == job_settings({})
    else:
        assert settings_from_wire(settings.wire) == settings


@pytest.mark.parametrize(
    "given_options",
    [
        {"delay": 0},
        {"priority": 0, "lifo": False, "attempts": 1},
        {"job_id": "a-1"},
        {"size_limit": 1_000},
    ],
)
def test_defaults_and_what_no_worker_needs_are_not_written(given_options: dict[str, object]) -> None:
    assert job_settings(given_options).wire is None


@pytest.mark.parametrize(
    ("given_options", "written"),
    [
        ({"attempts": 3}, {"attempts": 3}),
        ({"attempts": 3, "backoff": 0}, {"attempts": 3, "backoff": {"kind": "fixed", "delays": [0]}}),
        ({"run_at": 10**12}, {"run_at": 10**12}),
        ({"delay": "5s", "lifo": True}, {"delay": 5_000, "lifo": True}),
        ({"remove_on_complete": True}, {"remove_on_complete": {"count": 0}}),
        ({"remove_on_fail": False}, {"remove_on_fail": {}}),
        ({"remove_on_fail": Keep(5, "1s")}, {"remove_on_fail": {"count": 5, "age": 1_000}}),
        ({"backoff": Backoff.custom("mine")}, {"backoff": {"kind": "custom", "name": "mine"}}),
    ],
)
def test_the_form_is_fixed(given_options: dict[str, object], written: dict[str, object]) -> None:
    wire = job_settings(given_options).wire
    assert wire is not None
    assert msgpack.unpackb(wire) == written


def test_the_default_backoff_is_not_written_but_read() -> None:
    assert settings_from_wire(msgpack.packb({"attempts": 2})).backoff == DEFAULT_BACKOFF


def test_unknown_options_of_a_newer_version_are_skipped() -> None:
    wire = msgpack.packb({"attempts": 2, "quantum": {"x": [1]}, "priority": 7})
    settings = settings_from_wire(wire)
    assert (settings.attempts, settings.priority, settings.wire) == (2, 7, wire)


def test_options_that_cannot_be_given_yet_are_read() -> None:
    assert settings_from_wire(msgpack.packb({"timeout": 50})).timeout == 50


def test_the_same_bytes_are_read_once() -> None:
    wire = msgpack.packb({"attempts": 5})
    assert settings_from_wire(wire) is settings_from_wire(bytes(wire))


@pytest.mark.parametrize(
    "plain",
    [
        5,
        None,
        ["attempts", 3],
        {"attempts": 0},
        {"attempts": "3"},
        {"attempts": True},
        {"delay": -1},
        {"delay": 0.5},
        {"lifo": 1},
        {"backoff": 5},
        {"backoff": {}},
        {"backoff": {"kind": "other", "delays": [1]}},
        {"backoff": {"kind": "fixed"}},
        {"backoff": {"kind": "fixed", "delays": 5}},
        {"backoff": {"kind": "fixed", "delays": [-1]}},
        {"backoff": {"kind": "fixed", "delays": [1], "jitter": 2}},
        {"backoff": {"kind": "exponential", "delays": [1], "factor": 0}},
        {"backoff": {"kind": "custom"}},
        {"remove_on_fail": 5},
        {"remove_on_fail": {"count": -1}},
        {"remove_on_fail": {"age": 0}},
        {"remove_on_fail": {"age": 2**52}},
        {1: 2},
    ],
)
def test_a_wrong_map_is_a_codec_error(plain: object) -> None:
    with pytest.raises(CodecError):
        settings_from_wire(msgpack.packb(plain))


@given(st.binary(max_size=40))
def test_any_bytes_are_options_or_a_codec_error(wire: bytes) -> None:
    try:
        values = unpack_options(wire)
    except CodecError:
        return
    assert isinstance(values, dict)
