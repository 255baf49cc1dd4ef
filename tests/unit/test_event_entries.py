"""Entries of the event stream become events: those asked for, under ids that do not depend on that."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bullrush._core.codec import encode, encode_record
from bullrush.codec import Values
from bullrush.events import (
    EVENT_KINDS,
    Active,
    Added,
    Cleaned,
    Completed,
    Custom,
    Deduplicated,
    Delayed,
    Drained,
    Duplicated,
    Event,
    Failed,
    Paused,
    Progress,
    Removed,
    Resumed,
    Retrying,
    Stalled,
    Waiting,
)
from bullrush.events.cursor import LAST_PLACE, check_event_id, split_event_id
from bullrush.events.decoding import Found, Needs, decode_entry, read_head
from bullrush.events.entries import LARGE, Entry
from bullrush.options.wire import pack_options

ALL = frozenset(EVENT_KINDS.values())
COMMON = {"queue": "q", "at": 1000}


class Hex:
    """A codec of a user: it makes bytes of what it gets."""

    name = "hex"

    def encode(self, value: object, /) -> bytes:
        return str(value).encode().hex().encode()

    def decode(self, data: bytes | bytearray | memoryview, /) -> object:
        return bytes.fromhex(bytes(data).decode()).decode()


def entry(**fields: bytes) -> Entry:
    return Entry("1000-2", {b"n": b"7", b"o": b"99", **{k.encode(): v for k, v in fields.items()}})


def events(of: Entry, *kinds: type[Event], found: Found | None = None) -> list[Event]:
    return decode_entry(of, "q", frozenset(kinds) or ALL, found or Found(), Values(None, "q"))


def packed(*values: object) -> bytes:
    return b"".join(map(encode, values))


def test_reply_of_the_server_becomes_an_entry() -> None:
    read = Entry.from_reply([b"1000-2", [b"n", b"7", b"o", b"99", b"drained", b""]])
    assert (read.id, read.number, read.at) == ("1000-2", 7, 1000)
    assert events(read) == [Drained(id="1000-2:32000000", **COMMON)]


def test_ranges_and_single_ids_are_added() -> None:
    heads = {"3": encode_record("welcome", 5, None, "x")}
    found = events(entry(added=b"3-5 9-9", added_ids=b"m-1"), Added, found=Found(heads))
    assert found == [
        Added("3", "welcome", id="1000-2:0", **COMMON),
        Added("4", "", id="1000-2:1", **COMMON),
        Added("5", "", id="1000-2:2", **COMMON),
        Added("9", "", id="1000-2:3", **COMMON),
        Added("m-1", "", id="1000-2:1000000", **COMMON),
    ]


def test_a_new_job_waits_or_is_delayed() -> None:
    options = pack_options({"delay": 500})
    heads = {
        "a": encode_record("x", 900, options, None),
        "b": encode_record("x", 900, pack_options({"run_at": 1900}), None),
        "c": encode_record("x", 900, pack_options({"priority": 5}), None),
    }
    found = events(entry(added=b"1-1", added_ids=b"a b c gone"), Waiting, Delayed, found=Found(heads))
    assert found == [
        Waiting("1", None, id="1000-2:2000000", **COMMON),
        Waiting("c", None, id="1000-2:3000002", **COMMON),
        Delayed("a", 1500, id="1000-2:4000000", **COMMON),
        Delayed("b", 2000, id="1000-2:4000001", **COMMON),
    ]


def test_the_beginning_of_a_record_is_enough_for_the_name() -> None:
    record = encode_record("n" * 255, 5, None, "x" * 5000)
    assert read_head(record[:1024]) == ("n" * 255, 0)
    cut = encode_record("name", 5, encode({"delay": 9, "name": "y" * 2000}), None)[:1024]
    assert read_head(cut) == ("name", None)


def test_values_are_decoded() -> None:
    found = events(entry(completed=packed("1", {"a": [1, None]}, "2", None)), Completed)
    assert [
        (event.job_id, event.returnvalue, event.prev) for event in found if isinstance(event, Completed)
    ] == [
        ("1", {"a": [1, None]}, "active"),
        ("2", None, "active"),
    ]


def test_values_of_a_codec_are_bytes_inside_and_none_stays_none() -> None:
    codec = Hex()
    of = entry(completed=packed("1", codec.encode("hello"), "2", None))
    found = decode_entry(of, "q", frozenset({Completed}), Found(), Values(codec, "q"))
    assert [event.returnvalue for event in found if isinstance(event, Completed)] == ["hello", None]


def test_a_value_that_cannot_be_decoded_is_none_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    of = entry(completed=packed("1", b"no hex", "2", Hex().encode("x")))
    with caplog.at_level(logging.WARNING, "bullrush"):
        found = decode_entry(of, "q", frozenset({Completed}), Found(), Values(Hex(), "q"))
    assert [event.returnvalue for event in found if isinstance(event, Completed)] == [None, "x"]
    assert "job 1" in caplog.text


def test_a_large_value_comes_from_the_stored_outcome() -> None:
    of = entry(completed=packed("1") + LARGE + packed("2") + LARGE)
    needs = Needs()
    needs.note(of, frozenset({Completed}))
    assert needs.outcomes == ["1", "2"]
    found = Found({}, {"1": encode([0, 1, 2, 1, 1, "w", "large"])})
    assert [
        event.returnvalue for event in events(of, Completed, found=found) if isinstance(event, Completed)
    ] == [
        "large",
        None,
    ]


def test_what_the_server_refused_did_not_happen() -> None:
    of = entry(
        completed=packed("1", "x", "2", "y"),
        failed=packed("3", "why", "Error", "4", "why", "Error"),
        retrying=packed("5", 1, 10, "why", "6", 1, 10, "why"),
        refused=b"1 4 5",
    )
    found = [(type(event).__name__, getattr(event, "job_id", "")) for event in events(of)]
    assert found == [("Retrying", "6"), ("Completed", "2"), ("Failed", "3")]


def test_failures_with_and_without_their_number_of_attempts() -> None:
    of = entry(failed=packed("1", "why", "ValueError", 3, "2", "no", "KeyError", "3", "oh", "E", 1))
    needs = Needs()
    needs.note(of, frozenset({Failed}))
    assert needs.outcomes == ["2"]
    found = Found({}, {"2": encode([1, 1, 2, 5, 5, "w", "no", "KeyError", ""])})
    assert events(of, Failed, found=found) == [
        Failed("1", "why", "ValueError", 3, "active", id="1000-2:13000000", **COMMON),
        Failed("2", "no", "KeyError", 5, "active", id="1000-2:13000001", **COMMON),
        Failed("3", "oh", "E", 1, "active", id="1000-2:13000002", **COMMON),
    ]


@pytest.mark.parametrize("with_types", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_attempts_that_are_retried(count: int, with_types: bool) -> None:
    values: list[object] = []
    for n in range(count):
        values += [f"{n}", n + 1, 250, "why"] + (["ValueError"] if with_types else [])
    error_type = "ValueError" if with_types else ""
    assert events(entry(retrying=packed(*values)), Retrying) == [
        Retrying(f"{n}", "why", error_type, n + 1, 1250, id=f"1000-2:{11000000 + n}", **COMMON)
        for n in range(count)
    ]


def test_a_crashed_job_failed_for_the_stored_reason() -> None:
    of = entry(stalled=b"1", crashed=b"2 3")
    found = Found({}, {"2": encode([1, 0, 2, 1, 3, "", "died", "JobCrashed", ""])})
    one, two, three = events(of, Stalled, Failed, found=found)
    assert one == Stalled("1", id="1000-2:20000000", **COMMON)
    assert two == Failed("2", "died", "JobCrashed", 1, "active", id="1000-2:21000000", **COMMON)
    assert isinstance(three, Failed)
    assert three.error_type == "JobCrashed"


def test_the_rest() -> None:
    of = entry(
        progress=packed("1", {"percent": 5}), waiting=b"2 3", active=b"4", removed=b"5 waiting", paused=b""
    )
    assert events(of) == [
        Progress("1", {"percent": 5}, id="1000-2:10000000", **COMMON),
        Waiting("2", "delayed", id="1000-2:30000000", **COMMON),
        Waiting("3", "delayed", id="1000-2:30000001", **COMMON),
        Active("4", None, id="1000-2:31000000", **COMMON),
        Removed("5", "waiting", id="1000-2:40000000", **COMMON),
        Paused(id="1000-2:41000000", **COMMON),
    ]
    assert events(entry(resumed=b"", future=b"?")) == [Resumed(id="1000-2:42000000", **COMMON)]


def test_what_management_did() -> None:
    of = entry(
        duplicated=b"a b",
        deduplicated=packed("1", "key", "2", "3", "another", "4"),
        requeued=b"5 failed 6 completed",
        promoted=b"7",
        delayed=b"8 5000",
        removed=b"9 waiting 10 delayed",
        cleaned=b"12",
        custom=packed("deployed", {"version": 3}),
    )
    assert events(of) == [
        Duplicated("a", id="1000-2:5000000", **COMMON),
        Duplicated("b", id="1000-2:5000001", **COMMON),
        Deduplicated("1", "key", "2", id="1000-2:6000000", **COMMON),
        Deduplicated("3", "another", "4", id="1000-2:6000001", **COMMON),
        Waiting("5", "failed", id="1000-2:22000000", **COMMON),
        Waiting("6", "completed", id="1000-2:22000001", **COMMON),
        Waiting("7", "delayed", id="1000-2:23000000", **COMMON),
        Delayed("8", 5000, id="1000-2:24000000", **COMMON),
        Removed("9", "waiting", id="1000-2:40000000", **COMMON),
        Removed("10", "delayed", id="1000-2:40000001", **COMMON),
        Cleaned(12, id="1000-2:43000000", **COMMON),
        Custom("deployed", {"version": 3}, id="1000-2:44000000", **COMMON),
    ]


def test_empty_fields_are_no_events() -> None:
    assert events(entry(added=b"", added_ids=b"", stalled=b"", active=b"")) == []


@given(st.sets(st.sampled_from(sorted(ALL, key=lambda kind: kind.name)), min_size=1))
def test_an_events_id_does_not_depend_on_the_kinds_asked_for(kinds: set[type[Event]]) -> None:
    of = entry(
        added=b"1-3",
        added_ids=b"a b",
        completed=packed("1", 1, "2", 2),
        failed=packed("3", "why", "E"),
        active=b"4 5",
        drained=b"",
    )
    everything = events(of)
    assert events(of, *kinds) == [event for event in everything if type(event) in kinds]
    places = [split_event_id(event.id)[1] for event in everything]
    assert places == sorted(set(places))


@given(st.lists(st.tuples(st.text("ab1", min_size=1, max_size=40), st.integers() | st.binary(max_size=40))))
def test_pairs_are_split_as_they_were_joined(pairs: list[tuple[str, object]]) -> None:
    of = entry(completed=b"".join(packed(id, value) for id, value in pairs))
    assert of.completed() == [(id, encode(value)) for id, value in pairs]


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        ("5-1:7", ("5-1", 7)),
        ("5-1:-1", ("5-1", -1)),
        ("5-1", ("5-1", LAST_PLACE)),
        ("0", ("0-0", LAST_PLACE)),
    ],
)
def test_ids_say_where_to_go_on(id: str, expected: tuple[str, int]) -> None:
    assert split_event_id(check_event_id(id)) == expected


@pytest.mark.parametrize("id", ["", "$", "5-", "5-1:", "x", "-1", 5, None])
def test_other_ids_are_refused(id: object) -> None:
    with pytest.raises(ValueError, match="after is"):
        check_event_id(id)
