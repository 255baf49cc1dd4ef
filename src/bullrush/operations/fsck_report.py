"""What an examination of a queue's data found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

# What each kind of problem means; docs/operations.md says what to do.
KINDS = {
    "type": "a key of the queue has another type",
    "unknown": "a key under the queue's name that bullrush does not know",
    "expires": "a key that must not expire has an end",
    "layout": "the data has another layout",
    "meta": "the hash `meta` is missing or has an unreadable field",
    "lost": "a job that stands nowhere: no worker would ever find it",
    "twice": "a job that stands in two places: it would run twice",
    "corrupt": "an id in line whose record is gone",
    "unreadable": "a record that cannot be decoded: the job fails when it is claimed",
    "unmarked": "a job in line without the mark that says that it has options or attempts",
    "suspect": "a suspect whose mark and attempts do not agree",
    "ghost": "an id to be skipped that stands nowhere: the next job of that id would be skipped",
    "orphan": "something kept for a job that is not there",
    "outcome": "a finished job whose outcome is missing or unreadable",
    "plan": "an unreadable plan",
    "attempts": "unreadable attempts",
    "rank": "a prioritized job whose plan names another place",
    "logged": "a count of log lines behind the last line",
    "line": "an unreadable log line",
    "key": "a deduplication key held by a job that is not open",
    "follower": "a job kept behind a deduplication key whose holder is gone",
    "expiry": "a deduplication key without its end",
    "dedup": "an unreadable field of `dedup`",
    "session": "an unreadable session: its client cannot go on",
    "held": "jobs held by a worker that is not registered: nobody would take them over",
    "count": "the counter of held jobs is wrong",
    "worker": "a worker registered in one of `workers` and `hosts` only",
    "deadline": "a lease that ends further ahead than two of the longest leases",
    "lease": "the longest lease is shorter than that of a worker",
    "special": "a limit or a removed id that claims do not look at",
    "events": "the number of events is behind the stream",
    "window": "the starts counted for the rate do not add up",
    "ids": "the counter of ids is behind a stored id: new jobs would overwrite old ones",
}
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: its kind (see KINDS), what it is about, and what was seen."""

    kind: str
    id: str
    detail: str
    repaired: bool = False

    def __str__(self) -> str:
        seen = f" ({self.detail})" if self.detail else ""
        return f"{self.kind} {self.id}: {KINDS[self.kind]}{seen}{', repaired' if self.repaired else ''}"


@dataclass(frozen=True, slots=True)
class FsckReport:
    """What an examination found; `checked` says how much of each key was looked at."""

    queue: str
    problems: tuple[Problem, ...]
    checked: dict[str, int]

    @property
    def repaired(self) -> int:
        """How many problems were repaired."""
        return sum(problem.repaired for problem in self.problems)

    @property
    def ok(self) -> bool:
        """Say whether nothing is wrong, or nothing is any more."""
        return all(problem.repaired for problem in self.problems)

    def after(self, left: Mapping[tuple[str, str], Problem]) -> FsckReport:
        """Return the same after a repair, when these problems were left."""
        known = {(problem.kind, problem.id) for problem in self.problems}
        marked = [replace(p, repaired=(p.kind, p.id) not in left) for p in self.problems]
        marked += [problem for key, problem in left.items() if key not in known]
        return FsckReport(self.queue, tuple(marked), self.checked)

    def __str__(self) -> str:
        looked = ", ".join(f"{count:,} {name}" for name, count in self.checked.items() if count)
        head = f"queue {self.queue!r}: looked at {looked or 'nothing, it is empty'}"
        if not self.problems:
            return f"{head}: nothing is wrong"
        rest = len(self.problems) - SHOWN
        lines = [f"  {problem}" for problem in self.problems[:SHOWN]]
        lines += [f"  and {rest:,} more"] if rest > 0 else []
        repaired = f", {self.repaired:,} repaired" if self.repaired else ""
        return "\n".join([f"{head}: {len(self.problems):,} problems{repaired}", *lines])
