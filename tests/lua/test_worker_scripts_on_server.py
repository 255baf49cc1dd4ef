"""The scripts of workers by hand, on each kind of server: claims, outcomes, leases, what the dead leave."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import redis

from tests.conftest import PrivateServer
from tests.lua.script_calls import NUMBER, ScriptQueue
from tests.servers import KINDS, Kind

RECORD = b"a record"
OUTCOME = b"o" * 39 + b"\xc0"


@pytest.fixture
def working(queue: ScriptQueue) -> ScriptQueue:
    """A queue with five jobs and a worker that holds the first three."""
    queue.register()
    queue.add([(str(id), RECORD) for id in range(1, 6)])
    assert queue.claim(3) == ["1", "2", "3"]
    return queue


def held(queue: ScriptQueue) -> set[bytes]:
    """What the worker holds; the counter in `meta` must agree."""
    ids = queue.client.smembers(queue.held[0])
    assert queue.count_held() == len(ids)
    return set(ids)


def deadline(queue: ScriptQueue) -> float | None:
    return queue.client.zscore(queue.keys["workers"], NUMBER)


def refused(queue: ScriptQueue, text: str, **options: Any) -> None:
    before = queue.snapshot()
    with pytest.raises(redis.ResponseError, match=text):
        queue.exchange(**options)
    assert queue.snapshot() == before


# Claiming.


def test_a_claim_brings_records_in_order_and_says_whether_there_is_more(working: ScriptQueue) -> None:
    reply = working.exchange(want=1)
    assert (reply[1] & 2, reply[3], reply[4], reply[5]) == (2, b"4", [RECORD], [])
    reply = working.exchange(want=10)
    assert (reply[1] & 2, reply[3]) == (0, b"5")
    assert held(working) == {b"1", b"2", b"3", b"4", b"5"}


def test_marked_jobs_bring_attempts_and_plans(queue: ScriptQueue) -> None:
    queue.register()
    queue.add([("1", RECORD)], [("2", RECORD, "h", ""), ("3", RECORD, "p", 1)])
    listed, _, extras = queue.exchange(want=10)[3:6]
    assert listed == b"2 1 3"
    assert [extras[at : at + 4] for at in range(0, len(extras), 4)] == [
        [0, b"", b"h", b""],
        [2, b"", extras[6], b""],
    ]
    assert extras[6].startswith(b"p")


def test_a_claim_of_large_jobs_stops_at_4_mb_and_puts_back_the_rest(queue: ScriptQueue) -> None:
    queue.register()
    queue.add(others=[(str(id), b"x" * 1_500_000, "w", "") for id in range(1, 5)])
    assert queue.claim(10) == ["1", "2"]
    assert queue.line() == [b"\x013", b"\x014"]


def test_a_job_larger_than_a_call_travels_alone(queue: ScriptQueue) -> None:
    queue.register()
    queue.add(others=[(str(id), b"x" * 5_000_000, "w", "") for id in range(1, 3)])
    assert (queue.claim(10), queue.claim(10)) == (["1"], ["2"])


def test_a_delayed_job_is_due_when_its_time_has_come(queue: ScriptQueue) -> None:
    queue.register()
    now = queue.add(others=[("1", RECORD, "tw", "1 "), ("2", RECORD, "dw", "60000 ")])[0]
    reply = queue.exchange(want=10)
    assert (reply[3], reply[2] - now) == (b"1", pytest.approx(60_000, abs=2_000))
    assert queue.exchange(want=10)[2] == 0  # the due time is told to one worker


# Settling.


def test_completed_jobs_are_kept_with_their_outcome(working: ScriptQueue) -> None:
    working.exchange(completed=[("1", b"one"), ("2", b"two")])
    assert held(working) == {b"3"}
    assert working.client.hgetall(working.keys["outcomes"]) == {b"1": b"one", b"2": b"two"}
    assert set(working.client.zrange(working.keys["completed"], 0, -1)) == {b"1", b"2"}


@pytest.mark.parametrize(
    ("keep", "kept"), [(0, set()), (1, {b"3"}), (2, {b"2", b"3"}), (-1, {b"1", b"2", b"3"})]
)
def test_only_the_last_completed_ones_are_kept(working: ScriptQueue, keep: int, kept: set[bytes]) -> None:
    working.exchange(completed=[(str(id), OUTCOME) for id in (1, 2, 3)], keep=keep)
    assert set(working.client.zrange(working.keys["completed"], 0, -1)) == kept
    assert set(working.client.hkeys(working.keys["outcomes"])) == kept
    assert set(working.client.hkeys(working.keys["jobs"])) == kept | {b"4", b"5"}


@pytest.mark.parametrize(
    ("outcome", "place", "attempts"),
    [
        (("c", "1", b"o", 10, -1), "completed", None),
        (("f", "1", b"o", 10, -1), "failed", None),
        (("r", "1", "1 0 0 0", 60_000, b"o"), "delayed", b"1 0 0 0"),
        (("l", "1", "0 0 0 0", 60_000, ""), "delayed", b"0 0 0 0"),
    ],
)
def test_every_other_end_has_its_place(
    working: ScriptQueue, outcome: tuple[Any, ...], place: str, attempts: bytes | None
) -> None:
    working.exchange(others=[outcome])
    assert held(working) == {b"2", b"3"}
    assert working.client.zrange(working.keys[place], 0, -1) == [b"1"]
    assert working.client.hget(working.keys["attempts"], "1") == attempts


def test_jobs_go_back_where_they_belong(working: ScriptQueue) -> None:
    working.exchange(
        others=[
            ("r", "1", "1 0 0 0", 0, b"o"),
            ("b", "3", "3", "", ""),
            ("b", "2", "\x012", "", ""),
        ]
    )
    assert working.line() == [b"\x012", b"3", b"4", b"5", b"\x011"]
    assert held(working) == set()


def test_progress_and_lines_are_kept_while_the_job_runs(working: ScriptQueue) -> None:
    working.exchange(
        others=[("p", "1", b"50", "", ""), ("g", "1", b"half", "", ""), ("g", "1", b"done", "", "")]
    )
    assert working.client.hget(working.keys["progress"], "1") == b"50"
    assert working.client.hget(working.keys["logged"], "1") == b"2"
    assert working.client.zrange(working.keys["logs"], 0, -1) == [
        b"1\x000000000000000001:half",
        b"1\x000000000000000002:done",
    ]
    assert held(working) == {b"1", b"2", b"3"}


def test_a_job_that_is_not_held_is_refused_alone(working: ScriptQueue) -> None:
    reply = working.exchange(
        completed=[("1", OUTCOME), ("4", OUTCOME)],
        others=[("f", "9", b"o", 10, -1), ("f", "2", b"o", 10, -1)],
    )
    assert set(reply[6]) == {b"4", b"9"}
    assert held(working) == {b"3"}


def test_an_outcome_counts_once_in_a_call(working: ScriptQueue) -> None:
    reply = working.exchange(
        others=[("f", "1", b"o", 10, -1), ("c", "1", b"o", 10, -1), ("p", "1", b"5", "", "")]
    )
    assert reply[6] == [b"1"]
    assert held(working) == {b"2", b"3"}
    assert working.client.zcard(working.keys["completed"]) == 0


@pytest.mark.parametrize("lost", ["gone", "condemned"])
def test_a_lost_lease_refuses_the_call_as_a_whole(working: ScriptQueue, lost: str) -> None:
    if lost == "gone":
        working.client.zrem(working.keys["workers"], NUMBER)
    else:
        working.client.zadd(working.keys["workers"], {NUMBER: 0})
    refused(working, "LEASE lost", completed=[("1", OUTCOME)], want=5)


def test_an_unknown_kind_of_outcome_refuses_the_call_as_a_whole(working: ScriptQueue) -> None:
    refused(working, "CALL has no outcome z", completed=[("1", OUTCOME)], others=[("z", "2", "", "", "")])


def test_a_call_of_the_wrong_length_is_refused(working: ScriptQueue) -> None:
    refused(working, "CALL takes", completed=[("1",)])


# Leases.


def test_an_exchange_and_a_renewal_push_the_deadline_on(working: ScriptQueue) -> None:
    working.client.zadd(working.keys["workers"], {NUMBER: 1})
    now = working.exchange()[0]
    assert deadline(working) == now + 30_000
    now = working.run("renew", NUMBER, 60_000)
    assert deadline(working) == now + 60_000


@pytest.mark.parametrize("lost", ["gone", "condemned"])
def test_a_renewal_never_creates_a_lease(working: ScriptQueue, lost: str) -> None:
    if lost == "gone":
        working.client.zrem(working.keys["workers"], NUMBER)
    else:
        working.client.zadd(working.keys["workers"], {NUMBER: 0})
    before = deadline(working)
    with pytest.raises(redis.ResponseError, match="LEASE lost"):
        working.run("renew", NUMBER, 30_000)
    assert deadline(working) == before


def test_leases_that_seem_dead_are_told_to_whoever_looks(working: ScriptQueue) -> None:
    now = working.exchange()[0]
    working.client.zadd(working.keys["workers"], {"5": now - 1, "6": now + 70_000, "7": now + 50_000})
    assert working.exchange()[7] == []
    assert working.exchange(look=1)[7][::2] == [b"5", b"6"]


# What dead workers leave.


def reap(queue: ScriptQueue, seen: float | None, *, page: int = 500, max_crashes: int = 2) -> list[Any]:
    return list(queue.run("reap", NUMBER, f"{seen:.0f}", page, max_crashes, 100, -1, held=queue.held))


def test_a_dead_workers_jobs_become_suspects_in_order(working: ScriptQueue) -> None:
    assert reap(working, deadline(working)) == [0, b"3 2 1"]
    assert working.client.lrange(working.keys["suspects"], 0, -1)[::-1] == [b"\x011", b"\x012", b"\x013"]
    assert (held(working), deadline(working)) == (set(), None)
    assert working.client.hget(working.keys["attempts"], "1") == b"0 1 0 2"


def test_a_worker_that_renewed_meanwhile_keeps_everything(working: ScriptQueue) -> None:
    seen = deadline(working)
    working.client.zadd(working.keys["workers"], {NUMBER: (seen or 0) + 1})
    assert reap(working, seen) == [-1, b""]
    assert held(working) == {b"1", b"2", b"3"}


def test_reaping_goes_in_pages_and_condemns_at_the_first(working: ScriptQueue) -> None:
    seen = deadline(working)
    assert reap(working, seen, page=2)[0] == 1
    assert deadline(working) == 0
    assert reap(working, seen, page=2)[0] == 0
    assert len(working.client.lrange(working.keys["suspects"], 0, -1)) == 3


def test_a_death_is_charged_only_to_a_start_that_was_confirmed(working: ScriptQueue) -> None:
    working.exchange(others=[("s", "1", "0 1 0 1", "", ""), ("s", "2", "0 2 1 1", "", "")])
    reap(working, deadline(working))
    attempts = working.client.hgetall(working.keys["attempts"])
    assert attempts == {b"1": b"0 2 1 2", b"3": b"0 1 0 2"}
    assert working.client.lrange(working.keys["suspects"], 0, -1)[::-1] == [b"\x021", b"\x013"]
    packed = working.client.hget(working.keys["outcomes"], "2")
    assert packed is not None
    assert msgpack.unpackb(packed)[7] == "JobCrashed"
    assert working.client.zrange(working.keys["failed"], 0, -1) == [b"2"]


def test_suspects_are_claimed_as_such_and_charged_ones_alone(queue: ScriptQueue) -> None:
    queue.register()
    for id in ("1", "2", "3"):
        queue.client.hset(queue.keys["jobs"], id, RECORD)
        queue.client.hset(queue.keys["attempts"], id, "0 1 0 2")
    queue.client.rpush(queue.keys["suspects"], "\x013", "\x022", "\x011")
    reply = queue.exchange(want=10, want_suspects=5)
    assert (reply[3], reply[5], reply[1] & 4) == (b"1", [0, b"0 1 0 2", b"", b"1"], 4)
    assert queue.claim(10, want_suspects=5, alone=0) == []
    assert queue.claim(10, want_suspects=5, alone=1) == ["2"]


def test_a_worker_that_leaves_gives_everything_back(working: ScriptQueue) -> None:
    assert working.run("retire", NUMBER, held=working.held) == 3
    assert working.line() == [b"1", b"2", b"3", b"4", b"5"]
    assert (held(working), deadline(working)) == (set(), None)
    assert working.client.exists(working.keys["hosts"]) == 0


def test_a_suspect_that_is_given_back_stays_one(working: ScriptQueue) -> None:
    working.exchange(others=[("s", "1", "0 1 0 1", "", "")])
    working.run("retire", NUMBER, held=working.held)
    assert working.client.lrange(working.keys["suspects"], 0, -1) == [b"\x011"]
    assert working.client.hget(working.keys["attempts"], "1") == b"0 1 0 2"


# Waking.


@pytest.mark.parametrize("paused", [False, True])
def test_adding_wakes_at_most_twice_and_never_for_a_paused_queue(queue: ScriptQueue, paused: bool) -> None:
    queue.open()
    queue.next("pause", int(paused))
    for id in range(1, 5):
        queue.add([(str(id), RECORD)])
    assert queue.client.llen(queue.keys["wake"]) == (0 if paused else 2)


def test_a_job_that_is_not_due_wakes_whoever_has_to_wait_for_it(queue: ScriptQueue) -> None:
    queue.open()
    queue.add(others=[("1", RECORD, "dw", "60000 ")])
    queue.add(others=[("2", RECORD, "dw", "90000 ")])
    assert queue.client.llen(queue.keys["wake"]) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_server_still_settles(private_server: PrivateServer, kind: Kind) -> None:
    with private_server(kind).client() as client:
        settle_on_a_full_server(ScriptQueue(client, "full"))


def settle_on_a_full_server(queue: ScriptQueue) -> None:
    queue.register()
    queue.add([("1", RECORD)])
    queue.claim(1)
    queue.client.config_set("maxmemory", "1")
    with pytest.raises(redis.ResponseError, match=r"OOM|maxmemory"):
        queue.add([("2", RECORD)])
    queue.exchange(completed=[("1", OUTCOME)])
    assert queue.client.hkeys(queue.keys["jobs"]) == [b"1"]
    assert held(queue) == set()
