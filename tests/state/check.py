"""Compare what is stored with the model, key by key, and prove what must hold whatever the model says."""

from __future__ import annotations

from typing import Any

import msgpack

from tests.state.changes import QueueModel
from tests.state.driver import Stored, place_of
from tests.state.pieces import ENDED, PENDING, Job


def equal(found: object, expected: object, what: str) -> None:
    assert found == expected, f"{what}: stored {found!r}, expected {expected!r}"


def compare(stored: Stored, model: QueueModel) -> None:
    """Every key holds what the model says."""
    _check_places(stored)
    equal(stored.jobs, {job.id: job.record for job in model.jobs.values()}, "records")
    _compare_lines(stored, model)
    _compare_finished(stored, model)
    _compare_details(stored, model)
    _compare_keys(stored, model)
    _compare_counters(stored, model)
    for job in model.jobs.values():
        _check_plan(stored.plans.get(job.id), job)
    _check_tokens(stored, model)


def _check_places(stored: Stored) -> None:
    """An id is in exactly one state, and no reference is without a record, ghosts excepted."""
    ghosts = set(stored.removed)
    waiting: list[str] = []
    for element in reversed(stored.waiting):
        id = element.lstrip("\1")
        if id in ghosts:
            ghosts.discard(id)
        else:
            waiting.append(id)
    assert not ghosts, f"ghosts that stand nowhere: {ghosts}"
    places = {
        "waiting": waiting,
        "suspects": [element.lstrip("\1\2") for element in stored.suspects],
        "prioritized": stored.prioritized,
        "delayed": list(stored.delayed),
        "completed": list(stored.completed),
        "failed": list(stored.failed),
        **{f"held by {number}": sorted(ids) for number, ids in stored.held.items()},
    }
    seen: dict[str, str] = {}
    for state, ids in places.items():
        for id in ids:
            assert id not in seen, f"{id} is in {seen[id]} and in {state}"
            assert id in stored.jobs, f"{id} is in {state} and has no record"
            seen[id] = state
    stray = stored.jobs.keys() - seen.keys()
    assert not stray, f"records that stand nowhere: {stray}"
    for name in ("plans", "attempts", "outcomes", "progress", "logged"):
        stray = getattr(stored, name).keys() - stored.jobs.keys()
        assert not stray, f"{name} of jobs that are not there: {stray}"
    stray = {line.split(b"\0")[0].decode() for line in stored.logs} - stored.jobs.keys()
    assert not stray, f"log lines of jobs that are not there: {stray}"


def _compare_lines(stored: Stored, model: QueueModel) -> None:
    equal([element.lstrip("\1") for element in stored.waiting], [place.id for place in model.line], "line")
    for element in stored.waiting:
        job = model.jobs.get(element.lstrip("\1"))
        marked = element.startswith("\1")
        if element in stored.removed:
            continue
        assert job is None or marked or not job.special, f"{element!r} has a plan or attempts and no mark"
    marks = {id: "\2" if job.attempts and job.attempts.crashes else "\1" for id, job in model.jobs.items()}
    equal(stored.suspects, [marks[id] + id for id in model.suspects], "suspects")
    equal(stored.removed, model.ghosts, "ghosts")
    equal(stored.prioritized, [job.id for job in model.prioritized()], "prioritized")
    due = [(id, int(score // 4096)) for id, score in stored.delayed.items()]
    equal(due, [(job.id, job.due) for job in model.delayed()], "delayed")
    for number in stored.held:
        held = {job.id for job in model.held_by(number)}
        equal(stored.held[number], held, f"held by {number}")


def _compare_finished(stored: Stored, model: QueueModel) -> None:
    """The finished time is learned from the server; what ends later has no earlier one."""
    for state in ENDED:
        scores: dict[str, float] = getattr(stored, state)
        before = [job.score for job in model.having(state) if job.score != PENDING]
        for job in model.having(state):
            if job.score == PENDING and job.id in scores:
                job.score = scores[job.id]
                assert job.score > max(before, default=0) - 1, (
                    f"{job.id} ended before one that had ended earlier"
                )
        equal(
            {id: round(score) for id, score in scores.items()},
            {j.id: round(j.score) for j in model.having(state)},
            state,
        )


def _compare_details(stored: Stored, model: QueueModel) -> None:
    jobs = model.jobs.values()
    equal(stored.attempts, {job.id: str(job.attempts) for job in jobs if job.attempts}, "attempts")
    equal(stored.progress, {job.id: job.progress for job in jobs if job.progress is not None}, "progress")
    equal(stored.logged, {job.id: str(job.written) for job in jobs if job.written}, "logged")
    lines = [b"%s\0%016d:%s" % (job.id.encode(), n, line) for job in jobs for n, line in job.lines]
    equal(stored.logs, sorted(lines), "log lines")
    outcomes = {job.id: job.outcome for job in jobs if job.outcome is not None}
    equal(stored.outcomes.keys(), outcomes.keys(), "jobs with an outcome")
    for id, outcome in outcomes.items():
        if outcome:
            equal(stored.outcomes[id], outcome, f"outcome of {id}")
        else:
            equal(msgpack.unpackb(stored.outcomes[id])[7], "JobCrashed", f"error of {id}")


def _check_plan(plan: bytes | None, job: Job) -> None:
    if plan is None:
        assert not job.planned, f"{job.id} has lost its plan"
        return
    base, *parts = plan.decode().split("\0")
    letter = "p" if job.priority else "h" if job.lifo else "w"
    equal(base[0], letter, f"place in the plan of {job.id}")
    if job.priority:
        equal(base, f"p{(job.priority << 32) + job.serial}", f"place in the plan of {job.id}")
    expected = [f"d{job.spec.mode}{job.spec.key}"] if job.spec.mode else []
    if job.cancelled is not None:
        expected.append(f"c{job.cancelled}")
    equal(
        sorted(part for part in parts if part[0] != "t"), sorted(expected), f"parts of the plan of {job.id}"
    )


def _compare_keys(stored: Stored, model: QueueModel) -> None:
    holders: dict[str, str] = {}
    followers: dict[str, Any] = {}
    for name, value in stored.dedup.items():
        if name[0] == "k":
            holders[name[1:]] = value.decode()
        else:
            unpacker = msgpack.Unpacker()
            unpacker.feed(value)
            followers[name[1:]] = list(unpacker)
    equal(
        holders,
        {name: f"{key.holder.id} {key.until}" for name, key in model.keys.items()},
        "deduplication keys",
    )
    expected = {
        name: [key.next.id, key.next.record.decode(), place_of(key.next).removeprefix("?")]
        for name, key in model.keys.items()
        if key.next
    }
    equal(followers, expected, "kept jobs")
    for name, key in model.keys.items():
        # One that is over and has a job kept behind it was swept, and leaves with its holder.
        if key.until > 0 and not key.next:
            equal(stored.expiries.get(name), key.until, f"expiry of {name}")
        if not key.until:
            assert model.jobs.get(key.holder.id) is key.holder, f"{name} is held by a job that is gone"
            assert key.holder.state not in ENDED, f"{name} is held by a job that has ended"


def _compare_counters(stored: Stored, model: QueueModel) -> None:
    meta = stored.meta
    equal(int(meta.get("held", 0)), len(model.having("active")), "counter of held jobs")
    equal(meta.get("paused", "0") == "1", model.paused, "paused")
    equal(
        meta.get("concurrency"), None if model.concurrency is None else str(model.concurrency), "concurrency"
    )
    if model.ghosts or model.concurrency is not None:
        equal(meta.get("special"), "1", "special")
    total = len(model.jobs) + model.removed + model.evicted
    equal(model.accepted, total, "accepted jobs, against those there, removed and evicted")
    equal(set(stored.workers), set(model.workers), "workers")
    equal(stored.hosts, set(model.workers), "hosts")
    for number, state in model.workers.items():
        equal(stored.workers[number] == 0, state == "condemned", f"condemned {number}")
    equal(int(meta.get("sequence", 0)), model.sequence, "sequence")
    ended = {state: int(meta.get(state, 0)) % 2**26 for state in ENDED}
    for text in meta.get("past", "").split():
        ended["completed" if text[0] == "c" else "failed"] += int(text.partition(":")[2])
    equal(ended, model.ended, "jobs that ended, by the tally")


def _check_tokens(stored: Stored, model: QueueModel) -> None:
    """Whoever waits is told: a token is there while something can be claimed."""
    assert stored.tokens <= 2, f"{stored.tokens} tokens"
    full = model.concurrency is not None and len(model.having("active")) >= model.concurrency
    something = bool(model.having("waiting", "prioritized"))
    if something and not model.paused and not full and not model.limited:
        assert stored.tokens, "jobs can be claimed, and nobody is woken"
