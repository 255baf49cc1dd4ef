"""The judge over a recorder's notes: what was lost, what came from nowhere, what ran again without a reason."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from tests.faults.recorder import Note

NOTICED_LATE = 5.0  # s; a worker that is cut off learns that it has lost its lease after another has its jobs
STARTED_LATE = 1.0  # s; what was claimed before the server fell may start after it, and its claim be lost
EVERYBODY = -1  # the process id of a disturbance that concerns all of them: the server's


@dataclass(slots=True)
class Verdict:
    """Figures, and the first offenders of each kind. `is_clean` is what most tests ask for."""

    tried: int = 0
    acknowledged: int = 0
    done: int = 0
    starts: int = 0
    repeats: int = 0  # starts of a job beyond its first one
    disturbances: int = 0
    lost: list[int] = field(default_factory=list[int])
    phantoms: list[int] = field(default_factory=list[int])
    doubled: list[int] = field(default_factory=list[int])  # stored under two ids
    unexplained: list[Note] = field(default_factory=list[Note])
    errors: list[str] = field(default_factory=list[str])

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.phantoms or self.doubled or self.unexplained)

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} acknowledged, {self.done} done, {len(self.lost)} lost {self.lost[:5]}, "
            f"{len(self.phantoms)} phantoms {self.phantoms[:5]}, {len(self.doubled)} doubled "
            f"{self.doubled[:5]}, {self.repeats} repeats, {len(self.unexplained)} of them unexplained "
            f"{self.unexplained[:3]}, {len(self.errors)} errors {self.errors[:3]}"
        )


@dataclass(slots=True)
class _Start:
    at: float
    pid: int
    id: str


class _Books:
    """What is gathered in one pass."""

    def __init__(self) -> None:
        self.tried: set[int] = set()
        self.acknowledged: set[int] = set()
        self.done: set[int] = set()
        self.first: dict[int, _Start] = {}
        self.others: defaultdict[int, list[_Start]] = defaultdict(list)
        self.disturbed: defaultdict[int, list[float]] = defaultdict(list)
        self.ids: dict[int, str] = {}
        self.doubled: set[int] = set()
        self.errors: list[str] = []

    def enter(self, note: Note) -> None:
        match note.kind:
            case "tried":
                self.tried.update(range(note.key, note.key + int(note.id)))
            case "all acknowledged":
                self.acknowledged.update(range(note.key, note.key + int(note.id)))
            case "acknowledged":
                self.acknowledged.add(note.key)
                self._name(note)
            case "started":
                self._name(note)
                self._start(note)
            case "done":
                self.done.add(note.key)
            case "disturbed":
                self.disturbed[note.key].append(note.at)
            case "error":
                self.errors.append(note.id)
            case _:
                pass

    def _name(self, note: Note) -> None:
        if self.ids.setdefault(note.key, note.id) != note.id:
            self.doubled.add(note.key)

    def _start(self, note: Note) -> None:
        start = _Start(note.at, note.pid, note.id)
        if note.key in self.first:
            self.others[note.key].append(start)
        else:
            self.first[note.key] = start

    def unexplained(self) -> list[Note]:
        """A repeat needs a disturbance of the process that had the job before, while it had it."""
        for times in self.disturbed.values():
            times.sort()
        found: list[Note] = []
        for key, others in self.others.items():
            runs = sorted([self.first[key], *others], key=lambda run: run.at)
            found += [
                Note("started", again.at, again.pid, key, again.id)
                for before, again in pairwise(runs)
                if not self._explains(before, again)
            ]
        return found

    def _explains(self, before: _Start, again: _Start) -> bool:
        for pid, late in ((before.pid, 0.0), (EVERYBODY, STARTED_LATE)):
            times = self.disturbed.get(pid, [])
            at = bisect_left(times, before.at - late)
            if at < len(times) and times[at] <= again.at + NOTICED_LATE:
                return True
        return False


def check(notes: Iterable[Note], *, excused: Iterable[int] = ()) -> Verdict:
    """Judge a finished run: everything that was acknowledged had its time to be done, but what is excused."""
    books = _Books()
    for note in notes:
        books.enter(note)
    repeats = sum(map(len, books.others.values()))
    return Verdict(
        tried=len(books.tried),
        acknowledged=len(books.acknowledged),
        done=len(books.done),
        starts=len(books.first) + repeats,
        repeats=repeats,
        disturbances=sum(map(len, books.disturbed.values())),
        lost=sorted(books.acknowledged - books.done - set(excused)),
        phantoms=sorted(books.done - books.tried),
        doubled=sorted(books.doubled),
        unexplained=books.unexplained(),
        errors=books.errors,
    )
