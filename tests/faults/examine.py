"""After a fault: whatever queue is left on a server, its data fits together."""

from __future__ import annotations

import contextlib
import re

import redis

from bullrush import sync
from bullrush.errors import ConnectionLost
from tests.servers import Server

META = re.compile(r"\{(?P<prefix>[A-Za-z0-9._-]+):(?P<queue>[A-Za-z0-9._-]+)\}:meta")


def examine(server: Server) -> None:
    """Examine every queue on a server that runs and answers; one that a test left stopped says nothing."""
    if not server.is_running:
        return
    with server.client(decode_responses=True) as client:
        try:
            found = [META.fullmatch(key) for key in client.scan_iter("*:meta", count=1000)]
        except redis.RedisError:
            return
    for match in filter(None, found):
        _examine(server, match["prefix"], match["queue"])


def _examine(server: Server, prefix: str, name: str) -> None:
    with (
        contextlib.suppress(ConnectionLost),
        sync.Queue(name, server.url, prefix=prefix, request_timeout="20s") as queue,
    ):
        report = queue.fsck()
        assert report.ok, f"after the test: {report}"
