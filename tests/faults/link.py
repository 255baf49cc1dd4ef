"""One connection through the proxy: two lanes of frames, each with what was ordered to go wrong on it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from tests.faults.resp import Frames, NotResp, first_words, is_push

Direction = Literal["up", "down"]  # up: to the server
BOTH: tuple[Direction, ...] = ("up", "down")
RST_ON_CLOSE = struct.pack("ii", 1, 0)
QUEUED = 64  # frames a lane takes in before it stops reading: a blocked lane pushes back, as a network does


class Fault:
    """Something that was ordered to go wrong: wait until it has, and end it if it lasts."""

    def __init__(self, loop: asyncio.AbstractEventLoop, label: str) -> None:
        self._loop = loop
        self._label = label
        self._begun = threading.Event()
        self.over = asyncio.Event()
        self.times = 0  # how often it has happened

    @property
    def happened(self) -> bool:
        return self._begun.is_set()

    def begin(self) -> None:
        self.times += 1
        self._begun.set()

    def wait(self, timeout: float = 10) -> None:
        """Block until it has happened; AssertionError after `timeout` seconds."""
        if not self._begun.wait(timeout):
            raise AssertionError(f"{self._label} has not happened within {timeout} s")

    async def wait_async(self, timeout: float = 10) -> None:
        """Like `wait`, with the event loop running meanwhile."""
        await asyncio.to_thread(self.wait, timeout)

    def release(self) -> None:
        """Let what is held go on its way, now, even if its sender is gone."""
        self._loop.call_soon_threadsafe(self.over.set)


@dataclass
class Rule:
    """What happens to the `left`-th matching request from now on, or to its reply."""

    action: Literal["drop", "hold"]
    on: Literal["request", "reply"]
    match: str | bytes
    left: int
    after: int
    fault: Fault

    def hits(self, name: str, request: bytes) -> bool:
        matches = name == self.match if isinstance(self.match, str) else self.match in request
        self.left -= matches
        return matches and self.left == 0


@dataclass
class Lottery(Rule):
    """The same for each matching request, with a probability, until it is revoked."""

    probability: float = 0.0
    chance: random.Random = field(default_factory=random.Random)

    def hits(self, name: str, request: bytes) -> bool:
        matches = name == self.match if isinstance(self.match, str) else self.match in request
        return matches and self.chance.random() < self.probability


@dataclass
class Conditions:
    """The state of the network, shared by all links; touched on the proxy's loop only."""

    scripts: dict[str, str]
    rules: list[Rule] = field(default_factory=list)
    delay: dict[Direction, float] = field(default_factory=lambda: {"up": 0.0, "down": 0.0})
    passable: dict[Direction, asyncio.Event] = field(
        default_factory=lambda: {w: asyncio.Event() for w in BOTH}
    )
    slice: dict[Direction, int] = field(default_factory=lambda: {"up": 0, "down": 0})  # bytes, 0 = whole
    calls: Counter[str] = field(default_factory=Counter)
    sizes: dict[str, int] = field(default_factory=dict)  # bytes of the last request
    errors: list[NotResp] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.unblock()

    def block(self, ways: Iterable[Direction]) -> None:
        for way in ways:
            self.passable[way].clear()

    def unblock(self) -> None:
        for gate in self.passable.values():
            gate.set()

    def name(self, request: bytes) -> str:
        """The script's name for an EVALSHA or EVAL of one that is known, else the command in capitals."""
        words = [word.decode(errors="replace") for word in first_words(request, 2)]
        command = words[0].upper()
        if command == "EVALSHA":
            return self.scripts.get(words[1], command)
        if command == "EVAL":
            return self.scripts.get(hashlib.sha1(words[1].encode()).hexdigest(), command)
        return command

    def rule_for(self, request: bytes) -> Rule | None:
        name = self.name(request)
        self.calls[name] += 1
        self.sizes[name] = len(request)
        hit = [rule for rule in self.rules if rule.hits(name, request)]
        self.rules = [rule for rule in self.rules if rule.left > 0]
        return hit[0] if hit else None


@dataclass
class Parcel:
    """A frame on its way, and when and how it may arrive."""

    data: bytes
    due: float
    rule: Rule | None = None
    is_last: bool = False


class Lane:
    """One direction of a link: takes frames in, keeps their order, delivers each when conditions let it."""

    def __init__(
        self,
        direction: Direction,
        conditions: Conditions,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        cut: Callable[[], None],
    ) -> None:
        self._direction: Direction = direction
        self._conditions = conditions
        self._source = source
        self._sink = sink
        self._cut = cut
        self._queue: asyncio.Queue[Parcel] = asyncio.Queue(QUEUED)
        self._allowance: tuple[int, Fault] | None = None  # bytes that still pass before the cut
        self.sender_is_gone = False
        self._deaf = False  # nobody listens at the far end: deliver to nowhere

    async def read(self, plan: Callable[[bytes], Rule | None]) -> None:
        """Take frames in until the sender is gone; what it began and didn't finish goes on as it is."""
        frames = Frames()
        while data := await self._receive():
            for frame in frames.feed(data):
                await self._queue.put(Parcel(frame, self._due(), plan(frame)))
        self.sender_is_gone = True
        await self._queue.put(Parcel(frames.rest(), self._due(), is_last=True))

    async def write(self) -> None:
        """Deliver until the last parcel, then tell the receiver that nothing follows."""
        while True:
            parcel = await self._queue.get()
            await self._hindrances(parcel)
            await self._deliver(parcel)
            if parcel.is_last:
                return self.end()

    def end(self) -> None:
        """Send FIN, and drop whatever else would go this way."""
        if not self._deaf and self._sink.can_write_eof():
            with contextlib.suppress(OSError):
                self._sink.write_eof()
        self._deaf = True

    def _due(self) -> float:
        return time.monotonic() + self._conditions.delay[self._direction]

    async def _receive(self) -> bytes:
        try:
            return await self._source.read(65536)
        except OSError:
            return b""

    async def _hindrances(self, parcel: Parcel) -> None:
        if (early := parcel.due - time.monotonic()) > 0:
            await asyncio.sleep(early)  # time is the subject
        await self._conditions.passable[self._direction].wait()
        rule = parcel.rule
        if rule is not None and rule.action == "hold":
            rule.fault.begin()
            await rule.fault.over.wait()
        if rule is not None and rule.action == "drop":
            self._allowance = (rule.after, rule.fault)

    async def _deliver(self, parcel: Parcel) -> None:
        data = parcel.data
        if self._allowance is not None:
            left, fault = self._allowance
            data = data[:left]
            self._allowance = (left - len(data), fault)
        await self._send(data)
        if self._allowance is not None and self._allowance[0] == 0:
            self._cut()
            self._allowance[1].begin()
            self._deaf, self._allowance = True, None

    async def _send(self, data: bytes) -> None:
        size = self._conditions.slice[self._direction] or len(data)
        for start in range(0, len(data), size or 1):
            if self._deaf:
                return
            try:
                self._sink.write(data[start : start + size])
                await self._sink.drain()
            except OSError:
                self._deaf = True
            if size < len(data):
                await asyncio.sleep(0)  # another turn of the loop, so another packet


class Link:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(
        self,
        conditions: Conditions,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._conditions = conditions
        self._client, self._server = client[1], server[1]
        self._awaited: deque[Rule | None] = deque()  # one entry per request whose reply is still to come
        self.lanes: dict[Direction, Lane] = {
            "up": Lane("up", conditions, client[0], server[1], self.cut),
            "down": Lane("down", conditions, server[0], client[1], self.cut),
        }

    async def run(self) -> None:
        """Carry frames both ways until both sides are done."""
        up, down = self.lanes["up"], self.lanes["down"]
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(up.read(self._plan_request))
                tasks.create_task(up.write())
                tasks.create_task(down.read(self._plan_reply))
                tasks.create_task(down.write())
        except* NotResp as group:
            self._conditions.errors += [error for error in group.exceptions if isinstance(error, NotResp)]
        finally:
            self.cut()

    def cut(self) -> None:
        """Close both connections after what was already written."""
        self._client.close()
        self._server.close()

    def reset(self) -> None:
        """Close both connections at once, with RST to the client."""
        sock: socket.socket | None = self._client.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
        self.abort()

    def abort(self) -> None:
        """Close both connections at once."""
        self._client.transport.abort()
        self._server.transport.abort()

    def _plan_request(self, request: bytes) -> Rule | None:
        rule = self._conditions.rule_for(request)
        on_reply = rule if rule is not None and rule.on == "reply" else None
        self._awaited.append(on_reply)
        return None if on_reply else rule

    def _plan_reply(self, reply: bytes) -> Rule | None:
        if is_push(reply) or not self._awaited:
            return None
        return self._awaited.popleft()
