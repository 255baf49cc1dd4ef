"""The rest of the model: what reaping, retiring, removing and the other calls from outside do to a queue."""

from __future__ import annotations

from tests.state.model import Model
from tests.state.pieces import ENDED, Attempts, Job, Key, Place


class QueueModel(Model):
    """One queue, with everything that is not adding or the worker's own call."""

    # Workers that go.

    def reap(
        self, number: str, page: int, max_crashes: int, keep: int, age: int, now: int
    ) -> tuple[int, list[str]]:
        """Take a page of a dead worker's jobs; returns how many are left, and those that went back."""
        self.workers[number] = "condemned"
        held = self.held_by(number)
        back: list[str] = []
        failed = False
        for job in reversed(held[max(0, len(held) - page) :]):
            attempts = job.attempts or Attempts()
            attempts.lost += 1
            attempts.crashes += attempts.suspicion == 1
            job.attempts = attempts
            if attempts.crashes >= max_crashes:
                failed = True
                self._crash(job, now)
            else:
                self._to_suspects(job)
                back.append(job.id)
        if failed:
            self.retain("failed", now, keep, age)
        left = len(self.held_by(number))
        if left == 0:
            del self.workers[number]
        return left, back

    def _crash(self, job: Job, now: int) -> None:
        cancelled = job.cancelled
        self._finish(job, "failed", now, -1, -1, b"")
        job.cancelled = cancelled

    def retire(self, number: str) -> int:
        """A worker leaves in order."""
        held = self.held_by(number)
        for job in reversed(held):
            if job.attempts is not None and job.attempts.suspicion:
                self._to_suspects(job)
            else:
                self._to_head(job)
        self.workers.pop(number, None)
        return len(held)

    # Single jobs.

    def remove(self, id: str) -> str:
        state = self.state_of(id)
        if state in ("unknown", "active"):
            return state
        self._withdraw(self.jobs[id])
        return "removed"

    def cancel(self, id: str, reason: str) -> str:
        state = self.state_of(id)
        if state == "unknown":
            return state
        if state in ENDED:
            return "finished"
        job = self.jobs[id]
        if state == "active":
            job.cancelled, job.planned = reason, True
            return "signalled"
        self._withdraw(job)
        return "removed"

    def _withdraw(self, job: Job) -> None:
        """A job that nobody holds leaves by a call."""
        self.leave(job)
        self._discard(job)

    def leave(self, job: Job) -> None:
        """Take a job out of its state; in a long line its place stays as a ghost."""
        if job.state == "suspect":
            self.suspects.remove(job.id)
        elif job.state == "waiting":
            at = next(i for i, place in enumerate(self.line) if place.id == job.id and not place.ghost)
            if len(self.line) > self.searchable:
                self.line[at] = Place(job.id, ghost=True)
            else:
                del self.line[at]
        job.state = ""

    def promote_one(self, id: str) -> bool:
        job = self.jobs.get(id)
        if job is None or job.state != "delayed":
            return False
        self._to_tail(job)
        return True

    def change_due(self, id: str, due: int) -> bool:
        job = self.jobs.get(id)
        if job is None or job.state != "delayed":
            return False
        self._delay(job, due, self._next_number())
        job.planned = True
        return True

    def change_priority(self, id: str, priority: int, lifo: bool) -> str | None:
        """One in line moves; of others only the plan changes. Returns the state if it forbids that."""
        state = self.state_of(id)
        if state in (*ENDED, "unknown"):
            return state
        job = self.jobs[id]
        if priority:
            band = [one.serial for one in self.prioritized() if one.priority == priority]
            job.serial = max(0, band[0] - 1) if lifo and band else self._next_number()
        job.priority, job.lifo, job.planned = priority, lifo and not priority, True
        if job.state in ("waiting", "prioritized"):
            self.leave(job)
            if not priority:
                self.line = [place for place in self.line if place.id != id]
            self._to_tail(job)
        return None

    def retry(self, id: str, reset: bool, now: int) -> str | None:
        """A finished job runs again. Returns the state of one that has not finished."""
        state = self.state_of(id)
        if state not in ENDED:
            return state
        job = self.jobs[id]
        made, started = job.ran
        job.attempts = None if reset else Attempts(made, started - made)
        job.outcome, job.cancelled, job.planned = None, None, True
        key = self.keys.get(job.spec.key)
        if job.spec.mode in "srk" and job.spec.mode and (key is None or 0 < key.until <= now):
            self.keys[job.spec.key] = Key(job, 0, key.next if key else None)
        self._to_tail(job)
        return None

    def retry_all(self, state: str, limit: int | None, now: int) -> int:
        """The oldest first."""
        ids = [job.id for job in self.finished(state)][:limit]
        for id in ids:
            self.retry(id, False, now)
        return len(ids)

    def rewrite(self, id: str, record: bytes) -> bool:
        if id in self.jobs:
            self.jobs[id].record = record
        return id in self.jobs

    # The queue as a whole.

    def promote_all(self, limit: int | None) -> int:
        due = self.delayed()[:limit]
        for job in due:
            self._to_tail(job)
        return len(due)

    def drain(self, delayed: bool) -> int:
        """All that waits leaves, and ghosts with it."""
        gone = self.having("waiting", "suspect", "prioritized", *(["delayed"] if delayed else []))
        self.line, self.suspects = [], []
        for job in gone:
            self._discard(job)
        return len(gone)

    def clean(self, state: str, limit: int) -> list[str]:
        """All are old enough. The line loses the ghosts that are passed on the way."""
        orders = {"prioritized": self.prioritized, "delayed": self.delayed}
        if state in orders or state in ENDED:
            jobs = orders[state]() if state in orders else self.finished(state)
            ids = [job.id for job in jobs][: limit or None]
        else:
            ids = self.suspects[::-1][: limit or None]
            self.suspects = [id for id in self.suspects if id not in ids]
            while self.line and not (limit and len(ids) == limit):
                place = self.line.pop(0)
                ids += [] if place.ghost else [place.id]
        for id in ids:
            self._discard(self.jobs[id])
        return ids

    def _discard(self, job: Job) -> None:
        self._let_go(job, 0, True)
        self._forget(job)
        self.removed += 1

    def free(self, name: str, now: int) -> bool:
        key = self.keys.pop(name, None)
        return key is not None and (key.until == 0 or key.until > now)

    def pause(self, paused: bool) -> bool:
        changed, self.paused = self.paused != paused, paused
        return changed

    def obliterate(self, force: bool) -> str:
        if not force and not self.paused:
            return "notpaused"
        if not force and self.having("active"):
            return "active"
        self.__init__(self.searchable)  # type: ignore[misc]
        return "ok"

    def pass_time(self, ms: int) -> None:
        """Everything that has a date comes nearer."""
        self.limited -= ms if self.limited else 0
        for job in self.jobs.values():
            job.due -= ms
            job.score -= ms
        for key in self.keys.values():
            key.until -= ms if key.until else 0
