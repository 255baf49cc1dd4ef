"""A TCP proxy before a real server that makes chosen things go wrong, exactly once and where the test says.

    with FaultProxy(server.port, scripts={sha: "exchange"}) as proxy:
        lost = proxy.drop_reply("exchange", call=3)  # the server runs it, the client never hears of it
        ...                                          # work on proxy.url
        lost.wait()

It runs on a thread of its own, so it goes on while the test's event loop is blocked, and every method may be
called from any thread. It counts one reply per request: no place for SUBSCRIBE, MONITOR or CLIENT REPLY OFF.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Literal, Self, TypeVar

from tests.faults.link import BOTH, Conditions, Direction, Fault, Link, Lottery, Rule

T = TypeVar("T")


class FaultProxy:
    """Forwards to `port` on the loopback interface; `scripts` names scripts by their SHA1 (hex) for matching.

    A `match` of str is a script name from `scripts` or a command in capitals ("BLPOP"); bytes are a piece of
    the request (b"" fits every request). `call` counts matching requests from the order on, over all
    connections, beginning at 1.
    """

    def __init__(self, port: int, *, scripts: Mapping[str, str] | None = None) -> None:
        self._upstream = port
        self._scripts = dict(scripts or {})
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def connections(self) -> int:
        """How many connections the server has, those included whose client is gone."""
        return self._call(lambda: len(self._links))

    @property
    def clients(self) -> int:
        """How many clients are connected. Wait for 0 before you release what must arrive late."""
        return self._call(lambda: sum(not link.lanes["up"].sender_is_gone for link in self._links))

    def calls(self, name: str) -> int:
        """How often this script or command was sent through since the start."""
        return self._call(lambda: self._conditions.calls[name])

    def request_sizes(self) -> dict[str, int]:
        """Bytes of the last request of each script and command that was sent through."""
        return self._call(lambda: dict(self._conditions.sizes))

    # Faults of one call

    def drop_request(self, match: str | bytes, *, call: int = 1, after: int = 0) -> Fault:
        """Cut the connection once `after` bytes from this request on have reached the server."""
        return self._order("drop", "request", match, call, after)

    def drop_reply(self, match: str | bytes, *, call: int = 1, after: int = 0) -> Fault:
        """Let the server run this call; cut once `after` bytes from its reply on have reached the client."""
        return self._order("drop", "reply", match, call, after)

    def hold_request(self, match: str | bytes, *, call: int = 1) -> Fault:
        """Keep this request and all behind it until `release()`; they arrive then, client or no client."""
        return self._order("hold", "request", match, call, 0)

    def hold_reply(self, match: str | bytes, *, call: int = 1) -> Fault:
        """Let the server run this call, keep its reply and all behind it until `release()`."""
        return self._order("hold", "reply", match, call, 0)

    def drop_replies(
        self, match: str | bytes, probability: float, *, seed: int | str, after: int = 0
    ) -> Fault:
        """Do that to each call with a probability, until `revoke`; `times` says how often it has happened.

        The same seed chooses the same calls, counted over all connections in the order of their arrival.
        """
        fault = Fault(self._loop, f"drop of replies of {match!r}")
        chance = random.Random(seed)
        rule = Lottery("drop", "reply", match, 1, after, fault, probability=probability, chance=chance)
        self._call(lambda: self._conditions.rules.append(rule))
        return fault

    def revoke(self, fault: Fault) -> None:
        """Take an order back, as far as it has not happened yet."""

        def act() -> None:
            conditions = self._conditions
            conditions.rules = [rule for rule in conditions.rules if rule.fault is not fault]

        self._call(act)

    # Faults of the network, until heal()

    def slice(self, size: int, direction: Direction | None = None) -> None:
        """Let every frame from now on arrive in packets of so many bytes, one way or both."""
        self._call(lambda: self._conditions.slice.update(dict.fromkeys(_ways(direction), size)))

    def delay(self, seconds: float, direction: Direction | None = None) -> None:
        """Let every frame from now on arrive this much later, one way or both; order is kept."""
        self._call(lambda: self._conditions.delay.update(dict.fromkeys(_ways(direction), seconds)))

    def black_hole(self, direction: Direction | None = None) -> None:
        """Let nothing arrive, one way or both, on old and new connections, without closing any."""
        self._call(lambda: self._conditions.block(_ways(direction)))

    def heal(self) -> None:
        """End delays, slices and black holes. What is on its way then arrives, as it does on a real network."""
        self.delay(0)
        self.slice(0)
        self._call(lambda: self._conditions.unblock())

    def lead_to(self, port: int) -> None:
        """Let new connections end at another server; those that are open stay where they are."""
        self._upstream = port

    # Faults of the connections that are open now

    def cut(self) -> None:
        """Close every connection (FIN)."""
        self._each(Link.cut)

    def reset(self) -> None:
        """Close every connection at once, with RST to the client."""
        self._each(Link.reset)

    def half_close(self, direction: Direction) -> None:
        """Send FIN this way only ("down": the client reads end of file); the other way stays open."""
        self._each(lambda link: link.lanes[direction].end())

    def start(self) -> None:
        """Begin to listen on a free port."""
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the proxy's thread has not begun to listen within 10 s")

    def close(self) -> None:
        """Close everything. Raises what the clients or the server sent that was no RESP."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        if self._conditions.errors:
            raise ExceptionGroup("bytes through the proxy that were no RESP", self._conditions.errors)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _order(
        self,
        action: Literal["drop", "hold"],
        on: Literal["request", "reply"],
        match: str | bytes,
        call: int,
        after: int,
    ) -> Fault:
        fault = Fault(self._loop, f"{action} of the {on} of {match!r}, call {call},")
        rule = Rule(action, on, match, call, after, fault)
        self._call(lambda: self._conditions.rules.append(rule))
        return fault

    def _each(self, action: Callable[[Link], None]) -> None:
        def act() -> None:
            for link in self._links:
                action(link)

        self._call(act)

    def _call(self, action: Callable[[], T]) -> T:
        """Run on the proxy's loop and wait for it: an order is in force when the method returns."""

        async def run() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._conditions = Conditions(self._scripts)
        listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        listener.close()
        for link in self._links:
            link.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:  # the server is away: the client finds a closed connection
            writer.close()
            return
        link = Link(self._conditions, (reader, writer), server)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)


def _ways(direction: Direction | None) -> tuple[Direction, ...]:
    return BOTH if direction is None else (direction,)
