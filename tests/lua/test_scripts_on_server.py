"""Each script by hand, on each kind of server: what it does, and that a refusal changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.lua.script_calls import NUMBER, ScriptQueue

RECORD = b"a record"
# The changing calls of a session, with arguments that would be accepted.
CHANGING: dict[str, Callable[[ScriptQueue], Any]] = {
    "add": lambda queue: queue.add([("1", RECORD)]),
    "reserve": lambda queue: queue.next("reserve", 10),
    "pause": lambda queue: queue.next("pause", 1),
    "remove": lambda queue: queue.next("remove", "1", held=queue.held),
    "exchange": lambda queue: queue.exchange(want=5),
    "limit": lambda queue: queue.next("limit", "concurrency", 5),
    "retry": lambda queue: queue.next("retry", "failed", "", 500, 0, ""),
    "promote": lambda queue: queue.next("promote", 500, ""),
    "delay": lambda queue: queue.next("delay", "1", "d", 500),
    "prioritize": lambda queue: queue.next("prioritize", "1", 3, 0, held=queue.held),
    "drain": lambda queue: queue.next("drain", 500, 1),
    "clean": lambda queue: queue.next("clean", "completed", 0, "", 500, ""),
    "rewrite": lambda queue: queue.next("rewrite", "1", RECORD),
    "report": lambda queue: queue.next("report", "1", "g", "line", ""),
    "trim_logs": lambda queue: queue.next("trim_logs", "1", 0),
    "announce": lambda queue: queue.next("announce", b"\xa1k\xc0"),
    "free": lambda queue: queue.next("free", "key"),
}
every_change = pytest.mark.parametrize("call", CHANGING.values(), ids=CHANGING)


def refused(queue: ScriptQueue, call: Callable[[], Any], text: str) -> None:
    """The call is refused with this text, and nothing has changed."""
    before = queue.snapshot()
    with pytest.raises(redis.ResponseError) as caught:
        call()
    assert str(caught.value).startswith(text)
    assert queue.snapshot() == before


# What every changing call refuses.


@every_change
def test_a_queue_that_nobody_opened_refuses(queue: ScriptQueue, call: Callable[[ScriptQueue], Any]) -> None:
    refused(queue, lambda: call(queue), "SESSION unknown")


@every_change
def test_a_session_that_nobody_opened_is_refused(
    queue: ScriptQueue, call: Callable[[ScriptQueue], Any]
) -> None:
    queue.register()
    queue.session = "other"
    refused(queue, lambda: call(queue), "SESSION unknown")


@every_change
def test_a_session_that_was_closed_is_refused(queue: ScriptQueue, call: Callable[[ScriptQueue], Any]) -> None:
    queue.register("s1")
    queue.open("s2", "s1")
    queue.session = "s1"
    refused(queue, lambda: call(queue), "SESSION closed")


@every_change
@pytest.mark.parametrize("ahead", [-1, 1, 5])
def test_a_number_out_of_turn_is_refused(
    queue: ScriptQueue, call: Callable[[ScriptQueue], Any], ahead: int
) -> None:
    queue.register()
    queue.next("reserve", 1)
    queue.number += ahead
    refused(queue, lambda: call(queue), "ORDER 1")


@every_change
def test_a_call_counts_once(queue: ScriptQueue, call: Callable[[ScriptQueue], Any]) -> None:
    queue.register()
    call(queue)
    queue.number -= 1
    refused(queue, lambda: call(queue), "ORDER 1")


@every_change
def test_another_layout_is_refused(queue: ScriptQueue, call: Callable[[ScriptQueue], Any]) -> None:
    queue.register()
    queue.client.hset(queue.keys["meta"], "layout", "2")
    refused(queue, lambda: call(queue), "LAYOUT 2")


# open


def test_open_makes_the_queue_and_hands_out_ids(queue: ScriptQueue) -> None:
    now, epoch, applied, answer, last_id, events, codec, held = queue.open(epoch="e1", codec="msgpack")
    assert (epoch, applied, answer, last_id, events, codec, held) == (
        b"e1",
        None,
        None,
        64,
        b"all",
        b"msgpack",
        [],
    )
    seconds, microseconds = queue.client.time()
    assert abs(now - (seconds * 1000 + microseconds // 1000)) < 5_000


def test_a_later_open_keeps_epoch_and_events_and_goes_on_with_ids(queue: ScriptQueue) -> None:
    queue.open(events="outcomes")
    reply = queue.open("s2", epoch="e2", block=100)
    assert reply[1:6] == [b"e1", None, None, 164, b"outcomes"]


def test_open_tells_how_far_the_session_before_got_and_closes_it(queue: ScriptQueue) -> None:
    queue.open()
    queue.next("reserve", 1)
    queue.next("pause", 1)
    assert queue.open("s2", "s1")[2:4] == [b"2", b"2 1"]
    assert queue.open("s3", "s1")[2] == b"2"


def test_a_session_that_is_gone_was_applied_up_to_nowhere(queue: ScriptQueue) -> None:
    assert queue.open("s2", "never")[2:4] == [None, None]


def test_a_late_copy_of_an_open_revives_nothing(queue: ScriptQueue) -> None:
    queue.open("s1")
    queue.open("s2", "s1")
    queue.open("s1")
    refused(queue, lambda: queue.next("reserve", 1), "SESSION closed")


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda queue: queue.client.hset(queue.keys["meta"], "layout", "2"), "LAYOUT 2"),
        (lambda queue: queue.client.set(queue.keys["waiting"], "x"), "TYPE {test"),
        (lambda queue: queue.client.hset(queue.keys["meta"], "codec", "other"), "CODEC other"),
    ],
    ids=["layout", "type", "codec"],
)
def test_open_refuses_what_is_not_ours(
    queue: ScriptQueue, spoil: Callable[[ScriptQueue], Any], text: str
) -> None:
    queue.open()
    spoil(queue)
    refused(queue, lambda: queue.open("s2"), text)


def test_open_refuses_a_user_who_may_not_run_what_is_needed(queue: ScriptQueue) -> None:
    queue.client.acl_setuser(
        "weak", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-xadd"], channels=["*"]
    )
    port = queue.client.connection_pool.connection_kwargs["port"]
    with redis.Redis(port=port, username="weak", password="any", protocol=2) as weak:
        denied = ScriptQueue(weak, "denied")
        with pytest.raises(redis.RedisError, match=r"DENIED XADD|NOPERM"):
            denied.open()
    queue.client.acl_deluser("weak")
    assert list(queue.client.scan_iter("*denied*")) == []


def test_a_worker_registers_once_and_takes_its_number_up_again(queue: ScriptQueue) -> None:
    queue.register()
    refused(queue, lambda: queue.register("s2"), "TAKEN 77")
    queue.open("s3", "s1", number=NUMBER)
    assert queue.client.hget(queue.keys["hosts"], NUMBER) == b"{}"


@pytest.mark.parametrize("condemned", [False, True])
def test_a_number_that_is_gone_or_condemned_is_not_taken_up(queue: ScriptQueue, condemned: bool) -> None:
    queue.open()
    if condemned:
        queue.client.zadd(queue.keys["workers"], {NUMBER: 0})
    refused(queue, lambda: queue.open("s2", number=NUMBER), "LEASE lost")


def test_open_tells_what_a_worker_still_holds(queue: ScriptQueue) -> None:
    queue.register()
    queue.add([("1", RECORD), ("2", RECORD)])
    queue.claim(10)
    assert sorted(queue.open("s2", "s1", number=NUMBER)[7]) == [b"1", b"2"]


# add


def test_plain_jobs_stand_in_line_in_order(queue: ScriptQueue) -> None:
    queue.open()
    now, stream_id = queue.add([("1", RECORD), ("2", RECORD)])
    assert queue.line() == [b"1", b"2"]
    assert queue.client.hgetall(queue.keys["jobs"]) == {b"1": RECORD, b"2": RECORD}
    assert int(stream_id.partition(b"-")[0]) >= now


def test_special_jobs_go_to_their_places(queue: ScriptQueue) -> None:
    queue.open()
    queue.add(
        [("1", RECORD)],
        [
            ("2", RECORD, "h", ""),
            ("3", RECORD, "p", 5),
            ("4", RECORD, "dw", "60000 "),
            ("5", b"x" * 5_000, "w", ""),
        ],
    )
    assert queue.line() == [b"\x012", b"1", b"\x015"]
    assert queue.client.zrange(queue.keys["prioritized"], 0, -1) == [b"3"]
    assert queue.client.zrange(queue.keys["delayed"], 0, -1) == [b"4"]
    assert set(queue.client.hgetall(queue.keys["plans"])) == {b"2", b"3"}


def test_priorities_ascend_and_ties_keep_their_order(queue: ScriptQueue) -> None:
    queue.open()
    queue.add(others=[(str(n), RECORD, "p", priority) for n, priority in enumerate([3, 1, 2_097_151, 1, 3])])
    assert queue.client.zrange(queue.keys["prioritized"], 0, -1) == [b"1", b"3", b"0", b"4", b"2"]


def test_an_id_of_the_users_own_is_stored_once(queue: ScriptQueue) -> None:
    queue.open()
    others = [("a", RECORD, "?w", ""), ("b", b"first", "?w", ""), ("b", b"second", "?w", "")]
    assert queue.add(others=others)[2] == b"2"
    assert queue.add(others=[("b", b"third", "?w", ""), ("c", RECORD, "?w", "")])[2] == b"0"
    assert queue.client.hget(queue.keys["jobs"], "b") == b"first"
    assert queue.line() == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("add", (1, "", "1")),
        ("add", (2, "", "1", "r")),
        ("add_special", (1, 0, "", "1")),
        ("add_special", (0, 1, "", "1", "r")),
        ("add_special", (2, 0, "", "1", "r")),
    ],
)
def test_a_call_of_the_wrong_length_is_refused(
    queue: ScriptQueue, script: str, arguments: tuple[Any, ...]
) -> None:
    queue.open()
    refused(queue, lambda: queue.next(script, *arguments), "CALL takes")


# reserve, pause


def test_blocks_of_ids_never_overlap(queue: ScriptQueue) -> None:
    assert queue.open(block=64)[4] == 64
    assert [queue.next("reserve", size) for size in (128, 1, 65_536)] == [192, 193, 65_729]


def test_pausing_says_whether_it_changed_anything(queue: ScriptQueue) -> None:
    queue.open()
    assert [queue.next("pause", paused) for paused in (1, 1, 0, 0)] == [b"1", b"0", b"1", b"0"]


def test_a_paused_queue_hands_out_nothing_and_says_so(queue: ScriptQueue) -> None:
    queue.register()
    queue.add([("1", RECORD)])
    queue.next("pause", 1)
    reply = queue.exchange(want=5)
    assert (reply[1] & 1, reply[3], queue.line()) == (1, b"", [b"1"])


# listen, finished, heads


def test_listening_needs_a_queue(queue: ScriptQueue) -> None:
    refused(queue, lambda: queue.run("listen", 1_000), "SESSION unknown")


def test_listening_tells_where_the_stream_stands(queue: ScriptQueue) -> None:
    queue.open()
    assert queue.run("listen", 1_000)[1:4] == [b"0-0", b"0", b"e1"]
    stream_id = queue.add([("1", RECORD)])[1]
    assert queue.run("listen", 1_000)[1:3] == [stream_id, b"1"]


def test_what_has_finished_is_told_from_what_has_not(queue: ScriptQueue) -> None:
    queue.register()
    queue.add([("1", RECORD), ("2", RECORD)])
    queue.claim(1)
    queue.exchange(completed=[("1", b"outcome")])
    assert queue.run("finished", "1", "2", "9") == [b"outcome", 1, 0]
    assert queue.run("heads", 3, "1", "9") == [RECORD[:3], None]


# state, remove


def places(queue: ScriptQueue) -> dict[str, str]:
    """One job in each state."""
    queue.register()
    queue.add([("1", RECORD), ("2", RECORD), ("3", RECORD)])
    queue.claim(3)
    queue.exchange(completed=[("1", b"o")], others=[("f", "2", b"o", 100, -1)])
    queue.add(
        [("4", RECORD)],
        [("5", RECORD, "p", 1), ("6", RECORD, "dw", "60000 "), ("7", RECORD, "h", "")],
    )
    return {
        "1": "completed",
        "2": "failed",
        "3": "active",
        "4": "waiting",
        "5": "prioritized",
        "6": "delayed",
        "7": "waiting",
        "8": "unknown",
    }


def test_the_state_of_a_job_is_where_it_is(queue: ScriptQueue) -> None:
    expected = places(queue)
    assert {id: queue.run("state", id, held=queue.held).decode() for id in expected} == expected


def test_a_job_is_removed_from_wherever_it_is_unless_it_runs(queue: ScriptQueue) -> None:
    expected = places(queue)
    kept = {"active": "active", "unknown": "unknown"}
    for id, state in expected.items():
        assert queue.next("remove", id, held=queue.held).decode() == kept.get(state, "removed")
    assert queue.client.hkeys(queue.keys["jobs"]) == [b"3"]
    assert queue.line() == []
    for name in ("completed", "failed", "prioritized", "delayed"):
        assert queue.client.zcard(queue.keys[name]) == 0


def test_workers_that_came_or_went_are_read_again(queue: ScriptQueue) -> None:
    queue.register()
    refused(queue, lambda: queue.run("state", "1"), "RETRY")
    refused(queue, lambda: queue.next("remove", "1"), "RETRY")
    refused(queue, lambda: queue.run("obliterate", 1, 0), "RETRY")


def test_a_job_in_a_long_line_leaves_a_tombstone(queue: ScriptQueue) -> None:
    queue.register()
    for start in range(0, 10_500, 1_500):
        queue.add([(str(id), b"r") for id in range(start, start + 1_500)])
    queue.next("remove", "0", held=queue.held)
    assert queue.client.smembers(queue.keys["removed"]) == {b"0"}
    listed, records = queue.exchange(want=2)[3:5]
    assert (listed, records) == (b"1", [b"r"])
    assert queue.client.exists(queue.keys["removed"]) == 0
