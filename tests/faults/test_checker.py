"""The judge finds what it is there to find: each kind of fault in notes that have it, and none in those that do not."""

from __future__ import annotations

import pytest

from tests.faults.checker import EVERYBODY, Verdict, check
from tests.faults.recorder import Note

GOOD = [
    Note("tried", 1.0, 1, 7, "1"),
    Note("acknowledged", 1.1, 1, 7, "a"),
    Note("started", 1.2, 2, 7, "a", 1),
    Note("done", 1.3, 2, 7, "a", 1),
]
AGAIN = Note("started", 2.0, 3, 7, "a", 2)


def judged(*more: Note) -> Verdict:
    return check([*GOOD, *more])


def test_a_good_run_is_clean() -> None:
    verdict = judged()
    assert verdict.is_clean
    assert (verdict.acknowledged, verdict.done, verdict.starts, verdict.repeats) == (1, 1, 1, 0)


def test_what_was_acknowledged_and_never_done_is_lost() -> None:
    more = (
        Note("tried", 1.0, 1, 8, "1"),
        Note("acknowledged", 1.1, 1, 8, "b"),
        Note("started", 1.2, 2, 8, "b"),
    )
    verdict = judged(*more)
    assert not verdict.is_clean
    assert verdict.lost == [8]
    assert check([*GOOD, *more], excused=[8]).is_clean


def test_what_was_tried_and_not_acknowledged_may_be_done_or_not() -> None:
    assert judged(Note("tried", 1.0, 1, 8, "1")).is_clean
    assert judged(Note("tried", 1.0, 1, 8, "1"), Note("done", 1.4, 2, 8, "b")).is_clean


def test_a_range_stands_for_its_keys() -> None:
    verdict = judged(Note("tried", 1.0, 1, 10, "3"), Note("all acknowledged", 1.1, 1, 10, "3"))
    assert verdict.lost == [10, 11, 12]
    assert verdict.tried == 4


def test_what_was_done_and_never_tried_is_a_phantom() -> None:
    assert judged(Note("done", 1.3, 2, 9, "c")).phantoms == [9]


def test_a_job_under_two_ids_was_stored_twice() -> None:
    assert judged(Note("started", 1.4, 2, 7, "b")).doubled == [7]


def test_a_repeat_needs_a_reason() -> None:
    verdict = judged(AGAIN)
    assert verdict.repeats == 1
    assert [note.key for note in verdict.unexplained] == [7]


@pytest.mark.parametrize(
    ("at", "pid", "explains"),
    [
        (1.5, 2, True),  # the process that had it was killed before it began again
        (1.5, 3, False),  # another one was
        (1.5, EVERYBODY, True),
        (1.0, 2, False),  # before it had the job
        (2.5, 2, True),  # the loss of a lease is noticed late
        (60.0, 2, False),
    ],
)
def test_a_disturbance_explains_repeats_of_its_process_in_its_time(
    at: float, pid: int, explains: bool
) -> None:
    verdict = judged(AGAIN, Note("disturbed", at, 9, pid, "killed"))
    assert (not verdict.unexplained) == explains


def test_errors_are_counted() -> None:
    assert judged(Note("error", 1.0, 2, -1, "LeaseLost: gone")).errors == ["LeaseLost: gone"]


def test_a_job_that_was_claimed_before_the_server_fell_may_start_just_after() -> None:
    """Its claim was lost with the server, so it runs again."""
    assert judged(Note("disturbed", 0.5, 9, EVERYBODY, "the power was cut"), AGAIN).is_clean
    assert judged(Note("disturbed", 0.1, 9, EVERYBODY, "the power was cut"), AGAIN).unexplained
