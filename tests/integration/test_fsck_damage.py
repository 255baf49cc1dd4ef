"""Each kind of damage, made by plain commands, is found, repaired, and found no more; no job is lost by it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import msgpack
import pytest
import redis

from bullrush import Deduplication, Job, Queue
from bullrush.keys import Keys


@dataclass
class Damage:
    """A queue with some of everything, for a test to break."""

    client: redis.Redis
    keys: Keys
    ids: dict[str, str]

    def command(self, *words: str | int | bytes) -> object:
        return self.client.execute_command(*words)

    def key(self, name: str) -> bytes:
        return self.keys[name]


@pytest.fixture
async def damage(queue: Queue, redis_client: redis.Redis) -> AsyncIterator[Damage]:
    """Two workers' worth of jobs: waiting, prioritized, delayed, completed, failed, active, one with a key."""

    async def work(job: Job) -> str:
        await job.log("a line")
        if job.name == "bad":
            raise ValueError("no")
        return "done"

    done = await queue.add("good")
    bad = await queue.add("bad")
    async with queue.process(work) as worker:
        await worker.wait_idle()
    one = await queue.add("a", job_id="held-1")
    waiting = [await queue.add("b", n, job_id=f"w-{n}") for n in range(5)]
    numbered = await queue.add("b")
    retried = await queue.add("b", attempts=3, priority=2, job_id="p-1")
    delayed = await queue.add("b", delay="1h", job_id="d-1")
    unique = await queue.add("b", delay="1h", deduplication=Deduplication("key"))
    keys = queue.keys
    redis_client.execute_command("HSET", keys["hosts"], "77", "{}")
    redis_client.execute_command("ZADD", keys["workers"], 1, "77")
    redis_client.execute_command("LREM", keys["waiting"], 1, one.id)
    redis_client.execute_command("SADD", keys.held("77"), one.id)
    redis_client.execute_command("HSET", keys["meta"], "held", 1)
    ids = {"held": one.id, "w": waiting[0].id, "w2": waiting[1].id, "n": numbered.id, "p": retried.id}
    ids |= {"d": delayed.id, "u": unique.id, "done": done.id, "bad": bad.id}
    yield Damage(redis_client, keys, ids)


Breaking = Callable[[Damage], object]


DAMAGES: dict[str, tuple[str, Breaking]] = {
    "the line is evicted": ("lost", lambda d: d.command("UNLINK", d.key("waiting"))),
    "one leaves the line": ("lost", lambda d: d.command("LREM", d.key("waiting"), 1, d.ids["w"])),
    "the delayed are evicted": ("lost", lambda d: d.command("UNLINK", d.key("delayed"))),
    "the completed are evicted": ("lost", lambda d: d.command("UNLINK", d.key("completed"))),
    "the failed are evicted": ("lost", lambda d: d.command("UNLINK", d.key("failed"))),
    "the prioritized are evicted": ("lost", lambda d: d.command("UNLINK", d.key("prioritized"))),
    "a held set is evicted": ("lost", lambda d: d.command("UNLINK", d.keys.held("77"))),
    "one stands in line twice": ("twice", lambda d: d.command("LPUSH", d.key("waiting"), d.ids["w"])),
    "one is held and in line": ("twice", lambda d: d.command("LPUSH", d.key("waiting"), d.ids["held"])),
    "one is done and in line": ("twice", lambda d: d.command("RPUSH", d.key("waiting"), b"\1" + d.ids["done"].encode())),
    "one is delayed and done": ("twice", lambda d: d.command("ZADD", d.key("completed"), 5, d.ids["d"])),
    "one is held and delayed": ("twice", lambda d: d.command("SADD", d.keys.held("77"), d.ids["d"])),
    "a record in line is gone": ("corrupt", lambda d: d.command("HDEL", d.key("jobs"), d.ids["w"])),
    "a delayed record is gone": ("corrupt", lambda d: d.command("HDEL", d.key("jobs"), d.ids["d"])),
    "a held record is gone": ("corrupt", lambda d: d.command("HDEL", d.key("jobs"), d.ids["held"])),
    "a finished record is gone": ("corrupt", lambda d: d.command("HDEL", d.key("jobs"), d.ids["done"])),
    "a suspect's record is gone": ("corrupt", lambda d: d.command("RPUSH", d.key("suspects"), b"\1none")),
    "attempts without a mark": ("unmarked", lambda d: d.command("HSET", d.key("attempts"), d.ids["w"], "1 0 0 0")),
    "a suspect without attempts": ("suspect", lambda d: _suspect(d)),
    "a ghost that stands nowhere": ("ghost", lambda d: d.command("SADD", d.key("removed"), d.ids["d"])),
    "a plan of nobody": ("orphan", lambda d: d.command("HSET", d.key("plans"), "nobody", "h")),
    "attempts of nobody": ("orphan", lambda d: d.command("HSET", d.key("attempts"), "nobody", "1 0 0 0")),
    "an outcome of nobody": ("orphan", lambda d: d.command("HSET", d.key("outcomes"), "nobody", b"\x97")),
    "progress of nobody": ("orphan", lambda d: d.command("HSET", d.key("progress"), "nobody", b"\1")),
    "lines of nobody": ("orphan", lambda d: d.command("ZADD", d.key("logs"), 0, b"nobody\0%016d:x" % 1)),
    "counted lines of nobody": ("orphan", lambda d: d.command("HSET", d.key("logged"), "nobody", 1)),
    "a plan that is none": ("plan", lambda d: d.command("HSET", d.key("plans"), d.ids["d"], "x")),
    "attempts that are none": ("attempts", lambda d: d.command("HSET", d.key("attempts"), d.ids["d"], "x")),
    "a score of another plan": ("rank", lambda d: d.command("ZADD", d.key("prioritized"), 5, d.ids["p"])),
    "lines that are not counted": ("logged", lambda d: d.command("UNLINK", d.key("logged"))),
    "a key of a job that is gone": ("key", lambda d: d.command("HSET", d.key("dedup"), "klost", "nobody 0")),
    "a key of a job that ended": ("key", lambda d: d.command("HSET", d.key("dedup"), "klost", f"{d.ids['done']} 0")),
    "a key without its end": ("expiry", lambda d: d.command("HSET", d.key("dedup"), "kx", f"{d.ids['u']} 9999999999999")),
    "a job kept behind nobody": ("follower", lambda d: d.command("HSET", d.key("dedup"), "nx", _kept("kept-1"))),
    "a key that is none": ("dedup", lambda d: d.command("HSET", d.key("dedup"), "kx", "?")),
    "a kept job that is none": ("dedup", lambda d: d.command("HSET", d.key("dedup"), "nx", b"\xc1")),
    "a session that is none": ("session", lambda d: d.command("HSET", d.key("sessions"), "s", "x")),
    "an answer that is none": ("session", lambda d: d.command("HSET", d.key("sessions"), "s:a", "x")),
    "held by nobody": ("held", lambda d: (d.command("ZREM", d.key("workers"), "77"), d.command("HDEL", d.key("hosts"), "77"))),
    "a wrong count": ("count", lambda d: d.command("HSET", d.key("meta"), "held", 3)),
    "a worker without a host": ("worker", lambda d: d.command("HDEL", d.key("hosts"), "77")),
    "a host without a worker": ("worker", lambda d: d.command("HSET", d.key("hosts"), "78", "{}")),
    "a lease without end": ("deadline", lambda d: d.command("ZADD", d.key("workers"), 9999999999999, "77")),
    "a longer lease": ("lease", lambda d: d.command("HSET", d.key("hosts"), "77", '{"lease": 99999999}')),
    "a limit that nobody sees": ("special", lambda d: d.command("HSET", d.key("meta"), "concurrency", 5)),
    "events that begin again": ("events", lambda d: d.command("HSET", d.key("meta"), "number", 1)),
    "starts that do not add up": ("window", lambda d: d.command("RPUSH", d.key("limiter"), "1 7")),
    "ids that begin again": ("ids", lambda d: d.command("SET", d.key("ids"), 0)),
    "a record that expires": ("expires", lambda d: d.command("EXPIRE", d.key("jobs"), 100)),
    "meta is evicted": ("meta", lambda d: d.command("UNLINK", d.key("meta"))),
}  # fmt: skip
BEYOND_REPAIR: dict[str, tuple[str, Breaking]] = {
    "a record that is none": ("unreadable", lambda d: d.command("HSET", d.key("jobs"), d.ids["w"], b"\xc1")),
    "outcomes are evicted": ("outcome", lambda d: d.command("UNLINK", d.key("outcomes"))),
    "an outcome that is none": ("outcome", lambda d: d.command("HSET", d.key("outcomes"), d.ids["bad"], b"\xc1")),
    "a line that is none": ("line", lambda d: d.command("ZADD", d.key("logs"), 0, "x")),
    "a strange key": ("unknown", lambda d: d.command("SET", d.key("strange"), "x")),
    "a key of another type": ("type", lambda d: (d.command("UNLINK", d.key("logs")), d.command("SET", d.key("logs"), "x"))),
    "another layout": ("layout", lambda d: d.command("HSET", d.key("meta"), "layout", "9")),
    "a limit that is none": ("meta", lambda d: d.command("HSET", d.key("meta"), "rate", "often", "special", "1")),
}  # fmt: skip


def _suspect(d: Damage) -> None:
    d.command("LREM", d.key("waiting"), 1, d.ids["w"])
    d.command("RPUSH", d.key("suspects"), b"\2" + d.ids["w"].encode())


def _kept(id: str) -> bytes:
    record = msgpack.packb(["late", 1, None, None])
    return msgpack.packb(id) + msgpack.packb(record, use_bin_type=False) + msgpack.packb("w\0k 0 x")


def records(d: Damage) -> set[bytes]:
    return set(d.client.hkeys(d.key("jobs").decode()))


async def test_a_sound_queue_has_no_problem(damage: Damage, queue: Queue) -> None:
    report = await queue.fsck()
    assert report.ok and not report.problems, report
    assert report.checked["jobs"] == 12
    assert "nothing is wrong" in str(report)


@pytest.mark.parametrize("what", DAMAGES)
async def test_damage_is_found_and_repaired(damage: Damage, queue: Queue, what: str) -> None:
    kind, breaks = DAMAGES[what]
    breaks(damage)
    before = records(damage)
    seen = await queue.fsck()
    assert kind in {problem.kind for problem in seen.problems}, seen
    assert not seen.ok and not seen.repaired
    assert str(seen) == str(await queue.fsck()), "looking changed something"
    repaired = await queue.fsck(repair=True)
    assert repaired.ok and repaired.repaired == len(repaired.problems) > 0, repaired
    again = await queue.fsck()
    assert not again.problems, again
    assert records(damage) >= before


@pytest.mark.parametrize("what", BEYOND_REPAIR)
async def test_what_nobody_can_repair_is_told(damage: Damage, queue: Queue, what: str) -> None:
    kind, breaks = BEYOND_REPAIR[what]
    breaks(damage)
    before = records(damage)
    report = await queue.fsck(repair=True)
    assert kind in {problem.kind for problem in report.problems}, report
    assert not report.ok
    assert records(damage) == before
