"""What the state machine (tests/state) has found, each as the shortest way to it."""

from __future__ import annotations

import pytest

from bullrush.operations.requests import script_frame
from tests.lua.script_calls import NUMBER, ScriptQueue
from tests.waiting import wait_until

RECORD = b"a record"
OUTCOME = b"o" * 39 + b"\xc0"
SHORT_LINE = b"SEARCHABLE = 0    "


@pytest.fixture
def working(queue: ScriptQueue) -> ScriptQueue:
    """A queue with a worker."""
    queue.register()
    return queue


def places_of(queue: ScriptQueue, id: str) -> list[str]:
    """Everything but the record that knows of an id."""
    client, keys = queue.client, queue.keys
    lists = [
        name for name in ("waiting", "suspects") if f"\1{id}".encode() in client.lrange(keys[name], 0, -1)
    ]
    lists += ["waiting"] * client.lrange(keys["waiting"], 0, -1).count(id.encode())
    zsets = ("prioritized", "delayed", "completed", "failed")
    lists += [name for name in zsets if client.zscore(keys[name], id) is not None]
    hashes = ("plans", "attempts", "outcomes", "progress", "logged")
    lists += [name for name in hashes if client.hexists(keys[name], id)]
    return lists + ["held"] * int(client.sismember(queue.held[0], id))


def now(queue: ScriptQueue) -> int:
    seconds, micros = queue.client.time()
    return int(seconds) * 1000 + int(micros) // 1000


def cancel(queue: ScriptQueue, id: str) -> None:
    signals = queue.keys.signals(NUMBER)
    assert queue.next("cancel", id, "why", held=[*queue.held, signals]) == b"signalled"


# Deduplication.


def test_a_job_kept_behind_another_does_not_vanish_with_a_ttl(working: ScriptQueue) -> None:
    working.add(others=[("1", RECORD, "w\0k 1000 x", "")])
    assert working.client.hget(working.keys["dedup"], "kx") == b"1 0"
    assert working.client.zcard(working.keys["expiries"]) == 0


def test_a_job_kept_behind_one_of_another_mode_is_added(working: ScriptQueue) -> None:
    working.add(others=[("1", RECORD, "w\0s 0 x", ""), ("2", RECORD, "w\0k 0 x", "")])
    assert working.claim(2) == ["1"]
    assert working.claim(2, others=[("c", "1", OUTCOME, 10, -1)]) == ["2"]


def test_a_job_kept_behind_another_is_not_added_when_its_id_has_come_otherwise(working: ScriptQueue) -> None:
    working.add(others=[("1", RECORD, "w\0k 0 x", ""), ("a", RECORD, "?w\0k 0 x", "")])
    assert working.claim(1) == ["1"]
    working.add(others=[("a", b"first", "?w", "")])
    working.exchange(others=[("c", "1", OUTCOME, 10, -1)])
    assert places_of(working, "a") == ["waiting"]
    assert working.client.hget(working.keys["jobs"], "a") == b"first"
    assert working.client.hgetall(working.keys["dedup"]) == {}


def test_a_replaced_job_leaves_no_attempts(working: ScriptQueue) -> None:
    working.add(others=[("1", RECORD, "w\0s 0 x", "")])
    working.claim(1)
    working.exchange(others=[("r", "1", "1 0 0 0", 60_000, OUTCOME)])
    working.add(others=[("2", RECORD, "w\0r 0 x", "")])
    assert places_of(working, "1") == []


def test_a_key_replaces_no_job_that_has_come_to_the_id_of_its_holder(working: ScriptQueue) -> None:
    working.add(others=[("a", RECORD, "?w\0t 60000 x", "")])
    working.claim(1)
    working.exchange(others=[("c", "a", OUTCOME, 0, -1)])
    working.add(others=[("a", RECORD, "?dw", 60_000)])
    working.add(others=[("2", RECORD, "w\0r 0 x", "")])
    assert places_of(working, "a") == ["delayed"]


def test_a_job_kept_behind_a_key_outlives_its_ttl(working: ScriptQueue) -> None:
    """Swept with the key it would be lost, though its caller was told that it follows."""
    working.add(others=[("1", RECORD, "w\0s 1 x", ""), ("2", RECORD, "w\0k 0 x", "")])
    wait_until(lambda: working.client.zcount(working.keys["expiries"], "-inf", now(working) - 1))
    working.add(others=[("3", RECORD, "w\0s 0 y", "")])  # sweeps
    assert working.claim(1) == ["1"]
    working.exchange(others=[("c", "1", OUTCOME, 10, -1)])
    assert places_of(working, "2") == ["waiting", "plans"]


def test_nothing_is_kept_behind_a_key_that_only_time_frees(working: ScriptQueue) -> None:
    """Its holder may have ended, and would never add it."""
    working.add(others=[("1", RECORD, "w\0t 60000 x", "")])
    assert working.add(others=[("2", RECORD, "w\0k 0 x", "")])[2] == b"0:1"
    assert working.client.hexists(working.keys["dedup"], "nx") == 0


# Order.


def test_a_claim_of_ghosts_lets_no_prioritized_job_pass_the_line(working: ScriptQueue) -> None:
    working.add([("1", RECORD), ("2", RECORD)], [("3", RECORD, "p", 1)])
    frame = script_frame("remove", working.keys, tuple(working.held))
    call = frame.call(working.session, working.number + 1, "1", by_text=True)
    connection = working.client.connection_pool.get_connection()
    connection.send_packed_command([call.replace(b"SEARCHABLE = 10000", SHORT_LINE)])
    assert connection.read_response() == b"removed"
    working.client.connection_pool.release(connection)
    working.number += 1
    assert (working.claim(1), working.claim(1), working.claim(1)) == ([], ["2"], ["3"])


def test_no_more_suspects_are_claimed_than_jobs(working: ScriptQueue) -> None:
    working.add([("1", RECORD), ("2", RECORD)])
    assert working.claim(2) == ["1", "2"]
    working.client.zadd(working.keys["workers"], {NUMBER: 1})
    assert working.run("reap", NUMBER, 1, 10, 2, 10, -1, held=working.held) == [0, b"2 1"]
    working.client.hdel(working.keys["sessions"], f"w{NUMBER}")  # the same number again
    working.register("s2")
    assert working.claim(1, want_suspects=2) == ["1"]


# Outcomes.


@pytest.mark.parametrize("said", [("p", "1", b"\x01", "", ""), ("g", "1", b"a line", "", "")])
def test_what_a_job_said_goes_with_it(working: ScriptQueue, said: tuple[str, ...]) -> None:
    working.add([("1", RECORD)])
    working.claim(1)
    working.exchange(completed=[("1", OUTCOME)], others=[said], keep=0)
    assert places_of(working, "1") == []
    assert working.client.zcard(working.keys["logs"]) == 0


@pytest.mark.parametrize("kind", ["b", "m"])
def test_a_job_that_is_given_back_stays_cancelled(working: ScriptQueue, kind: str) -> None:
    working.add([("1", RECORD)])
    working.claim(1)
    cancel(working, "1")
    working.exchange(others=[(kind, "1", "1", 1 if kind == "m" else "", "")])
    assert working.line() == [b"\x011"]


def test_the_second_of_two_outcomes_in_a_call_is_refused(working: ScriptQueue) -> None:
    working.add([("1", RECORD)])
    working.claim(1)
    reply = working.exchange(completed=[("1", OUTCOME)], others=[("f", "1", OUTCOME, 10, -1)])
    assert reply[6] == [b"1"]
    assert places_of(working, "1") == ["completed", "outcomes"]
    assert working.count_held() == 0


def test_a_completion_told_twice_counts_once(working: ScriptQueue) -> None:
    working.add([("1", RECORD)])
    working.claim(1)
    working.exchange(completed=[("1", OUTCOME), ("1", OUTCOME)])
    assert working.count_held() == 0


# By hand.


def test_a_job_that_completed_before_its_cancel_was_heard_may_run_again(working: ScriptQueue) -> None:
    working.add([("1", RECORD)])
    working.claim(1)
    cancel(working, "1")
    working.exchange(completed=[("1", OUTCOME)])
    assert working.next("retry", "", "", 1, 1, "1") == b"1 completed"
    assert b"\0c" not in working.exchange(want=1)[5][2]


# Waking.


def test_a_job_that_fails_with_its_worker_makes_room_for_one_that_waits(working: ScriptQueue) -> None:
    working.client.hset(working.keys["meta"], mapping={"concurrency": 1, "special": 1})
    working.add([("1", RECORD), ("2", RECORD)])
    working.claim(1)
    deadline = working.client.zscore(working.keys["workers"], NUMBER)
    working.client.hset(working.keys["attempts"], "1", "0 1 1 1")  # its second death is one too many
    working.client.delete(working.keys["wake"])
    assert deadline is not None
    working.run("reap", NUMBER, f"{deadline:.0f}", 500, 2, 100, -1, held=working.held)
    assert working.client.zcard(working.keys["failed"]) == 1
    assert working.client.llen(working.keys["wake"]) == 1
