"""A plain job pays for no feature that it does not use: these are all the commands that its calls cost.

The numbers hold for a batch of any size. Whoever adds a command here taxes every job of every user.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lua.script_calls import ScriptQueue

BATCH = 100
ADD = {"hmget": 1, "hget": 1, "time": 1, "hset": 3, "lpush": 1, "xadd": 1, "llen": 1}
# hdel and exists: the batch before leaves, as the last thousand stay; zrange and zremrangebyrank: its retention.
EXCHANGE = {
    "hmget": 2,
    "hget": 1,
    "time": 1,
    "zscore": 1,
    "smismember": 1,
    "srem": 1,
    "zadd": 2,
    "hset": 3,
    "zcard": 1,
    "zrange": 2,
    "hdel": 2,
    "exists": 1,
    "zremrangebyrank": 1,
    "rpop": 1,
    "sadd": 1,
    "llen": 2,
    "xadd": 1,
}


def commands_of(queue: ScriptQueue, call: Callable[[], object]) -> dict[str, int]:
    """How often each command ran inside of one script call."""
    queue.client.config_resetstat()
    call()
    stats = queue.client.info("commandstats")
    found = {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()}
    return {name: n for name, n in found.items() if name not in ("eval", "config|resetstat", "info")}


def add(queue: ScriptQueue, first: int) -> None:
    queue.add([(str(id), b"r" * 60) for id in range(first, first + BATCH)])


def settle_and_claim(queue: ScriptQueue, ids: list[str], want: int) -> list[str]:
    return queue.claim(
        want, keep=BATCH, completed=[(id, b"o" * 40) for id in ids], published=[("completed", b"x")]
    )


@pytest.fixture
def busy(queue: ScriptQueue) -> list[str]:
    """A batch is stored as completed, a batch is held, the others wait and are more than the next two."""
    queue.register("s1")
    for first in range(1, 6 * BATCH, BATCH):
        add(queue, first)
    ids = queue.claim(BATCH)
    return settle_and_claim(queue, ids, BATCH)


def test_an_add_of_plain_jobs(queue: ScriptQueue) -> None:
    queue.open()
    add(queue, 1)
    add(queue, 1 + BATCH)  # with two tokens in `wake`
    assert commands_of(queue, lambda: add(queue, 1 + 2 * BATCH)) == ADD


def test_an_exchange_of_plain_jobs(queue: ScriptQueue, busy: list[str]) -> None:
    assert len(busy) == BATCH
    commands = commands_of(queue, lambda: settle_and_claim(queue, busy, BATCH))
    assert commands == EXCHANGE


def test_the_size_of_the_batch_does_not_matter(queue: ScriptQueue, busy: list[str]) -> None:
    few = commands_of(queue, lambda: settle_and_claim(queue, busy[:10], 10))
    assert few == EXCHANGE


@pytest.mark.parametrize(
    ("feature", "extra"),
    [
        # Plans stay with finished jobs, for a retry by hand: whoever leaves may have one.
        ("prioritized", {"exists": 3, "hdel": 1}),
        ("deduplicated", {"exists": 3, "hdel": 1, "hset": 1}),
        ("retried", {"zrange": 0}),
        ("retried later", {}),
    ],
)
def test_what_jobs_of_other_kinds_cost_those_beside_them(
    queue: ScriptQueue, busy: list[str], feature: str, extra: dict[str, int]
) -> None:
    """Attempts, delays and keys of others exist; a call without such jobs looks at none of them."""
    if feature == "prioritized":
        queue.add(others=[("901", b"r", "p", 5)])
    elif feature == "deduplicated":
        queue.add(others=[("902", b"r", "dw", "3600000\0s 0 key")])
    elif feature == "retried":
        queue.exchange(others=[("r", busy.pop(), "1 0 0 0", 0, b"o")])
    else:
        queue.exchange(others=[("r", busy.pop(), "1 0 0 0", 3_600_000, b"o")])
    commands = commands_of(queue, lambda: settle_and_claim(queue, busy, BATCH))
    assert commands == {name: n + extra.get(name, 0) for name, n in EXCHANGE.items()}
