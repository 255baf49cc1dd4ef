"""Call the scripts by hand on a real server, as a client in another language would."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import redis

from bullrush.keys import Keys
from bullrush.scripts import load

NUMBER = "77"
Argument = bytes | str | int


class ScriptQueue:
    """One queue, one session, at most one worker."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self.client = client
        self.keys = Keys(prefix, "q")
        self.session = "s1"
        self.number = 0

    # Calls.

    def run(self, name: str, *arguments: Argument, held: Sequence[bytes] = ()) -> Any:
        """Call a script with exactly these arguments."""
        script = load(name)
        keys = script.names(self.keys, tuple(held))
        return self.client.execute_command("EVAL", script.source, len(keys), *keys, *arguments)

    def next(self, name: str, *arguments: Argument, held: Sequence[bytes] = ()) -> Any:
        """Call a changing script under the session, with the number whose turn it is."""
        reply = self.run(name, self.session, self.number + 1, *arguments, held=held)
        self.number += 1
        return reply

    @property
    def held(self) -> list[bytes]:
        return [self.keys.held(NUMBER)]

    def open(
        self,
        session: str = "s1",
        previous: str = "",
        *,
        block: int = 64,
        epoch: str = "e1",
        codec: str = "msgpack",
        events: str = "",
        number: str = "",
        register: int = 0,
        lease: int = 30_000,
        host: str = "{}",
    ) -> Any:
        """Open a session and make it the one that later calls use."""
        arguments = (session, previous, block, epoch, codec, events, number, register, lease, host)
        reply = self.run("open", *arguments, held=self.held if number else ())
        self.session, self.number = session, 0
        return reply

    def register(self, session: str = "s1", **options: Any) -> Any:
        """Open as a worker that is new."""
        return self.open(session, number=NUMBER, register=1, block=0, **options)

    def add(
        self,
        plain: Iterable[tuple[str, bytes]] = (),
        others: Iterable[tuple[str, bytes, str, Argument]] = (),
    ) -> Any:
        plain = list(plain)
        others = [(id, record, f"{place} {value}".rstrip()) for id, record, place, value in others]
        flat: list[Argument] = [part for job in (*plain, *others) for part in job]
        if others:
            return self.next("add_special", len(plain), len(others), "", *flat)
        return self.next("add", len(plain), "", *flat)

    def exchange(
        self,
        *,
        want: int = 0,
        free: int | None = None,
        want_suspects: int = 0,
        alone: int = 1,
        look: int = 0,
        keep: int = 1_000,
        age: int = -1,
        limit: str = "",
        completed: Iterable[tuple[str, bytes]] = (),
        others: Iterable[tuple[Argument, ...]] = (),
        published: Iterable[tuple[str, bytes]] = (),
    ) -> Any:
        completed, others, published = list(completed), list(others), list(published)
        flat = [part for group in (completed, others, published) for outcome in group for part in outcome]
        free = want if free is None else free
        head = (NUMBER, 30_000, want, free, want_suspects, alone, look, keep, age, limit)
        sizes = (len(completed), len(others), len(published))
        return self.next("exchange", *head, *sizes, *flat, held=self.held)

    def claim(self, want: int, **options: Any) -> list[str]:
        """Claim, and return the ids."""
        listed = self.exchange(want=want, **options)[3]
        return str(listed.decode()).split()

    # Looking.

    def count_held(self) -> int:
        return int(self.client.hget(self.keys["meta"], "held") or 0)

    def line(self) -> list[bytes]:
        """The waiting list, the next one first."""
        return self.client.lrange(self.keys["waiting"], 0, -1)[::-1]

    def snapshot(self) -> dict[bytes, bytes]:
        """Everything on the server."""
        return {key: self.client.dump(key) for key in self.client.scan_iter()}
