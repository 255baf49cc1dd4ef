"""What a durability means on the server that answers: refused where it cannot be kept, else how to confirm.

`fsync`, with appendfsync always: the server writes to disk before it answers. Each call asks whether that is
still so. With appendfsync everysec: WAITAOF, which comes with the next sync, where its answer can be
believed (some answer before the sync).
`Replicas(n)`: WAIT, which counts the replicas that have received everything written before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from bullrush._core.frames import encode_command
from bullrush._core.producer import Confirmation
from bullrush._core.session import ReplyError
from bullrush.errors import UnsupportedServer
from bullrush.operations.replies import read_config, read_info
from bullrush.operations.requests import Operation, read
from bullrush.operations.waitaof import probe_waitaof
from bullrush.options.values import Replicas

if TYPE_CHECKING:
    from bullrush.keys import Keys

# ms; WAIT holds up the connection, so it is asked again instead of waiting long.
PATIENCE = 500
NEEDS = "nothing was stored; set appendonly to yes and appendfsync to always, or add with durability='memory'"


def confirmation_of(durability: Literal["fsync"] | Replicas, keys: Keys) -> Operation[Confirmation]:
    """Return what confirms this durability. Raises UnsupportedServer where the server cannot keep it."""
    if isinstance(durability, Replicas):
        return (yield from _by_replicas(durability))
    return (yield from _by_disk(keys))


def _by_replicas(wanted: Replicas) -> Operation[Confirmation]:
    level = "'replica'" if wanted.count == 1 else repr(wanted)
    facts = yield from _replication()
    if facts.get("role", "master") != "master":
        raise UnsupportedServer(
            f"durability={level} was asked of a replica: nothing was stored; connect to the primary"
        )
    connected = int(facts.get("connected_slaves", "0"))
    if connected < wanted.count:
        raise UnsupportedServer(
            f"durability={level} needs {wanted.count} replicas, the server has {connected}: nothing was "
            "stored; start replicas, or add with durability='memory'"
        )

    def holds(reply: object) -> bool:
        return isinstance(reply, int) and reply >= wanted.count

    return Confirmation(level, encode_command("WAIT", wanted.count, PATIENCE), holds)


def _replication() -> Operation[dict[str, str]]:
    try:
        replies = cast("list[bytes]", (yield read(("INFO", "replication"))))
    except ReplyError as error:
        raise UnsupportedServer(
            f"durability by replicas needs INFO, and the server refuses it ({error}): nothing was stored"
        ) from error
    return read_info(replies[0])


def _by_disk(keys: Keys) -> Operation[Confirmation]:
    settings = yield from _persistence()
    if settings.get("appendonly") != "yes":
        raise UnsupportedServer(
            f"durability='fsync' needs an append-only file, the server has appendonly "
            f"{settings.get('appendonly')}: {NEEDS}"
        )
    policy = settings.get("appendfsync")
    if policy == "always":
        return Confirmation("'fsync'", encode_command(*_PERSISTENCE), _is_always)
    if policy == "everysec":
        return (yield from _by_waiting(keys))
    raise UnsupportedServer(
        f"durability='fsync' needs a server that writes to disk before it answers, this one has "
        f"appendfsync {policy}: {NEEDS}"
    )


def _by_waiting(keys: Keys) -> Operation[Confirmation]:
    probe = yield from probe_waitaof(keys)
    if not probe.supported:
        why = "has no WAITAOF, or does not allow it"
    elif probe.premature:
        why = "answers WAITAOF before the data is on the disk"
    elif not all(probe.local):
        why = "did not sync within two seconds"
    else:
        return Confirmation("'fsync'", encode_command("WAITAOF", 1, 0, PATIENCE), _is_synced)
    raise UnsupportedServer(
        f"durability='fsync' needs an answer that comes after the disk: the server has appendfsync everysec "
        f"and {why}: {NEEDS}"
    )


def _is_synced(reply: object) -> bool:
    return isinstance(reply, list) and cast("list[object]", reply)[:1] == [1]


_PERSISTENCE = ("CONFIG", "GET", "append*")


def _persistence() -> Operation[dict[str, str]]:
    try:
        replies = cast("list[object]", (yield read(_PERSISTENCE)))
    except ReplyError as error:
        raise UnsupportedServer(
            f"durability='fsync' needs CONFIG GET, and the server refuses it ({error}): nothing was stored; "
            "allow it (+config|get), or add with durability='memory'"
        ) from error
    return read_config(replies[0])


def _is_always(reply: object) -> bool:
    settings = read_config(reply)
    return settings.get("appendonly") == "yes" and settings.get("appendfsync") == "always"
