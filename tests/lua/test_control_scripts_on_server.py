"""The scripts of management by hand: ghosts, marks, cursors, and what they make of old and broken data."""

from __future__ import annotations

import msgpack
import pytest
import redis

from bullrush._core.codec import encode_record
from tests.lua.script_calls import ScriptQueue
from tests.waiting import wait_until

T = 1_700_000_000_000
OLD = encode_record("work", T, None, 1)
YOUNG = encode_record("work", 4_000_000_000_000, None, 1)


def outcome(kind: int, made: int, started: int) -> bytes:
    rest: list[object] = [77, None] if kind == 0 else [77, "reason", "Error", "stack"]
    packed = msgpack.packb([kind, T, T + 5, made, started, *rest])
    assert isinstance(packed, bytes)
    return packed


@pytest.fixture
def worker(queue: ScriptQueue) -> ScriptQueue:
    queue.register()
    return queue


def finish(queue: ScriptQueue, id: str, packed: bytes, record: bytes = OLD) -> None:
    queue.add([(id, record)])
    assert queue.claim(1) == [id]
    kind = "c" if packed[1:2] == b"\0" else "f"
    queue.exchange(others=[(kind, id, packed, -1, -1)])


def finish_next(queue: ScriptQueue, packed: bytes) -> None:
    (id,) = queue.claim(1)
    queue.exchange(others=[("f", id, packed, -1, -1)])


def value(queue: ScriptQueue, key: str, id: str) -> bytes | None:
    return queue.client.hget(queue.keys[key], id)


# retry


@pytest.mark.parametrize(
    ("packed", "attempts"),
    [
        (outcome(1, 3, 5), b"3 2 0 0"),
        (outcome(0, 0, 1), b"0 1 0 0"),
        (outcome(1, 2**31, 2**31), b"2147483648 0 0 0"),
        # As the worker packs them, with numbers of fixed width, and with a value that no script can read.
        (b"\x97\x00" + 2 * (b"\xcf" + bytes(8)) + b"\xce\0\0\0\1\xce\0\0\0\2\xcf" + bytes(8) + b"\xc7\x01\x05x", b"1 1 0 0"),
        (b"\x99\x01" + b"\xcf" * 4, b"0 0 0 0"),
        (b"", b"0 0 0 0"),
    ],
)  # fmt: skip
def test_attempts_come_from_the_outcome(worker: ScriptQueue, packed: bytes, attempts: bytes) -> None:
    finish(worker, "1", packed)
    assert worker.next("retry", "", "", 1, 0, "1").startswith(b"1 ")
    assert value(worker, "attempts", "1") == attempts
    assert value(worker, "outcomes", "1") is None
    assert worker.line() == [b"\x011"]


def test_no_attempts_with_a_reset(worker: ScriptQueue) -> None:
    finish(worker, "1", outcome(1, 3, 5))
    assert worker.next("retry", "", "", 1, 1, "1") == b"1 failed"
    assert value(worker, "attempts", "1") is None


def test_a_page_ends_at_its_limit(worker: ScriptQueue) -> None:
    for id in ("1", "2", "3"):
        finish(worker, id, outcome(1, 1, 1))
    moved, before = worker.next("retry", "failed", "", 2, 0, "").split()
    assert (moved, worker.line()) == (b"2", [b"\x011", b"\x012"])
    assert worker.next("retry", "failed", 1, 2, 0, "") == b"0 1"
    # What finishes meanwhile is not taken, or a queue whose jobs fail would have no end.
    wait_until(lambda: worker.client.time()[0] * 1000 > int(before))
    finish_next(worker, outcome(1, 1, 1))
    assert worker.next("retry", "failed", before, 2, 0, "") == b"1 " + before
    assert worker.client.zcard(worker.keys["failed"]) == 1


def test_what_has_not_finished_is_not_retried(worker: ScriptQueue) -> None:
    worker.add([("1", OLD)])
    before = worker.line()
    assert worker.next("retry", "", "", 1, 0, "1") == b"0 "
    assert worker.next("retry", "", "", 1, 0, "nobody") == b"0 "
    assert worker.line() == before


# prioritize


def test_prioritize_needs_the_held_sets(worker: ScriptQueue) -> None:
    with pytest.raises(redis.ResponseError, match="RETRY"):
        worker.next("prioritize", "1", 3, 0)


def test_the_other_parts_of_a_plan_stay(worker: ScriptQueue) -> None:
    worker.add([], [("1", OLD, "dp", "60000 5\0s 0 key")])
    worker.next("delay", "1", "t", 2_000_000_000_000)
    worker.next("prioritize", "1", 0, 1, held=worker.held)
    assert value(worker, "plans", "1") == b"h\0dskey\0t2000000000000"
    worker.next("prioritize", "1", 7, 0, held=worker.held)
    plan = value(worker, "plans", "1")
    assert plan is not None
    score, rest = plan.split(b"\0", 1)
    assert (int(score[1:]) >> 32, rest) == (7, b"dskey\0t2000000000000")


def test_a_suspect_keeps_its_place_and_has_its_plan(worker: ScriptQueue) -> None:
    worker.add([("1", OLD)])
    worker.client.lpop(worker.keys["waiting"])
    worker.client.rpush(worker.keys["suspects"], b"\x021")
    assert worker.next("prioritize", "1", 3, 0, held=worker.held) == b"waiting"
    assert worker.client.lrange(worker.keys["suspects"], 0, -1) == [b"\x021"]
    assert not worker.client.exists(worker.keys["prioritized"])
    assert str(value(worker, "plans", "1")).startswith("b'p")


@pytest.mark.parametrize("kind", ["b", "m"])
def test_what_a_worker_gives_back_goes_where_its_new_plan_says(worker: ScriptQueue, kind: str) -> None:
    worker.add([("1", OLD)])
    worker.claim(1)
    assert worker.next("prioritize", "1", 3, 0, held=worker.held) == b"active"
    worker.exchange(others=[(kind, "1", "1", "5", "")])
    assert worker.client.zrange(worker.keys["prioritized"], 0, -1) == [b"1"]
    worker.claim(1)
    worker.next("prioritize", "1", 0, 0, held=worker.held)
    worker.exchange(others=[("b", "1", "1", "", "")])
    assert worker.line() == [b"\x011"]


# drain


def test_a_ghost_is_passed_over_and_its_job_lives(worker: ScriptQueue) -> None:
    """The element is that of a job which moved; the job must not go with it."""
    worker.add([("1", OLD), ("2", OLD)])
    worker.next("prioritize", "1", 3, 0, held=worker.held)
    worker.client.rpush(worker.keys["waiting"], "1")
    worker.client.sadd(worker.keys["removed"], "1")
    assert worker.next("drain", 2, 0) == b"1 2 1"
    assert value(worker, "jobs", "1") == OLD
    assert value(worker, "jobs", "2") is None
    assert not worker.client.exists(worker.keys["removed"])


def test_drain_takes_suspects_and_marked_jobs(worker: ScriptQueue) -> None:
    worker.add([("1", OLD)], [("2", OLD, "h", ""), ("3", OLD, "dw", 60_000)])
    worker.client.hset(worker.keys["jobs"], "4", OLD)
    worker.client.rpush(worker.keys["suspects"], b"\x014")
    assert worker.next("drain", 500, 0) == b"3 3 0"
    assert worker.client.hkeys(worker.keys["jobs"]) == [b"3"]
    assert not worker.client.exists(worker.keys["plans"])


# clean


def cleaned(queue: ScriptQueue, state: str, most: int = 500) -> list[bytes]:
    """Clean page by page, up to now."""
    ids: list[bytes] = []
    limit, cursor = b"", b""
    for _ in range(50):
        limit, cursor, found = queue.next("clean", state, 0, limit, most, cursor).split(b"\n")
        ids += found.split()
        if not cursor:
            return ids
    raise AssertionError("there is no end")


@pytest.mark.parametrize("most", [1, 3, 500])
def test_pages_find_the_old_ones_wherever_they_stand(worker: ScriptQueue, most: int) -> None:
    for n in range(1, 13):
        worker.add([(str(n), OLD if n % 3 else YOUNG)])
    worker.client.rpush(worker.keys["suspects"], b"\x0120", b"\x0121")
    worker.client.hset(worker.keys["jobs"], mapping={"20": OLD, "21": YOUNG})
    old = {str(n).encode() for n in range(1, 13) if n % 3} | {b"20"}
    found = cleaned(worker, "waiting", most)
    assert (set(found), len(found)) == (old, len(old))
    assert worker.line() == [b"3", b"6", b"9", b"12"]
    assert worker.client.lrange(worker.keys["suspects"], 0, -1) == [b"\x0121"]


@pytest.mark.parametrize("state", ["prioritized", "delayed"])
def test_many_of_one_score_are_all_looked_at(worker: ScriptQueue, state: str) -> None:
    place = ("p", 3) if state == "prioritized" else ("tw", 3_000_000_000_000)
    for first in (1, 801):
        worker.add([], [(str(n), OLD if n % 2 else YOUNG, *place) for n in range(first, first + 800)])
    ids = [str(n) for n in range(1, 1601)]
    worker.client.zadd(worker.keys[state], dict.fromkeys(ids, 12_884_901_888))
    found = cleaned(worker, state)
    assert (len(found), len(set(found))) == (800, 800)
    assert worker.client.zcard(worker.keys[state]) == 800


def test_a_record_that_cannot_be_read_is_old(worker: ScriptQueue) -> None:
    worker.add([("1", b"nonsense"), ("2", b""), ("3", b"\x94\xc1"), ("4", YOUNG)])
    assert set(cleaned(worker, "waiting")) == {b"1", b"2", b"3"}


def test_a_job_that_left_a_list_as_a_ghost_is_not_cleaned_there(worker: ScriptQueue) -> None:
    worker.add([("1", YOUNG), ("2", OLD), ("3", OLD)])
    worker.next("prioritize", "2", 3, 0, held=worker.held)
    worker.client.lpush(worker.keys["waiting"], "2")
    worker.client.sadd(worker.keys["removed"], "2")
    assert cleaned(worker, "waiting") == [b"3"]
    assert value(worker, "jobs", "2") == OLD


def test_a_page_reads_no_more_than_some_megabytes(worker: ScriptQueue) -> None:
    large = encode_record("work", T, None, "x" * 1_500_000)
    for n in range(1, 6):
        worker.add([], [(str(n), large, "w", "")])
    limit, cursor, ids = worker.next("clean", "waiting", 0, "", 500, "h").split(b"\n")
    assert (cursor, ids) == (b"h", b"1 2 3")
    assert len(worker.next("clean", "waiting", 0, limit, 500, cursor).split(b"\n")[2].split()) == 2


def test_unknown_states_and_limits_are_refused(worker: ScriptQueue) -> None:
    before = worker.snapshot()
    with pytest.raises(redis.ResponseError, match="CALL cleans no jobs that are active"):
        worker.next("clean", "active", 0, "", 500, "")
    with pytest.raises(redis.ResponseError, match="CALL has no limit layout"):
        worker.next("limit", "layout", "2")
    assert worker.snapshot() == before


# limit, report


def test_starts_are_counted_as_long_as_their_slots_last(worker: ScriptQueue) -> None:
    worker.add([(str(n), OLD) for n in range(10)])
    assert len(worker.claim(10, limit="3 60000")) == 3
    assert 59_000 < worker.client.pttl(worker.keys["limiter"]) <= 60_100
    # A worker without a limit claims, and forgets nothing.
    assert len(worker.claim(2)) == 2
    assert worker.claim(10, limit="3 60000") == []
    worker.next("limit", "limited", "")
    assert not worker.client.exists(worker.keys["limiter"])
    assert len(worker.claim(10, limit="3 60000")) == 3


def test_a_raised_limit_wakes_somebody(worker: ScriptQueue) -> None:
    worker.next("limit", "concurrency", 1)
    worker.add([("1", OLD), ("2", OLD)])
    worker.claim(1)
    worker.client.unlink(worker.keys["wake"])
    worker.next("limit", "concurrency", 1)
    assert worker.client.llen(worker.keys["wake"]) == 0
    worker.next("limit", "concurrency", 2)
    assert worker.client.llen(worker.keys["wake"]) == 1


def test_a_raised_rate_wakes_somebody(worker: ScriptQueue) -> None:
    worker.next("limit", "rate", "1 60000")
    worker.add([("1", OLD), ("2", OLD)])
    worker.claim(2)
    worker.client.unlink(worker.keys["wake"])
    worker.next("limit", "rate", "5 60000")
    assert worker.client.llen(worker.keys["wake"]) == 1
    assert len(worker.claim(2)) == 1


def test_a_job_that_became_the_earliest_wakes_somebody(worker: ScriptQueue) -> None:
    worker.add([], [("1", OLD, "dw", 60_000), ("2", OLD, "dw", 90_000)])
    worker.client.unlink(worker.keys["wake"])
    worker.next("delay", "2", "d", 70_000)
    assert worker.client.llen(worker.keys["wake"]) == 0
    worker.next("delay", "2", "d", 50_000)
    assert worker.client.llen(worker.keys["wake"]) == 1


def test_lines_are_kept_byte_by_byte(worker: ScriptQueue) -> None:
    worker.add([("1", OLD)])
    line = bytes(range(256))
    assert worker.next("report", "1", "g", line, "") == b"1"
    assert worker.client.zrange(worker.keys["logs"], 0, -1) == [b"1\x000000000000000001:" + line]
    assert worker.next("report", "2", "g", line, "") == b"-1"
