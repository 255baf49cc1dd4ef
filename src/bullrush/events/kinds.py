"""What can happen in a queue, one frozen class per kind, made for ``match``.

    match event:
        case Completed(job_id, returnvalue): ...
        case Failed(job_id=job_id, failed_reason=reason): ...

Positional patterns take the fields of the class itself; those of every event are given by keyword.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from bullrush.options import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events have: ``id`` to go on from with ``after=``, the queue, and the time in ms.

    ``id`` is that of the stream entry with the place of the event in it, because one entry carries the
    events of a whole batch.
    """

    name: ClassVar[str] = ""

    id: str
    queue: str
    at: int


@dataclass(frozen=True, slots=True)
class Added(Event):
    """A job was stored; ``job_name`` is its name."""

    name: ClassVar[str] = "added"

    job_id: str
    job_name: str


@dataclass(frozen=True, slots=True)
class Waiting(Event):
    """A job can be started now. ``prev`` is the state before, None for a new job."""

    name: ClassVar[str] = "waiting"

    job_id: str
    prev: State | None = None


@dataclass(frozen=True, slots=True)
class Active(Event):
    """A worker took a job."""

    name: ClassVar[str] = "active"

    job_id: str
    prev: State | None = None


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """A handler reported progress; ``data`` is what it gave."""

    name: ClassVar[str] = "progress"

    job_id: str
    data: Any


@dataclass(frozen=True, slots=True)
class Retrying(Event):
    """An attempt failed and another one follows. ``delay`` is the time it is due at, in ms."""

    name: ClassVar[str] = "retrying"

    job_id: str
    failed_reason: str
    error_type: str
    attempts_made: int
    delay: int


@dataclass(frozen=True, slots=True)
class Delayed(Event):
    """A job waits for its time. ``delay`` is the time it is due at, in ms since the epoch, as in BullMQ."""

    name: ClassVar[str] = "delayed"

    job_id: str
    delay: int


@dataclass(frozen=True, slots=True)
class WaitingChildren(Event):
    """A job waits for its children."""

    name: ClassVar[str] = "waiting-children"

    job_id: str


@dataclass(frozen=True, slots=True)
class Completed(Event):
    """A job was completed, ``returnvalue`` is what its handler returned."""

    name: ClassVar[str] = "completed"

    job_id: str
    returnvalue: Any
    prev: State | None = None


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """A job failed for good; an attempt that is followed by another one is Retrying."""

    name: ClassVar[str] = "failed"

    job_id: str
    failed_reason: str
    error_type: str
    attempts_made: int
    prev: State | None = None


@dataclass(frozen=True, slots=True)
class Stalled(Event):
    """The worker of a job is gone; the job goes back to the queue or fails."""

    name: ClassVar[str] = "stalled"

    job_id: str


@dataclass(frozen=True, slots=True)
class Duplicated(Event):
    """A job of an id that is stored already was added; nothing was stored."""

    name: ClassVar[str] = "duplicated"

    job_id: str


@dataclass(frozen=True, slots=True)
class Deduplicated(Event):
    """``deduplicated_job_id`` was refused or replaced, because ``job_id`` holds the deduplication id."""

    name: ClassVar[str] = "deduplicated"

    job_id: str
    deduplication_id: str
    deduplicated_job_id: str


@dataclass(frozen=True, slots=True)
class Removed(Event):
    """A job was removed by a call; what retention removes says nothing."""

    name: ClassVar[str] = "removed"

    job_id: str
    prev: State | None = None


@dataclass(frozen=True, slots=True)
class Cleaned(Event):
    """``clean`` removed ``count`` jobs."""

    name: ClassVar[str] = "cleaned"

    count: int


@dataclass(frozen=True, slots=True)
class Drained(Event):
    """A worker took the last job that could be started."""

    name: ClassVar[str] = "drained"


@dataclass(frozen=True, slots=True)
class Paused(Event):
    """The queue was paused."""

    name: ClassVar[str] = "paused"


@dataclass(frozen=True, slots=True)
class Resumed(Event):
    """The queue was resumed."""

    name: ClassVar[str] = "resumed"


@dataclass(frozen=True, slots=True)
class Custom(Event):
    """What ``publish_event(kind, data)`` sent."""

    name: ClassVar[str] = "custom"

    kind: str
    data: Any


@dataclass(frozen=True, slots=True)
class Gap(Event):
    """``missed`` stream entries were gone before they could be read, None if their number is unknown."""

    name: ClassVar[str] = "gap"

    missed: int | None = None


EVENT_KINDS: Final[dict[str, type[Event]]] = {
    kind.name: kind
    for kind in (
        Added,
        Waiting,
        Active,
        Progress,
        Retrying,
        Delayed,
        WaitingChildren,
        Completed,
        Failed,
        Stalled,
        Duplicated,
        Deduplicated,
        Removed,
        Cleaned,
        Drained,
        Paused,
        Resumed,
        Custom,
        Gap,
    )
}
