"""The script measure, by hand on each kind of server: minutes move once, and the running one stays."""

from __future__ import annotations

import pytest
import redis

from bullrush.operations.metrics import PER_MINUTE
from tests.lua.script_calls import ScriptQueue

DAY, WEEK = 1440, 10080


@pytest.fixture
def opened(queue: ScriptQueue) -> ScriptQueue:
    queue.open()
    return queue


def minute(queue: ScriptQueue) -> int:
    return int(queue.client.time()[0]) // 60


def set_tally(queue: ScriptQueue, past: str = "", **running: tuple[int, int]) -> None:
    """What exchange has left: a minute and a count of each kind, and minutes that are over."""
    for kind, (minute, count) in running.items():
        queue.client.hset(queue.keys["meta"], kind, minute * PER_MINUTE + count)
    if past:
        queue.client.hset(queue.keys["meta"], "past", past)


def tally(queue: ScriptQueue) -> list[bytes | None]:
    return queue.client.hmget(queue.keys["meta"], "completed", "failed", "past")


def metrics(queue: ScriptQueue) -> dict[bytes, bytes]:
    return queue.client.hgetall(queue.keys["metrics"])


def test_minutes_that_are_over_move_once(opened: ScriptQueue) -> None:
    old = minute(opened) - 3
    set_tally(opened, f"c{old + 1}:3 f{old}:7 c{old}:2", completed=(old + 2, 4), failed=(old + 2, 1))
    assert opened.run("measure", "", "") == 5
    assert tally(opened) == [None, None, None]
    assert metrics(opened) == {
        b"c%d" % ((old + 2) % WEEK): b"%d 4 1" % (old + 2),
        b"c%d" % ((old + 1) % WEEK): b"%d 3 0" % (old + 1),
        b"c%d" % (old % WEEK): b"%d 2 7" % old,
        b"completed": b"9",
        b"failed": b"8",
    }
    assert opened.run("measure", "", "") == 0


@pytest.mark.parametrize("ahead", [1, 2**24], ids=["running", "after the clock went back"])
def test_the_running_minute_is_not_touched(opened: ScriptQueue, ahead: int) -> None:
    now = minute(opened) + ahead
    set_tally(opened, f"c{now - 2}:3", completed=(now, 4), failed=(now, 1))
    assert opened.run("measure", "", "") == 1
    assert tally(opened) == [b"%d" % (now * PER_MINUTE + 4), b"%d" % (now * PER_MINUTE + 1), None]
    assert metrics(opened) == {b"c%d" % ((now - 2) % WEEK): b"%d 3 0" % (now - 2), b"completed": b"3"}


def test_a_minute_that_comes_twice_is_added_and_an_old_one_gives_way(opened: ScriptQueue) -> None:
    old = minute(opened) - 2
    field = f"c{old % WEEK}"
    opened.client.hset(opened.keys["metrics"], field, f"{old - WEEK} 100 100")
    set_tally(opened, completed=(old, 1), failed=(old, 2))
    opened.run("measure", "", "")
    set_tally(opened, f"c{old}:10 f{old}:20")
    opened.run("measure", "", "")
    assert metrics(opened)[field.encode()] == b"%d 11 22" % old
    assert metrics(opened)[b"failed"] == b"22"


def test_minutes_without_jobs_leave_no_trace(opened: ScriptQueue) -> None:
    set_tally(opened, completed=(minute(opened) - 1, 0))
    assert opened.run("measure", "", "") == 0
    assert metrics(opened) == {}
    assert tally(opened) == [None, None, None]


def test_what_was_measured_is_merged_into_the_running_minute(opened: ScriptQueue) -> None:
    while True:
        now = minute(opened)
        opened.client.hset(opened.keys["metrics"], f"h{now % DAY}", f"{now - DAY}|9:9|9:9")
        opened.run("measure", "5:1 7:2", "")
        opened.run("measure", "7:1 100:3000000000", "40:1")
        if minute(opened) == now:
            break
    assert metrics(opened) == {b"h%d" % (now % DAY): b"%d|5:1 7:3 100:3000000000|40:1" % now}


def test_a_queue_that_is_gone_stays_gone(queue: ScriptQueue) -> None:
    assert queue.run("measure", "5:1", "5:1") == 0
    assert queue.client.keys() == []


@pytest.mark.parametrize(
    "arguments", [("x", ""), ("", "1|2"), ("5:1",), ("5:1 " * 20_000, "")], ids=["x", "bar", "one", "long"]
)
def test_what_is_no_count_is_refused(opened: ScriptQueue, arguments: tuple[str, ...]) -> None:
    set_tally(opened, "c4:1", completed=(5, 1))
    before = opened.snapshot()
    with pytest.raises(redis.ResponseError, match="CALL"):
        opened.run("measure", *arguments)
    assert opened.snapshot() == before


def test_another_layout_is_refused(opened: ScriptQueue) -> None:
    opened.client.hset(opened.keys["meta"], "layout", "2")
    with pytest.raises(redis.ResponseError, match="LAYOUT 2"):
        opened.run("measure", "", "")


def test_an_idle_queue_keeps_the_last_minute_that_counts(queue: ScriptQueue) -> None:
    queue.register()
    old = minute(queue) - 500
    set_tally(queue, completed=(old, 5))
    queue.exchange()
    for later in range(1, 490):
        set_tally(queue, completed=(old + later, 0))
        queue.exchange()
    assert tally(queue)[2] == b"c%d:5 " % old


def test_jobs_are_counted_in_the_minute_they_ended(queue: ScriptQueue) -> None:
    queue.register()
    queue.add([(str(id), b"r") for id in range(1, 6)])
    queue.claim(5)
    old = minute(queue) - 2
    set_tally(queue, completed=(old, 7), failed=(old, 8))
    queue.exchange(completed=[("1", b"o"), ("2", b"o")], others=[("f", "3", b"o", 5, -1)])
    queue.exchange(completed=[("4", b"o")])
    completed, failed, past = tally(queue)
    assert [int(completed or 0) % PER_MINUTE, int(failed or 0) % PER_MINUTE] == [3, 1]
    assert past == b"f%d:8 c%d:7 " % (old, old)
