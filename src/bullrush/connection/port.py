"""A queue's way to its server from asyncio: its session on the app's link, and a driver for operations."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from bullrush._core.producer import Confirmation, Producer
from bullrush._core.session import ReplyError
from bullrush.errors import ConnectionLost, NotDurable
from bullrush.operations.durability import confirmation_of
from bullrush.operations.requests import Numbered, Operation, Read, Request, Run, script_frame

if TYPE_CHECKING:
    from bullrush._core.job import JobBase
    from bullrush.connection.link import Link
    from bullrush.keys import Keys
    from bullrush.options import Replicas

ResultT = TypeVar("ResultT")

logger = logging.getLogger("bullrush")


def make_producer(keys: Keys, codec_name: str) -> Producer:
    """Make the producing state machine of a queue."""
    names = ("open", "add", "add_special", "reserve")
    opening, add, add_special, reserve = (script_frame(name, keys) for name in names)
    return Producer(opening, add, add_special, reserve, codec_name.encode())


class AsyncReader:
    """Looks at a server without a session: a queue that is not there is not made by it."""

    def __init__(self, link: Link) -> None:
        self.link = link

    async def run(self, operation: Operation[ResultT]) -> ResultT:
        """Perform what an operation asks for, one request after the other."""
        try:
            request = next(operation)
            while True:
                try:
                    reply = await self._perform(request)
                except ReplyError as error:
                    request = operation.throw(error)
                else:
                    request = operation.send(reply)
        except StopIteration as stop:
            return cast("ResultT", stop.value)

    async def _perform(self, request: Request) -> object:
        if isinstance(request, Read):
            return await self.link.call_all(request.frames, again=True)
        assert isinstance(request, Run), "nothing can be changed without a session"
        return await self._run_script(request)

    async def _run_script(self, request: Run) -> object:
        try:
            return await self.link.call(request.frame.call(*request.arguments), again=True)
        except ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        return await self.link.call(request.frame.call(*request.arguments, by_text=True), again=True)


class AsyncPort(AsyncReader):
    """What a queue and its jobs do on the wire."""

    def __init__(self, link: Link, keys: Keys, codec_name: str, *, timeout: float) -> None:
        super().__init__(link)
        self.keys = keys
        self.timeout = timeout
        self.producer = make_producer(keys, codec_name)
        self.producer.on_missing = self._report_missing
        self._confirmations = Confirmations(self.producer)
        link.attach(self.producer, self)

    def _report_missing(self, jobs: int) -> None:
        logger.error(
            "queue %r: %d acknowledged jobs are missing on the server that answers now (failover, restore)",
            self.keys.queue,
            jobs,
        )

    # Adding.

    def add(self, job: JobBase, confirmation: Confirmation | None = None) -> Awaitable[JobBase]:
        """Store one job; the result is the job with its id, once the server has it."""
        producer = self.producer
        if producer.full:
            return self._add_later(job, confirmation)
        # As in `push`, whose calls would be a twentieth of what an add costs.
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[object] = loop.create_future()
        producer.push(job, waiter, loop.time() + self.timeout, confirmation)
        protocol = self.link.ready_on(loop)
        if protocol is None:
            self.link.pump(producer)
        else:
            protocol.pump(producer)
        return cast("Awaitable[JobBase]", waiter)

    async def _add_later(self, job: JobBase, confirmation: Confirmation | None) -> JobBase:
        await self._wait_for_space()
        return cast("JobBase", await self.push(job, confirmation))

    async def confirmation(self, durability: Literal["fsync"] | Replicas | None) -> Confirmation | None:
        """Return what confirms this durability on the server that answers now.

        Raises UnsupportedServer where the server cannot keep it.
        """
        if durability is None:
            return None
        known = self._confirmations.known(durability)
        return known or self._confirmations.keep(
            durability, await self.run(confirmation_of(durability, self.keys))
        )

    def known_confirmation(self, durability: Literal["fsync"] | Replicas) -> Confirmation | None:
        """Return the same if it is known already; else `prepare` finds it."""
        return self._confirmations.known(durability)

    async def prepare(self) -> None:
        """Find the confirmations that were asked for and were not known."""
        for durability in self._confirmations.take_asked():
            await self.confirmation(durability)

    def window(
        self, on_stored: Callable[[list[Any]], object], confirmation: Confirmation | None = None
    ) -> Window:
        """Send chunks, a few in flight at a time."""
        return Window(self, on_stored, confirmation)

    async def wait_all(self, waiters: list[asyncio.Future[object]]) -> None:
        """Wait for all of them, then raise the first error."""
        for outcome in await asyncio.gather(*waiters, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def pause(self, seconds: float) -> None:
        """Wait without a condition: a question that only the server can answer is asked again."""
        await asyncio.sleep(seconds)

    def send_all(self, jobs: list[JobBase], confirmation: Confirmation | None) -> asyncio.Future[object]:
        """Buffer a chunk and return the future of its storing."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[object] = loop.create_future()
        self.producer.push_all(jobs, waiter, loop.time() + self.timeout, confirmation)
        self.link.pump(self.producer)
        return waiter

    def push(self, job: JobBase, confirmation: Confirmation | None = None) -> asyncio.Future[object]:
        """Buffer one job and return the future of its storing."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[object] = loop.create_future()
        self.producer.push(job, waiter, loop.time() + self.timeout, confirmation)
        self.link.pump(self.producer)
        return waiter

    async def _wait_for_space(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self.producer.wait_for_space(waiter)
        try:
            async with asyncio.timeout(self.timeout):
                await waiter
        except TimeoutError:
            raise ConnectionLost(
                f"the buffer of {self.producer.pending_jobs:,} jobs did not drain within {self.timeout:g} s: "
                "this job was not stored",
                took_effect=False,
            ) from None

    async def opened(self) -> None:
        """Wait until the producer has a session, so that ids are at hand."""
        await self.run(_touch(self.keys))

    # Operations.

    async def _perform(self, request: Request) -> object:
        if isinstance(request, Numbered):
            return await self._numbered(request)
        return await super()._perform(request)

    async def _numbered(self, request: Numbered) -> object:
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self.producer.push_script(request.frame, request.arguments, waiter, loop.time() + self.timeout)
        self.link.pump(self.producer)
        return await waiter

    # Deadlines.

    def tick(self, now: float) -> bool:
        """Give up what is overdue; see Link."""
        return bool(self.producer.expire(now))

    @property
    def busy(self) -> bool:
        """Say whether anybody waits."""
        return bool(self.producer.busy)

    async def flush(self) -> None:
        """Wait until everything that was buffered is stored or refused."""
        while self.producer.busy:
            waiters = self.producer.waiters()
            if not waiters:
                await asyncio.sleep(0.001)
                continue
            await asyncio.wait(waiters)

    async def close(self) -> None:
        """Let what is buffered leave, then forget the session."""
        if self.producer.pending or self.producer.inflight:
            await self.flush()
        self.link.detach(self.producer)


class Confirmations:
    """What confirms the durabilities that were asked for, as long as the same connection lives.

    The next one may lead to another server.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._session = b""
        self._known: dict[object, Confirmation] = {}
        self._asked: list[Literal["fsync"] | Replicas] = []

    def known(self, durability: Literal["fsync"] | Replicas) -> Confirmation | None:
        """Return it if the connection is still the one on which it was found; else remember the question."""
        if self._session != self._producer.id:
            self._known.clear()
        found = self._known.get(durability)
        if found is None and durability not in self._asked:
            self._asked.append(durability)
        return found

    def keep(self, durability: Literal["fsync"] | Replicas, found: Confirmation) -> Confirmation:
        """Remember it for this connection."""
        self._session = self._producer.id
        self._known[durability] = found
        return found

    def take_asked(self) -> list[Literal["fsync"] | Replicas]:
        """Return the questions, and forget them."""
        asked, self._asked = self._asked, []
        return asked


class Window:
    """Chunks in flight: so many that the server never waits for the next, so few that memory stays flat."""

    FLIGHTS = 3

    def __init__(
        self, port: AsyncPort, on_stored: Callable[[list[Any]], object], confirmation: Confirmation | None
    ) -> None:
        self._port = port
        self._on_stored = on_stored
        self._confirmation = confirmation
        self._flights: deque[asyncio.Future[object]] = deque()

    async def send(self, jobs: list[JobBase]) -> None:
        """Send one chunk; raises what became of an earlier one."""
        while len(self._flights) >= self.FLIGHTS:
            await self._settle_first()
        if self._port.producer.full:
            await self._port._wait_for_space()
        self._flights.append(self._port.send_all(jobs, self._confirmation))

    async def _settle_first(self) -> None:
        first = self._flights[0]
        stored = await asyncio.shield(first)
        self._flights.popleft()
        self._on_stored(cast("list[JobBase]", stored))

    async def finish(self) -> None:
        """Wait for all chunks."""
        while self._flights:
            await self._settle_first()

    async def settle(self, error: BaseException) -> None:
        """After an error: learn the fate of every chunk in flight, so that what it tells is exact."""
        flights, self._flights = list(self._flights), deque()
        unconfirmed: list[str] = []
        for outcome in await asyncio.gather(*flights, return_exceptions=True):
            if isinstance(outcome, list):
                self._on_stored(cast("list[JobBase]", outcome))
            elif isinstance(outcome, NotDurable):
                unconfirmed += outcome.ids
        if isinstance(error, NotDurable):
            error.ids = unconfirmed


def _touch(keys: Keys) -> Operation[None]:
    """Open a session without changing anything."""
    yield Numbered(script_frame("reserve", keys), (0,))
