"""Find queues on a server."""

from __future__ import annotations

from typing import cast

from bullrush.keys import Keys
from bullrush.operations.requests import Operation, read


def list_queues(prefix: str) -> Operation[list[str]]:
    """Return the names of all queues under a prefix, by looking through all keys of the server."""
    # Names have no colon and no brace, so what stands between these two is one.
    before, behind = Keys(prefix, "\0")["meta"].split(b"\0")
    names: set[str] = set()
    cursor = b"0"
    while True:
        replies = yield read(("SCAN", cursor, "MATCH", before + b"*" + behind, "COUNT", 1000))
        cursor, found = cast("list[tuple[bytes, list[bytes]]]", replies)[0]
        names.update(key[len(before) : -len(behind)].decode() for key in found)
        if cursor == b"0":
            return sorted(names)
