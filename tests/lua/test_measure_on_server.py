"""The script measure, by hand on each kind of server: minutes move once, and the running one stays."""

from __future__ import annotations

import pytest
import redis

from tests.lua.script_calls import ScriptQueue

DAY, WEEK = 1440, 10080


@pytest.fixture
def opened(queue: ScriptQueue) -> ScriptQueue:
    queue.open()
    return queue


def minute(queue: ScriptQueue) -> int:
    """The running minute. A test that a minute ends within is run again by its assertion of it."""
    return int(queue.client.time()[0]) // 60


def set_tally(queue: ScriptQueue, text: str) -> None:
    queue.client.hset(queue.keys["meta"], "tally", text)


def tally(queue: ScriptQueue) -> bytes | None:
    return queue.client.hget(queue.keys["meta"], "tally")


def metrics(queue: ScriptQueue) -> dict[bytes, bytes]:
    return queue.client.hgetall(queue.keys["metrics"])


def test_minutes_that_are_over_move_and_the_running_one_stays(opened: ScriptQueue) -> None:
    ahead = 2**31  # a minute that can only be the clock's mistake counts as over, and none is lost
    old = minute(opened) - 3
    set_tally(opened, f"{ahead} 4 1 {old + 1}:3:0 {old}:2:7")
    assert opened.run("measure", "", "") == 3
    assert tally(opened) is None
    assert metrics(opened) == {
        b"c%d" % (ahead % WEEK): b"%d 4 1" % ahead,
        b"c%d" % ((old + 1) % WEEK): b"%d 3 0" % (old + 1),
        b"c%d" % (old % WEEK): b"%d 2 7" % old,
        b"completed": b"9",
        b"failed": b"8",
    }
    assert opened.run("measure", "", "") == 0


def test_the_running_minute_is_not_touched(opened: ScriptQueue) -> None:
    while True:
        now = minute(opened)
        set_tally(opened, f"{now} 4 1 {now - 1}:3:0")
        moved = opened.run("measure", "", "")
        found = tally(opened)
        if minute(opened) == now:
            break
        opened.client.unlink(opened.keys["metrics"])
    assert (moved, found) == (1, b"%d 4 1" % now)
    assert metrics(opened)[b"completed"] == b"3"
    assert b"c%d" % (now % WEEK) not in metrics(opened)


def test_a_minute_that_comes_twice_is_added_and_an_old_one_gives_way(opened: ScriptQueue) -> None:
    old = minute(opened) - 2
    field = f"c{old % WEEK}"
    opened.client.hset(opened.keys["metrics"], field, f"{old - WEEK} 100 100")
    set_tally(opened, f"{old} 1 2")
    opened.run("measure", "", "")
    set_tally(opened, f"{old} 10 20")
    opened.run("measure", "", "")
    assert metrics(opened)[field.encode()] == b"%d 11 22" % old
    assert metrics(opened)[b"failed"] == b"22"


def test_minutes_without_jobs_leave_no_trace(opened: ScriptQueue) -> None:
    set_tally(opened, f"{minute(opened) - 1} 0 0")
    assert opened.run("measure", "", "") == 0
    assert metrics(opened) == {}
    assert tally(opened) is None


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
    set_tally(opened, "5 1 1")
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
    old = minute(queue) - 200
    set_tally(queue, f"{old} 5 0")
    for later in range(1, 190):
        queue.exchange()
        _, _, past = (tally(queue) or b"").partition(b" 0 0")
        set_tally(queue, f"{old + later} 0 0{past.decode()}")
    queue.exchange()
    assert (tally(queue) or b"").endswith(b" 0 0 %d:5:0" % old)
