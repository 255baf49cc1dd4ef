"""What a server does with what it acknowledges, as far as a client can find out."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import cast

from bullrush._core.session import ReplyError
from bullrush.keys import Keys
from bullrush.operations.requests import Operation, read

PATIENCE = 2000  # ms; an honest server answers with the fsync of the second that runs
TOO_FAST = 0.5  # s; behind a sync the next one is a second away (a premature answer was seen to take 0.1)


@dataclass(frozen=True, slots=True)
class WaitAof:
    """How WAITAOF was answered for two writes, one after the other."""

    supported: bool
    local: tuple[int, ...]  # whether the server had synced each, as it says
    seconds: tuple[float, ...]

    @property
    def premature(self) -> bool:
        """Say whether the second answer came before a sync once a second can have happened."""
        return self.supported and all(self.local) and self.seconds[-1] < TOO_FAST


def probe_waitaof(keys: Keys) -> Operation[WaitAof]:
    """Write twice to a key of its own and wait for the sync of each; under `appendfsync everysec`.

    The second write comes just behind the first sync, so an honest answer to it takes about a second.
    """
    key = keys["probe"]
    local: list[int] = []
    seconds: list[float] = []
    supported = True
    try:
        for _ in range(2):
            start = perf_counter()
            replies = yield read(("SET", key, "1", "PX", 60_000), ("WAITAOF", 1, 0, PATIENCE))
            seconds.append(perf_counter() - start)
            local.append(cast("list[list[int]]", replies)[1][0])
    except ReplyError:
        supported = False
    with suppress(ReplyError):
        yield read(("UNLINK", key))
    return WaitAof(supported, tuple(local), tuple(seconds))
