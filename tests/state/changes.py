"""The rest of the model: what reaping, retiring, removing and the other calls from outside do to a queue."""

from __future__ import annotations

from tests.state.model import ENDED, Attempts, Job, Model, Place


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
        self._let_go(job, 0, True)
        self._forget(job)
        self.removed += 1

    def leave(self, job: Job) -> None:
        """Take a job out of its state; in a long line its place stays as a ghost."""
        if job.state == "suspect":
            self.suspects.remove(job.id)
        elif job.state == "waiting":
            at = next(i for i, place in enumerate(self.line) if place.id == job.id)
            if len(self.line) > self.searchable:
                self.line[at] = Place(job.id, ghost=True)
            else:
                del self.line[at]
        job.state = ""

    # The queue as a whole.

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
