"""The machine: Hypothesis picks calls, a real server and the model do the same, and after each call they must agree.

Here is its other half: whoever manages the queue, what is compared after each call, and how a life ends.
"""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from bullrush.operations import change, manage, notes
from bullrush.operations.control import is_paused, obliterate, set_paused
from bullrush.operations.fsck import fsck
from bullrush.operations.jobs import cancel, get_counts, get_state, list_ids, remove
from bullrush.operations.limits import get_concurrency, set_limit
from bullrush.operations.requests import Operation, script_frame
from tests.state.check import compare, equal
from tests.state.machine import HOUR, LAPSED, Workshop
from tests.state.pieces import ENDED

OWN_PROBLEMS = {"unreadable", "ids"}  # records of the machine are any bytes, and it gives ids by hand
WAITING = ("waiting", "suspect", "prioritized", "delayed")
place = st.integers(0, 8)

# Methods of the machine with their arguments.
ONE = (
    *(("remove",), ("cancel", "why"), ("cancel", "because"), ("promote",), ("retry", True), ("retry", False)),
    *(("change_delay", LAPSED), ("change_delay", HOUR), ("change_delay", 2 * HOUR)),
    *(("change_priority", 0, False), ("change_priority", 0, True)),
    *(("change_priority", 1, False), ("change_priority", 1, True), ("change_priority", 5, False)),
    *(
        ("rewrite", 10),
        ("rewrite", 5000),
        ("report", True),
        ("report", False),
        ("clear_logs", 0),
        ("clear_logs", 1),
    ),
    ("look",),
)
MANY = (
    *(("promote_all", None), ("promote_all", 1), ("promote_all", 2)),
    *(("retry_all", state, limit) for state in ENDED for limit in (None, 1, 2)),
    *(("drain", False), ("drain", True), ("pass_time",), ("pass_time",), ("pass_time",)),
    *(
        ("clean", state, limit)
        for state in ("waiting", "prioritized", "delayed", *ENDED)
        for limit in (None, 1, 2)
    ),
    *(("free_key", "x"), ("free_key", "y"), ("free_key", "z"), ("obliterate", True), ("obliterate", False)),
)
LIMITS = (
    *(("pause", False), ("pause", False), ("pause", True)),
    *(("limit_concurrency", None), ("limit_concurrency", None), ("limit_concurrency", None)),
    *(("limit_concurrency", 0), ("limit_concurrency", 1), ("limit_concurrency", 2)),
    *(("hold", True), ("hold", True), ("hold", False)),
)


class QueueMachine(Workshop):
    """One queue: producers, workers, and whoever manages it."""

    def _run(self, operation: Operation[Any], expected: object, what: str) -> None:
        equal(self.driver.operate(operation), expected, what)

    # What may be picked. Few rules, so that much of a life is work.

    @rule(call=st.sampled_from(ONE), at=place)
    def manage_one(self, call: tuple[Any, ...], at: int) -> None:
        name, *arguments = call
        getattr(self, name)(at, *arguments)

    @rule(call=st.sampled_from(MANY))
    def manage_all(self, call: tuple[Any, ...]) -> None:
        name, *arguments = call
        getattr(self, name)(*arguments)

    @rule(call=st.sampled_from(LIMITS))
    def limit(self, call: tuple[Any, ...]) -> None:
        name, *arguments = call
        getattr(self, name)(*arguments)

    # The queue as a whole.

    def pause(self, paused: bool) -> None:
        self._run(set_paused(self.driver.keys, paused), self.model.pause(paused), "paused")

    def pass_time(self) -> None:
        self.driver.pass_time(HOUR)
        self.model.pass_time(HOUR)

    def obliterate(self, force: bool) -> None:
        answer = self.model.obliterate(force)
        self._run(obliterate(self.driver.keys, force), answer, "obliterate")
        if answer == "ok":
            equal(self.driver.names(), set(), "keys that an obliterate leaves")
            self.driver.last, self.driver.events_end, self.entry = None, "-", 0
            self._reopen("")

    # Single jobs.

    def _any_id(self, at: int, *states: str) -> str:
        """A job in one of these states if there is one, else any; sometimes none."""
        ids = [job.id for job in self.model.having(*states)] or list(self.model.jobs)
        ids.sort(key=lambda id: (len(id), id))
        return ids[at % len(ids)] if ids and at < 8 else f"none{at}"

    def remove(self, at: int) -> None:
        id = self._any_id(at)
        self._run(remove(self.driver.keys, id), self.model.remove(id), f"removal of {id}")

    def cancel(self, at: int, reason: str) -> None:
        id = self._any_id(at)
        self._run(cancel(self.driver.keys, id, reason), self.model.cancel(id, reason), f"cancel of {id}")

    def promote(self, at: int) -> None:
        id = self._any_id(at, "delayed")
        expected = self.model.state_of(id) if not self.model.promote_one(id) else None
        self._run(change.promote(self.driver.keys, id), expected, f"promotion of {id}")

    def change_delay(self, at: int, due: int) -> None:
        id = self._any_id(at, "delayed")
        due = due if due == LAPSED else self.driver.now() + due
        expected = self.model.state_of(id) if not self.model.change_due(id, due) else None
        self._run(change.change_delay(self.driver.keys, id, "t", due), expected, f"delay of {id}")

    def change_priority(self, at: int, priority: int, lifo: bool) -> None:
        id = self._any_id(at)
        operation = change.change_priority(self.driver.keys, id, priority, lifo)
        self._run(operation, self.model.change_priority(id, priority, lifo), f"priority of {id}")

    def retry(self, at: int, reset: bool) -> None:
        id = self._any_id(at, *ENDED)
        operation = change.retry(self.driver.keys, id, reset)
        self._run(operation, self.model.retry(id, reset, self.driver.now()), f"retry of {id}")

    def rewrite(self, at: int, size: int) -> None:
        id, record = self._any_id(at), b"rewritten%d" % next(self.numbers) + b"." * size
        reply = self.driver.numbered(
            self.driver.producer, script_frame("rewrite", self.driver.keys), id, record
        )
        equal(reply == b"1", self.model.rewrite(id, record), f"rewriting of {id}")

    def report(self, at: int, line: bool) -> None:
        """Progress or a log line that is told from outside."""
        id, keys = self._any_id(at), self.driver.keys
        job, text = self.model.jobs.get(id), b"\xcd%02d" % (next(self.numbers) % 100)
        if not line:
            if job is not None:
                job.progress = text
            self._run(notes.report_progress(keys, id, text), job is not None, f"progress of {id}")
            return
        if job is not None:
            job.written += 1
            job.lines = [*job.lines, (job.written, text)][-3:]
        self._run(
            notes.add_log(keys, id, text, 3), -1 if job is None else len(job.lines), f"log lines of {id}"
        )

    def clear_logs(self, at: int, keep: int) -> None:
        id = self._any_id(at)
        self._run(notes.clear_logs(self.driver.keys, id, keep), None, f"clearing of {id}")
        if id in self.model.jobs:
            job = self.model.jobs[id]
            job.lines, job.written = job.lines[-1:] if keep else [], job.written if keep else 0

    # Many jobs.

    def promote_all(self, limit: int | None) -> None:
        self._run(manage.promote_jobs(self.driver.keys, limit), self.model.promote_all(limit), "promoted")

    def retry_all(self, state: Any, limit: int | None) -> None:
        operation = manage.retry_jobs(self.driver.keys, state, None, limit)
        self.driver.await_millisecond()
        self._run(operation, self.model.retry_all(state, limit, self.driver.now()), f"retried of the {state}")

    def drain(self, delayed: bool) -> None:
        self._run(manage.drain(self.driver.keys, delayed), self.model.drain(delayed), "drained")

    def clean(self, state: Any, limit: int | None) -> None:
        operation = manage.clean(self.driver.keys, state, 0, limit or 0)
        self._run(operation, self.model.clean(state, limit or 0), f"cleaned of the {state}")

    # Limits and keys.

    def limit_concurrency(self, limit: int | None) -> None:
        self.model.concurrency = limit
        self._run(set_limit(self.driver.keys, "concurrency", limit), None, "limit")
        self._run(get_concurrency(self.driver.keys), limit, "concurrency")

    def hold(self, lifted: bool) -> None:
        keys = self.driver.keys
        self._run(set_limit(keys, "limited", None if lifted else HOUR), None, "hold")
        self.model.limited = int(self.wire.command("HGET", keys["meta"], "limited") or 0)  # type: ignore[call-overload]
        equal(self.model.limited == 0, lifted, "lifted")

    def free_key(self, name: str) -> None:
        now = self.driver.now()
        key = self.model.keys.get(name)
        holder = key.holder.id if key and not 0 < key.until <= now else None
        self._run(notes.get_key_holder(self.driver.keys, name), holder, f"holder of {name}")
        self._run(notes.free_key(self.driver.keys, name), self.model.free(name, now), f"freed {name}")

    # After each call.

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "driver"):
            return
        stored = self.driver.read(list(self.model.workers))
        compare(stored, self.model)
        for _, fields in stored.events:
            self.entry += 1
            equal(int(fields["n"]), self.entry, "number of an event entry")

    def look(self, at: int) -> None:
        """What the library tells of the queue."""
        keys, model, run = self.driver.keys, self.model, self.driver.operate
        id = self._any_id(at)
        equal(run(get_state(keys, id)), model.state_of(id), f"state of {id}")
        equal(run(is_paused(keys)), model.paused, "is_paused")
        states = [model.state_of(id) for id in model.jobs]
        counts = {state: count for state, count in run(get_counts(keys, ())).items() if count}
        equal(counts, {state: states.count(state) for state in set(states)}, "counts")
        for state in ENDED:
            finished = [job.id for job in model.finished(state)]
            equal(run(list_ids(keys, state, 0, -1, True)), finished, f"list of the {state}")

    @rule(page=st.sampled_from([1, 3, 500]))
    def examine(self, page: int) -> None:
        """What scripts did is sound, whatever it was, and an examination changes nothing."""
        before = self.driver.dump()
        report = self.driver.operate(fsck(self.driver.keys, repair=False, page=page))
        found = [problem for problem in report.problems if problem.kind not in OWN_PROBLEMS]
        assert not found, report
        equal(self.driver.dump(), before, "keys after an examination")

    # The end: whatever has happened, one healthy worker brings every job to its end.

    def teardown(self) -> None:
        if not hasattr(self, "driver"):
            return
        try:
            if sys.exc_info()[0] is None:
                self.examine(500)
                self._drain()
        finally:
            leftover = self.driver.names()
            if leftover:
                self.wire.command("UNLINK", *leftover)

    def _drain(self) -> None:
        model = self.model
        self.pause(False)
        self.limit_concurrency(None)
        self.hold(True)
        for number in list(model.workers):
            if model.workers[number] == "alive":
                self.lapse(list(model.workers).index(number))
            while number in model.workers:
                self.reap(list(model.workers).index(number), 2, LAPSED, -1, -1)
        self.hands.clear()
        self.pass_time()
        self.join()
        hand = self.hands[0]
        for _ in range(200):
            if not model.having(*WAITING, "active") and not model.line:
                break
            if model.having("delayed"):
                self.pass_time()
            outcomes = [hand.outcome(id, "complete", 1000, -1) for id in sorted(hand.known)]
            self._exchange(hand, outcomes, want=20, free=20, suspects=2)
            self.agree()
        open_jobs = [job.id for job in model.jobs.values() if job.state not in ENDED]
        assert not open_jobs, f"jobs that do not come to an end: {open_jobs}"
        equal(self.driver.operate(obliterate(self.driver.keys, True)), "ok", "obliterate")
        equal(self.driver.names(), set(), "keys that an obliterate leaves")
