"""Event classes: names, matching, immutability."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, fields

import pytest

from bullrush.events import kinds
from bullrush.events.kinds import EVENT_KINDS, Completed, Drained, Event, Failed, Gap

NAMES = [
    "added",
    "waiting",
    "active",
    "progress",
    "retrying",
    "delayed",
    "waiting-children",
    "completed",
    "failed",
    "stalled",
    "duplicated",
    "deduplicated",
    "removed",
    "cleaned",
    "drained",
    "paused",
    "resumed",
    "custom",
    "gap",
]


def make(kind: type[Event]) -> Event:
    return kind(**{field.name: f"<{field.name}>" for field in fields(kind)})


def test_every_kind_of_the_contract_is_there_once() -> None:
    assert list(EVENT_KINDS) == NAMES
    classes = {
        value for value in vars(kinds).values() if isinstance(value, type) and issubclass(value, Event)
    }
    assert classes - {Event} == set(EVENT_KINDS.values())


@pytest.mark.parametrize("kind", EVENT_KINDS.values(), ids=lambda kind: kind.name)
def test_every_event_has_the_common_fields_by_keyword(kind: type[Event]) -> None:
    event = make(kind)
    assert (event.id, event.queue, event.at) == ("<id>", "<queue>", "<at>")
    assert EVENT_KINDS[event.name] is kind
    assert kind.__match_args__ == tuple(field.name for field in fields(kind) if not field.kw_only)
    assert not {"id", "queue", "at"} & set(kind.__match_args__)


@pytest.mark.parametrize("kind", EVENT_KINDS.values(), ids=lambda kind: kind.name)
def test_every_event_is_a_frozen_value(kind: type[Event]) -> None:
    event = make(kind)
    assert event == make(kind)
    assert hash(event) == hash(make(kind))
    assert pickle.loads(pickle.dumps(event)) == event
    with pytest.raises(FrozenInstanceError):
        event.at = 5
    assert not hasattr(event, "__dict__")


def test_match_takes_fields_by_place_and_by_name() -> None:
    completed = Completed("7", {"a": 1}, id="1-0:0", queue="q", at=5)
    match completed:
        case Failed():
            raise AssertionError
        case Completed(job_id, returnvalue, queue=queue):
            assert (job_id, returnvalue, queue) == ("7", {"a": 1}, "q")


def test_kinds_are_told_apart() -> None:
    assert Drained(id="1-0:0", queue="q", at=5) != Gap(id="1-0:0", queue="q", at=5)
