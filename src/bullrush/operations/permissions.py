"""Which commands a user of the server needs, and which of them are denied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from bullrush._core.session import ReplyError
from bullrush.keys import Keys
from bullrush.operations.requests import Operation, Run, script_frame

# What scripts run. tests/integration/test_permissions.py compares this with their text.
BY_SCRIPTS = (
    "EXISTS", "HDEL", "HEXISTS", "HGET", "HINCRBY", "HMGET", "HRANDFIELD", "HSET", "HSTRLEN", "INCRBY",
    "LINDEX", "LLEN", "LPOP", "LPOS", "LPUSH", "LRANGE", "LREM", "LSET", "PEXPIRE", "RPOP", "RPUSH",
    "SADD", "SCARD", "SISMEMBER", "SMEMBERS", "SMISMEMBER", "SREM", "TIME", "TYPE", "UNLINK", "XADD",
    "XLEN", "XRANGE", "XREVRANGE", "XTRIM", "ZADD", "ZCARD", "ZLEXCOUNT", "ZRANGE", "ZRANGEBYSCORE",
    "ZREM", "ZREMRANGEBYLEX", "ZREMRANGEBYRANK", "ZSCORE",
)  # fmt: skip
# What clients send: producers and managers, workers, readers of events.
BY_CLIENTS = (
    "BLPOP", "EVAL", "EVALSHA", "HEXISTS", "HGET", "HGETALL", "HMGET", "LLEN", "LPUSH", "LRANGE",
    "PING", "SCARD", "SMEMBERS", "SMISMEMBER", "SRANDMEMBER", "TIME", "XRANGE", "XREAD", "XREVRANGE",
    "XTRIM", "ZCARD", "ZCOUNT", "ZLEXCOUNT", "ZMSCORE", "ZRANGE", "ZRANGEBYLEX", "ZREVRANGE",
)  # fmt: skip
# What only fsck and doctor use beyond that.
BY_TOOLS = (
    "GET", "HSCAN", "HSETNX", "PERSIST", "PTTL", "SCAN", "SET", "SSCAN", "ZREVRANGEBYLEX", "ZSCAN",
)  # fmt: skip

NEEDED = sorted({*BY_SCRIPTS, *BY_CLIENTS})


def denied(keys: Keys, commands: Sequence[str]) -> Operation[list[str]]:
    """Return those of the commands that the user may not run on the keys of a queue."""
    try:
        told = cast("list[bytes]", (yield Run(script_frame("allowed", keys), tuple(commands))))
    except ReplyError as error:
        if not str(error).startswith("NOPERM"):
            raise
        return ["EVALSHA"]
    return [name.decode() for name in told]
