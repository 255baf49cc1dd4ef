"""Examine the data of a queue while it works, page by page, and repair what is wrong.

Each page is looked at by a read-only script, at one moment; what a page cannot know, since jobs move between
two of them, is asked again for the jobs in question before it counts as wrong. So a queue under load gives no
false alarm, and no call stops the server.

The order of steps matters: records are read before the lines. A job that stood in line when its record was
read is still there when the line is read, or has moved, which its other places tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from bullrush._core.codec import decode_record
from bullrush.errors import CodecError
from bullrush.operations.fsck_balance import check_balance, look_at_keys
from bullrush.operations.fsck_mend import mend
from bullrush.operations.fsck_report import FsckReport
from bullrush.operations.fsck_requests import Examined, Page, inspect, parts, scan, survey
from bullrush.operations.jobs import worker_numbers
from bullrush.operations.requests import Argument, Operation, read

if TYPE_CHECKING:
    from bullrush.keys import Keys

ROUNDS = 3
WHOLE = 100_000  # elements of a list that are searched to the end, as in whereabouts.lua
SORTED = ("completed", "failed", "delayed", "prioritized")
SIDES = ("plans", "attempts", "outcomes", "progress", "logged", "logs", "dedup", "sessions")


def fsck(keys: Keys, *, repair: bool, page: int) -> Operation[FsckReport]:
    """Examine a queue; with `repair` put right what can be."""
    found = yield from _examine(keys, page)
    report = FsckReport(keys.queue, tuple(found.problems.values()), found.checked)
    if not repair:
        return report
    # What was behind something else that was wrong shows once that is repaired.
    for _ in range(ROUNDS):
        if not found.problems or not (yield from mend(found)):
            break
        found = yield from _examine(keys, page)
    return report.after(found.problems)


def _examine(keys: Keys, page: int) -> Operation[Examined]:
    found = Examined(keys, page)
    if not (yield from look_at_keys(found)):
        return found
    yield from _survey_held(found)
    yield from scan(found, "jobs", lambda page: _see_jobs(found, page))
    removed: set[bytes] = set()
    yield from scan(found, "removed", lambda page: removed.update(page.members))
    found.count("removed", len(removed))
    for name in ("suspects", "waiting"):
        yield from _survey_line(found, name)
    yield from _judge_lost(found)
    yield from _judge_twice(found)
    yield from _judge_ghosts(found, removed)
    for name in (*SORTED, *SIDES):
        yield from scan(found, name, lambda page: _note_findings(found, page))
    yield from check_balance(found)
    return found


def _note_findings(found: Examined, page: Page) -> None:
    for kind, id, detail in page.findings:
        if kind == "ghost":
            found.ghosts[id] = found.ghosts.get(id, 0) + 1
        elif kind == "twice":
            found.seen_twice.add(id)
            found.tell(kind, id)
        else:
            found.tell(kind, id, detail)


# Pages.


def _survey_held(found: Examined) -> Operation[None]:
    numbers = {number.decode() for number in (yield from worker_numbers(found.keys))} | found.orphaned

    def see(number: str, page: Page) -> None:
        for id in page.members:
            if found.held.setdefault(id, number) != number:
                found.seen_twice.add(id)
        _note_findings(found, page)

    for number in sorted(numbers):
        held = (found.keys.held(number),)
        yield from scan(found, "held", lambda page, number=number: see(number, page), held)  # type: ignore[misc]
    found.count("held", len(found.held))


def _see_jobs(found: Examined, page: Page) -> None:
    for id, record, places in zip(page.members[::2], page.members[1::2], page.places, strict=True):
        if not places:
            found.line[id] = 0
        elif b" " in places:
            found.seen_twice.add(id)
            found.tell("twice", id, places)
        if id.isdigit():
            found.highest = max(found.highest, int(id))
        try:
            decode_record(record)
        except CodecError as error:
            found.tell("unreadable", id, str(error))
    found.count("jobs", len(page.places))


def _survey_line(found: Examined, name: str) -> Operation[None]:
    """Read a list from its left end, where jobs come; what they push aside is not read again."""
    ghosts = found.ghosts

    def see(elements: list[bytes]) -> None:
        for element in elements:
            id = element.lstrip(b"\1\2")
            found.line[id] = found.line.get(id, 0) + 1
            if found.line[id] > (2 if id in ghosts else 1):
                found.seen_twice.add(id)

    yield from _read_line(found, name, see)


def _read_line(found: Examined, name: str, use: Callable[[list[bytes]], object]) -> Operation[None]:
    """Hand over the elements of a list, each once: a page begins behind the last element of that before."""
    cursor, last = "0", None
    while True:
        cursor, page, _ = yield from survey(found, name, cursor, found.page)
        _note_findings(found, page)
        if not page.members:
            return
        fresh = page.members
        if last is not None and last in fresh:
            at = len(fresh) - 1 - fresh[::-1].index(last)
            fresh = fresh[at + 1 :]
        use(fresh)
        found.count(name, len(fresh))
        last = page.members[-1]
        if len(page.members) < found.page:
            return


# Judgements: what no page can know.


def _judge_lost(found: Examined) -> Operation[None]:
    """Jobs that were in no sorted set and were not seen in line: held, moved since, or lost."""
    pending = [id for id, seen in found.line.items() if not seen and id not in found.held]
    pending = yield from _unplaced(found, pending)
    if not pending:
        return
    replies = cast("list[int]", (yield read(("LLEN", found.keys["waiting"]))))
    if replies[0] > WHOLE:
        # To be taken for lost it has to evade several readings; what comes back stands at an end, which is
        # searched.
        for _ in range(ROUNDS):
            pending = yield from _unseen(found, pending)
            pending = yield from _unplaced(found, pending)
    for id, verdict in (yield from inspect(found, pending)).items():
        if verdict.record and not verdict.places:
            found.tell("lost", id)


def _unplaced(found: Examined, ids: list[bytes]) -> Operation[list[bytes]]:
    """Those that have a record and are in no place that can be looked up."""
    rest: list[bytes] = []
    numbers = yield from worker_numbers(found.keys)
    held = [found.keys.held(number.decode()) for number in numbers]
    for some in parts(ids, 200):
        commands: list[tuple[Argument, ...]] = [("ZMSCORE", found.keys[name], *some) for name in SORTED]
        commands += [("SMISMEMBER", key, *some) for key in held]
        commands += [("HEXISTS", found.keys["jobs"], id) for id in some]
        replies = cast("list[list[bytes | int | None]]", (yield read(*commands)))
        lookups = replies[: len(SORTED) + len(held)]
        exists = cast("list[int]", replies[len(lookups) :])
        rest += [id for i, id in enumerate(some) if exists[i] and not any(found[i] for found in lookups)]
    return rest


def _unseen(found: Examined, ids: list[bytes]) -> Operation[list[bytes]]:
    """Those that another reading of the lines doesn't see."""
    left = set(ids)
    for name in ("suspects", "waiting"):
        if left:
            yield from _read_line(
                found, name, lambda elements: left.difference_update(e.lstrip(b"\1\2") for e in elements)
            )
    return list(left)


def _judge_twice(found: Examined) -> Operation[None]:
    in_line = (id for id in found.held if found.line.get(id) and id not in found.ghosts)
    suspected = found.seen_twice.union(in_line)
    verdicts = yield from inspect(found, list(suspected))
    again = [id for id, verdict in verdicts.items() if not verdict.whole and len(verdict.places) < 2]
    counted = dict.fromkeys(again, 0)

    def count(elements: list[bytes]) -> None:
        for element in elements:
            id = element.lstrip(b"\1\2")
            if id in counted:
                counted[id] += 1

    if again:
        yield from _read_line(found, "waiting", count)
    for id, verdict in verdicts.items():
        places = [*verdict.places, *["waiting"] * (counted.get(id, 0) - verdict.ghost - len(verdict.places))]
        known = found.problems.pop(("twice", id.decode("utf-8", "backslashreplace")), None)
        if verdict.record and (known is not None or len(places) > 1):
            found.tell("twice", id, " ".join(places) or "moved since")


def _judge_ghosts(found: Examined, removed: set[bytes]) -> Operation[None]:
    """Ids to be skipped, which no reading of the line has met."""
    for id, verdict in (yield from inspect(found, list(removed - found.ghosts.keys()))).items():
        if verdict.ghost and not verdict.elements:
            found.tell("ghost", id)
