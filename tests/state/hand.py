"""A worker by hand: what it knows of the jobs it claimed, and how it spells their outcomes."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import msgpack

from tests.state.driver import Session
from tests.state.pieces import Attempts, Outcome

MAX_ATTEMPTS = 3
ENDS = ("complete", "fail", "retry", "retry later", "hold")


def packed_outcome(failed: bool, made: int, started: int, value: int) -> bytes:
    """An outcome as docs/protocol.md has it; none is like another."""
    head = struct.pack(
        ">BBBQBQBIBIBQ", 0x97 + 2 * failed, failed, 0xCF, 1, 0xCF, 2, 0xCE, made, 0xCE, started, 0xCF, 7
    )
    return head + (
        b"".join(map(msgpack.packb, (str(value), "Error", ""))) if failed else msgpack.packb(value)
    )


@dataclass
class Claimed:
    """A job as a worker knows it: what came with the claim, and what it has reported since."""

    id: str
    large: bool
    attempts: Attempts | None = None
    plan: bytes | None = None
    suspect: bool = False
    confirmed: bool = False

    @property
    def element(self) -> str:
        special = self.attempts is not None or self.plan is not None or self.large
        return ("\1" if special else "") + self.id


@dataclass
class Hand:
    """A worker."""

    number: str
    session: Session
    known: dict[str, Claimed] = field(default_factory=dict)
    told: int = 0

    def learn(self, ids: list[str], records: list[bytes], extras: list[Any]) -> None:
        """Take up what a claim has brought."""
        for id, record in zip(ids, records, strict=True):
            self.known[id] = Claimed(id, len(record) > 4000)
        for at, attempts, plan, suspect in zip(
            extras[::4], extras[1::4], extras[2::4], extras[3::4], strict=True
        ):
            job = self.known[ids[at]]
            job.attempts = Attempts.parse(attempts) if attempts else None
            job.plan, job.suspect = plan or None, suspect == b"1"

    def outcome(self, id: str, action: str, keep: int, age: int) -> tuple[str, bytes] | Outcome:
        """Spell what becomes of a job; a pair is a plain completion."""
        job = self.known.get(id) or Claimed(id, False)
        if job.suspect and not job.confirmed and action in ENDS:
            action = "start"
        attempts = job.attempts or Attempts()
        self.told += 1
        if action in ("retry", "retry later") and attempts.made + 1 >= MAX_ATTEMPTS:
            action = "fail"
        failed = action in ("fail", "expire", "retry", "retry later")
        text = packed_outcome(failed, attempts.made + failed, attempts.made + attempts.lost + 1, self.told)
        if action == "complete":
            if job.attempts is None and job.plan is None:
                return id, text
            return Outcome("c", id, text, keep, age)
        if action == "complete with options":
            return Outcome("c", id, text, keep, age)
        if action in ("fail", "expire"):
            return Outcome("f" if action == "fail" else "e", id, text, keep, age)
        if action in ("retry", "retry later"):
            made = f"{attempts.made + 1} {attempts.lost} 0 0"
            return Outcome("r", id, made, 3_600_000 if action == "retry later" else 0, text)
        if action == "hold" and not job.suspect:
            return Outcome("m", id, job.element, 3_600_000)
        if action in ("later", "soon", "at once", "hold"):
            wait = {"later": 3_600_000, "soon": 1, "at once": 0, "hold": 3_600_000}[action]
            return Outcome("l", id, f"{attempts.made} {attempts.lost} {attempts.crashes} 0", wait)
        if action == "release":
            element = ("\2" if attempts.crashes else "\1") + id if job.suspect else job.element
            return Outcome("q" if job.suspect else "b", id, element, "")
        if action == "start":
            return self._start(job, attempts)
        if action == "progress":
            return Outcome("p", id, text)
        return Outcome("g", id, text, 2 if self.told % 2 else "")

    def _start(self, job: Claimed, attempts: Attempts) -> Outcome:
        if not job.suspect:  # only suspects report their start: this one tells something else
            return Outcome("p", job.id, b"started")
        job.attempts, job.confirmed = Attempts(attempts.made, attempts.lost, attempts.crashes, 1), True
        return Outcome("s", job.id, str(job.attempts))

    def forget(self, outcome: tuple[str, bytes] | Outcome) -> None:
        """What is settled is no longer known."""
        if not isinstance(outcome, Outcome):
            self.known.pop(outcome[0], None)
        elif outcome.kind not in "spg":
            self.known.pop(outcome.id, None)
