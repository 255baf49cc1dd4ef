"""What a queue is, in plain Python: dicts, lists and ints, made from docs/protocol.md and not from the library's code.

Every method does what one script is to do, and returns what the script is to answer. Times are the server's: a caller passes
the `now` of the real reply, so the model needs no clock. Nothing here knows how anything is stored.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.state.pieces import PENDING, Attempts, Job, Key, Outcome, Place, Spec


class Model:
    """One queue."""

    def __init__(self, searchable: int) -> None:
        self.searchable = searchable
        self.jobs: dict[str, Job] = {}
        self.line: list[Place] = []  # the next one first
        self.suspects: list[str] = []  # the next one first
        self.keys: dict[str, Key] = {}
        self.workers: dict[str, str] = {}  # number -> alive, lapsed, condemned
        self.paused = False
        self.concurrency: int | None = None
        self.limited = 0
        self.sequence = 0  # last number given to a job that is not plain
        self.accepted = self.removed = self.evicted = 0
        self.ended = {"completed": 0, "failed": 0}  # since ever

    # Looking.

    def having(self, *states: str) -> list[Job]:
        return [job for job in self.jobs.values() if job.state in states]

    def held_by(self, number: str) -> list[Job]:
        """The jobs of a worker in the order of their ids."""
        held = [job for job in self.jobs.values() if job.worker == number]
        return sorted(held, key=lambda job: (len(job.id), job.id))

    def prioritized(self) -> list[Job]:
        return sorted(self.having("prioritized"), key=lambda job: (job.priority, job.serial, job.id))

    def delayed(self) -> list[Job]:
        return sorted(self.having("delayed"), key=lambda job: (job.due, job.turn))

    def finished(self, state: str) -> list[Job]:
        return sorted(self.having(state), key=lambda job: (job.score, job.id))

    @property
    def ghosts(self) -> set[str]:
        return {place.id for place in self.line if place.ghost}

    def state_of(self, id: str) -> str:
        state = self.jobs[id].state if id in self.jobs else "unknown"
        return "waiting" if state == "suspect" else state

    # Adding.

    def add(self, specs: Iterable[Spec], now: int) -> str:
        """Add; plain ones come first. Returns the positions of the refused among the others."""
        refused: list[str] = []
        others, before = 0, self.sequence
        specs = list(specs)
        self.sequence += sum(not spec.plain for spec in specs)
        for spec in specs:
            if spec.plain:
                self._store(spec, now, 0)
                continue
            if spec.own and spec.id in self.jobs:
                refused.append(str(others))
            elif spec.mode and (holder := self._meet(spec, now)):
                refused.append(f"{others}:{holder.id}")
            else:
                job = self._store(spec, now, before + others + 1)
                if spec.mode:
                    self.keys[spec.key].holder = job
            others += 1
        return " ".join(refused)

    def _meet(self, spec: Spec, now: int) -> Job | None:
        """Who holds the key of a new job; None: the key is its own now."""
        # One with a job kept behind it goes with its holder.
        over = [name for name, key in self.keys.items() if 0 < key.until <= now and key.next is None]
        for name in over:
            del self.keys[name]
        until = now + spec.ttl if spec.ttl and spec.mode != "k" else 0
        nobody = Job(spec, b"", 0, 0, False)  # `add` puts the stored job into its place
        key = self.keys.get(spec.key)
        if key is None:
            self.keys[spec.key] = Key(nobody, until)
            return None
        replaceable = self.jobs.get(key.holder.id) is key.holder and key.holder.state == "delayed"
        if spec.mode in "dr" and replaceable:
            self._forget(key.holder)
            self.removed += 1
            key.until = until if spec.mode == "d" else key.until
            key.holder = nobody
            return None
        owned = self.jobs.get(key.holder.id) is key.holder and key.holder.spec.mode not in "td"
        if spec.mode == "k" and owned:
            key.next = spec
        return key.holder

    def _next_number(self) -> int:
        self.sequence += 1
        return self.sequence

    def _store(self, spec: Spec, now: int, number: int) -> Job:
        self.accepted += 1
        job = Job(spec, spec.record, number, spec.priority, spec.lifo)
        job.planned = bool(spec.priority or spec.lifo or spec.mode)
        assert spec.id not in self.jobs
        self.line = [place for place in self.line if place.id != spec.id]
        self.jobs[spec.id] = job
        if spec.delay or spec.run_at:
            self._delay(job, spec.run_at or now + spec.delay, number)
        else:
            self._to_tail(job)
        return job

    def _delay(self, job: Job, due: int, number: int) -> None:
        job.state, job.due, job.turn = "delayed", due, number

    def _to_tail(self, job: Job) -> None:
        if job.priority:
            job.state = "prioritized"
        else:
            job.state = "waiting"
            self.line.insert(0 if job.lifo else len(self.line), Place(job.id))

    def _to_head(self, job: Job) -> None:
        job.worker = ""
        if job.priority:
            job.state = "prioritized"
        else:
            job.state = "waiting"
            self.line.insert(0, Place(job.id))

    # Leaving.

    def _forget(self, job: Job) -> None:
        assert self.jobs[job.id] is job
        del self.jobs[job.id]

    def _let_go(self, job: Job, now: int, by_call: bool) -> None:
        """A job leaves: its key is free, or goes to the job kept behind it; throttle and debounce last for their time."""
        key = self.keys.get(job.spec.key)
        if not job.spec.mode or key is None or key.holder is not job:
            return
        follower, key.next = key.next, None
        if follower and not by_call and follower.id not in self.jobs:
            key.holder, key.until = self._store(follower, now, self._next_number()), 0
        elif by_call or job.spec.mode not in "td":
            del self.keys[job.spec.key]

    def _finish(self, job: Job, state: str, now: int, keep: int, age: int, outcome: bytes) -> None:
        before, job.attempts, job.worker = job.attempts or Attempts(), None, ""
        starts = before.made + before.lost
        job.ran = (before.made + (state == "failed" and outcome != b""), starts + (outcome != b""))
        self.ended[state] += 1
        self._let_go(job, now, False)
        if keep == 0:
            self._evict(job)
            return
        job.state, job.score, job.outcome = state, PENDING, outcome
        self.retain(state, now, keep, age)

    def _evict(self, job: Job) -> None:
        self._forget(job)
        self.evicted += 1

    def retain(self, state: str, now: int, keep: int, age: int) -> None:
        """Only finished jobs leave, the oldest first."""
        finished = self.finished(state)
        surplus = len(finished) - keep if keep >= 0 else 0
        for job in finished[: max(0, surplus)]:
            self._evict(job)
        for job in finished[max(0, surplus) :]:
            if age >= 0 and job.score <= now - age:
                self._evict(job)

    # The worker's call.

    def settle(
        self,
        number: str,
        plain: list[tuple[str, bytes]],
        others: list[Outcome],
        keep: int,
        age: int,
        now: int,
    ) -> list[str]:
        """Settle; returns the ids whose outcome is refused."""
        refused = [id for id, _ in plain if not self._is_held(id, number)]
        taken = [(self.jobs[id], outcome) for id, outcome in plain if self._is_held(id, number)]
        self._note(number, [outcome for outcome in others if outcome.kind in "pg"])
        for job, _ in taken:
            job.worker, job.attempts = "", None
            self.ended["completed"] += 1
        dropped = len(taken) - keep if 0 <= keep < len(taken) else 0
        for job, _ in taken[:dropped]:
            self._evict(job)
        for job, outcome in taken[dropped:]:
            job.state, job.score, job.outcome, job.ran = "completed", PENDING, outcome, (0, 1)
        if taken:
            self.retain("completed", now, keep, age)
        for outcome in others:
            if outcome.kind in "pg":
                continue
            if self._is_held(outcome.id, number):
                self._outcome(self.jobs[outcome.id], outcome, now)
            else:
                refused.append(outcome.id)
        return refused

    def _is_held(self, id: str, number: str) -> bool:
        return id in self.jobs and self.jobs[id].worker == number

    def _note(self, number: str, notes: list[Outcome]) -> None:
        for note in notes:
            if not self._is_held(note.id, number):
                continue
            job, text = self.jobs[note.id], bytes(note.a)  # type: ignore[arg-type]
            if note.kind == "p":
                job.progress = text
            else:
                job.written += 1
                job.lines.append((job.written, text))
                job.lines = job.lines[-int(note.b) :] if note.b != "" else job.lines

    def _outcome(self, job: Job, told: Outcome, now: int) -> None:
        kind = told.kind
        if kind in "cfe":
            state = "completed" if kind == "c" else "failed"
            job.planned, job.cancelled = job.planned or job.cancelled is not None, None
            self._finish(job, state, now, int(told.b), int(told.c), bytes(told.a))  # type: ignore[arg-type]
        elif kind in "rl":
            before, job.attempts = job.attempts or Attempts(), Attempts.parse(str(told.a))
            assert job.attempts.made == before.made + (kind == "r"), (
                f"the worker counts wrong: {before}, {told}"
            )
            if kind == "r":
                job.outcome = bytes(told.c)  # type: ignore[arg-type]
            job.worker = ""
            if int(told.b) > 0:
                self._delay(job, now + int(told.b), self._next_number())
            else:
                self._to_tail(job)
        elif kind in "bm":
            self._to_head(job)
            if kind == "m":
                self.limited = now + int(told.b)
        elif kind == "q":
            self._to_suspects(job)
        elif kind == "s":
            job.attempts = Attempts.parse(str(told.a))
        else:
            raise AssertionError(f"no worker sends {told} for a job that has a record")

    def _to_suspects(self, job: Job) -> None:
        assert job.attempts is not None
        job.state, job.worker = "suspect", ""
        job.attempts.suspicion = 2
        self.suspects.insert(0, job.id)

    def promote(self, now: int) -> list[str]:
        """Those whose time has come go to their place."""
        due = [job for job in self.delayed() if job.due <= now]
        for job in due:
            self._to_tail(job)
        return [job.id for job in due]

    def allowance(self, now: int) -> int | None:
        """How many more may start; None = any number."""
        if self.limited > now:
            return 0
        if self.concurrency is None:
            return None
        return max(0, self.concurrency - len(self.having("active")))

    def claim(
        self, number: str, want: int, free: int, suspects: int, alone: bool, now: int
    ) -> list[tuple[str, bool]]:
        """Claim: suspects, then the line, then by priority. Returns ids, and whether each is a suspect."""
        left = self.allowance(now)
        if left is not None:
            want = min(want, free, left)
        claimed = (
            [] if self.paused else [(id, True) for id in self._next_suspects(min(suspects, want), alone)]
        )
        if not self.paused:
            claimed += [(id, False) for id in self._next_in_line(want - len(claimed))]
            if not self.line:
                claimed += [(job.id, False) for job in self.prioritized()[: max(0, want - len(claimed))]]
        for id, _ in claimed:
            job = self.jobs[id]
            assert job.state in ("waiting", "suspect", "prioritized"), (
                f"{id} was claimed while it was {job.state}"
            )
            job.state, job.worker = "active", number
        return claimed

    def _next_suspects(self, most: int, alone: bool) -> list[str]:
        taken: list[str] = []
        while self.suspects and len(taken) < most:
            attempts = self.jobs[self.suspects[0]].attempts
            charged = attempts is not None and attempts.crashes > 0
            if charged and (taken or not alone):
                break
            taken.append(self.suspects.pop(0))
            if charged:
                break
        return taken

    def _next_in_line(self, most: int) -> list[str]:
        """Ghosts that stand among the next ones leave instead of a job."""
        places, self.line = self.line[: max(0, most)], self.line[max(0, most) :]
        return [place.id for place in places if not place.ghost]
