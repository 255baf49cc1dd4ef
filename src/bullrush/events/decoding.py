"""Make events of the kinds asked for from entries, and say what must be fetched for them; without I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, cast

import msgpack  # pyright: ignore[reportMissingTypeStubs]

from bullrush.codec import Values
from bullrush.events import kinds as k
from bullrush.events.entries import LARGE, Entry, split_pairs, unpack_all, unpack_value, unpacker_of
from bullrush.operations.outcomes import Outcome, read_outcome
from bullrush.options.wire import unpack_options

if TYPE_CHECKING:
    from bullrush.options import State

logger = logging.getLogger("bullrush")

# Of a job's record: enough for its name, and for its options unless they are huge.
HEAD_BYTES: Final = 1024
# Progress and custom events never go through a queue's own codec.
PLAIN: Final = Values(None, "")
CRASH_REASON: Final = "the worker process died too often while it ran this job"

Arguments: TypeAlias = "tuple[object, ...] | None"


class Head(NamedTuple):
    """The beginning of a job's record: its name, and how many ms it was delayed, None = it cannot be seen."""

    name: str
    delay: int | None


@dataclass(slots=True)
class Found:
    """What was fetched for entries: records by id (their beginnings), and stored outcomes by id."""

    heads: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    outcomes: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    def head(self, id: str) -> Head:
        """Return what a record's beginning says; nothing for a job that is gone."""
        packed = self.heads.get(id)
        return Head("", None) if packed is None else read_head(packed)

    def outcome(self, id: str, values: Values) -> Outcome | None:
        """Return the stored outcome; None when it is gone."""
        packed = self.outcomes.get(id)
        return None if packed is None else read_outcome(packed, values, id)


def read_head(packed: bytes) -> Head:
    """Read name and delay from the first bytes of a record."""
    unpacker = unpacker_of(packed)
    unpacker.read_array_header()
    name = cast("str", unpacker.unpack())
    timestamp = cast("int", unpacker.unpack())
    start = unpacker.tell()
    try:
        unpacker.skip()
    except msgpack.OutOfData:  # pyright: ignore[reportUnknownMemberType]
        return Head(name, None)
    options = packed[start : unpacker.tell()]
    if options == b"\xc0":
        return Head(name, 0)
    values = unpack_options(options)
    if "run_at" in values:
        return Head(name, max(0, cast("int", values["run_at"]) - timestamp))
    return Head(name, cast("int", values.get("delay", 0)))


@dataclass(slots=True)
class Needs:
    """What must be fetched before entries can become events."""

    heads: list[str] = field(default_factory=list[str])
    outcomes: list[str] = field(default_factory=list[str])

    def note(self, entry: Entry, wanted: frozenset[type[k.Event]]) -> None:
        """Note what the events of these kinds are made of, beyond the entry."""
        if k.Added in wanted:
            self.heads += entry.added()
        if wanted & {k.Added, k.Waiting, k.Delayed}:
            self.heads += entry.ids(b"added_ids")
        if k.Completed in wanted:
            self.outcomes += [id for id, packed in entry.completed() if packed == LARGE]
        if k.Failed in wanted:
            self.outcomes += [failure.id for failure in entry.failed() if failure.attempts_made < 0]
            self.outcomes += entry.ids(b"crashed")


# From fields to events.

Read: TypeAlias = "Callable[[Entry, Found, Values], Iterable[Arguments]]"


class Step(NamedTuple):
    """How one field becomes events of one kind. `place` orders them and is part of ids: never change one."""

    place: int
    name: bytes
    kind: type[k.Event]
    read: Read


def _plain_added(entry: Entry, found: Found, _: Values) -> Iterator[Arguments]:
    return ((id, found.head(id).name) for id in entry.added())


def _others_added(entry: Entry, found: Found, _: Values) -> Iterator[Arguments]:
    return ((id, found.head(id).name) for id in entry.ids(b"added_ids"))


def _plain_waiting(entry: Entry, _: Found, __: Values) -> Iterator[Arguments]:
    return ((id, None) for id in entry.added())


def _others_waiting(entry: Entry, found: Found, _: Values) -> Iterator[Arguments]:
    return ((id, None) if found.head(id).delay == 0 else None for id in entry.ids(b"added_ids"))


def _others_delayed(entry: Entry, found: Found, _: Values) -> Iterator[Arguments]:
    for id in entry.ids(b"added_ids"):
        delay = found.head(id).delay
        yield (id, entry.at + delay) if delay else None


def _progress(entry: Entry, _: Found, __: Values) -> Iterator[Arguments]:
    return ((id, _readable(id, packed, PLAIN)) for id, packed in split_pairs(entry.fields[b"progress"]))


def _retrying(entry: Entry, _: Found, __: Values) -> Iterator[Arguments]:
    for retry in entry.retrying():
        yield retry.id, retry.reason, retry.error_type, retry.attempts_made, entry.at + retry.delay


def _completed(entry: Entry, found: Found, values: Values) -> Iterator[Arguments]:
    for id, packed in entry.completed():
        if packed != LARGE:
            yield id, _readable(id, packed, values), "active"
        else:
            yield id, _fetched(id, found, values), "active"


def _readable(id: str, packed: bytes, values: Values) -> object:
    """One value that cannot be decoded must not end the events of everybody."""
    try:
        return unpack_value(packed, values, id)
    except Exception as error:
        logger.warning("a value of job %s cannot be decoded, its event says None: %s", id, error)
        return None


def _fetched(id: str, found: Found, values: Values) -> object:
    try:
        outcome = found.outcome(id, values)
    except Exception as error:
        logger.warning("the value of job %s cannot be decoded, its event says None: %s", id, error)
        return None
    return None if outcome is None else outcome.value


def _failed(entry: Entry, found: Found, values: Values) -> Iterator[Arguments]:
    for failure in entry.failed():
        made = failure.attempts_made
        if made < 0:
            outcome = found.outcome(failure.id, values)
            made = 0 if outcome is None else outcome.attempts_made
        yield failure.id, failure.reason, failure.error_type, made, "active"


def _stalled(entry: Entry, _: Found, __: Values) -> Iterator[Arguments]:
    return ((id,) for id in entry.ids(b"stalled"))


def _crashed(entry: Entry, found: Found, values: Values) -> Iterator[Arguments]:
    for id in entry.ids(b"crashed"):
        outcome = found.outcome(id, values) or crash(entry.at)
        yield id, outcome.reason, outcome.error_type, outcome.attempts_made, "active"


def crash(at: int) -> Outcome:
    """What is known of a job that the reaper failed, once its stored outcome is gone."""
    return Outcome(False, 0, at, 0, 0, "", None, CRASH_REASON, "JobCrashed", "")


def _removed(entry: Entry, _: Found, __: Values) -> Iterator[Arguments]:
    return iter(entry.id_pairs(b"removed"))


def _requeued(entry: Entry, _: Found, __: Values) -> Iterator[Arguments]:
    return iter(entry.id_pairs(b"requeued"))


def _put_off(entry: Entry, _: Found, __: Values) -> Iterator[Arguments]:
    return ((id, int(due)) for id, due in entry.id_pairs(b"delayed"))


def _duplicated(entry: Entry, _: Found, __: Values) -> Iterator[Arguments]:
    return ((id,) for id in entry.ids(b"duplicated"))


def _deduplicated(entry: Entry, _: Found, __: Values) -> Iterator[Arguments]:
    values = unpack_all(entry.fields[b"deduplicated"])
    return zip(values[::3], values[1::3], values[2::3], strict=False)


def _cleaned(entry: Entry, _: Found, __: Values) -> Iterator[Arguments]:
    yield (int(entry.fields[b"cleaned"]),)


def _custom(entry: Entry, _: Found, __: Values) -> Iterator[Arguments]:
    for kind, packed in split_pairs(entry.fields[b"custom"]):
        yield kind, _readable(kind, packed, PLAIN)


def _ids(name: bytes, prev: State | None = None) -> Read:
    return lambda entry, _found, _values: ((id, prev) for id in entry.ids(name))


def _once(_entry: Entry, _found: Found, _values: Values) -> Iterable[Arguments]:
    return ((),)


STEPS: Final = (
    Step(0, b"added", k.Added, _plain_added),
    Step(1, b"added_ids", k.Added, _others_added),
    Step(2, b"added", k.Waiting, _plain_waiting),
    Step(3, b"added_ids", k.Waiting, _others_waiting),
    Step(4, b"added_ids", k.Delayed, _others_delayed),
    Step(5, b"duplicated", k.Duplicated, _duplicated),
    Step(6, b"deduplicated", k.Deduplicated, _deduplicated),
    Step(10, b"progress", k.Progress, _progress),
    Step(11, b"retrying", k.Retrying, _retrying),
    Step(12, b"completed", k.Completed, _completed),
    Step(13, b"failed", k.Failed, _failed),
    Step(20, b"stalled", k.Stalled, _stalled),
    Step(21, b"crashed", k.Failed, _crashed),
    Step(22, b"requeued", k.Waiting, _requeued),
    Step(23, b"promoted", k.Waiting, _ids(b"promoted", "delayed")),
    Step(24, b"delayed", k.Delayed, _put_off),
    Step(30, b"waiting", k.Waiting, _ids(b"waiting", "delayed")),
    Step(31, b"active", k.Active, _ids(b"active")),
    Step(32, b"drained", k.Drained, _once),
    Step(40, b"removed", k.Removed, _removed),
    Step(41, b"paused", k.Paused, _once),
    Step(42, b"resumed", k.Resumed, _once),
    Step(43, b"cleaned", k.Cleaned, _cleaned),
    Step(44, b"custom", k.Custom, _custom),
)
# More than any field can have events.
PLACE: Final = 1_000_000


def decode_entry(
    entry: Entry, queue: str, wanted: frozenset[type[k.Event]], found: Found, values: Values
) -> list[k.Event]:
    """Make the events of these kinds, in order. An event's id is the same whatever kinds were asked for."""
    events: list[k.Event] = []
    for place, name, kind, read in STEPS:
        if kind not in wanted or name not in entry.fields:
            continue
        make = cast("Callable[..., k.Event]", kind)
        for n, arguments in enumerate(read(entry, found, values), place * PLACE):
            if arguments is not None:
                events.append(make(*arguments, id=f"{entry.id}:{n}", queue=queue, at=entry.at))
    return events
