"""A queue's way to its server from blocking code: the twin of AsyncPort, safe to use from several threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from bullrush._core.session import ReplyError
from bullrush.connection.port import Confirmations, make_producer
from bullrush.connection.waiter import Waiter
from bullrush.errors import BullrushError, ConnectionLost, NotDurable
from bullrush.operations.durability import confirmation_of
from bullrush.operations.requests import Numbered, Operation, Read, Request, Run, script_frame

if TYPE_CHECKING:
    from bullrush._core.job import JobBase
    from bullrush._core.producer import Confirmation
    from bullrush.connection.sync_link import SyncLink
    from bullrush.keys import Keys
    from bullrush.options import Replicas

ResultT = TypeVar("ResultT")


class SyncPort:
    """What a queue and its jobs do on the wire."""

    def __init__(self, link: SyncLink, keys: Keys, codec_name: str, *, timeout: float) -> None:
        self.link = link
        self.keys = keys
        self.timeout = timeout
        self.producer = make_producer(keys, codec_name)
        self._confirmations = Confirmations(self.producer)

    # Adding.

    def add(self, job: JobBase, confirmation: Confirmation | None = None) -> JobBase:
        """Store one job and return it with its id, once the server has it."""
        if self.producer.full:
            self.wait_for_space()
        waiter, deadline = self._begin()
        self.producer.push(job, waiter, deadline, confirmation)
        return cast("JobBase", self.link.wait(waiter, deadline))

    def confirmation(self, durability: Literal["fsync"] | Replicas | None) -> Confirmation | None:
        """Return what confirms this durability on the server that answers now.

        Raises UnsupportedServer where the server cannot keep it.
        """
        if durability is None:
            return None
        known = self._confirmations.known(durability)
        return known or self._confirmations.keep(durability, self.run(confirmation_of(durability, self.keys)))

    def window(
        self, on_stored: Callable[[list[Any]], object], confirmation: Confirmation | None = None
    ) -> Window:
        """Send chunks, a few in flight at a time."""
        return Window(self, on_stored, confirmation)

    def send_all(self, jobs: list[JobBase], confirmation: Confirmation | None) -> Waiter:
        """Send a chunk, without waiting for the reply to it."""
        waiter, deadline = self._begin()
        self.producer.push_all(jobs, waiter, deadline, confirmation)
        self.link.drive(lambda: waiter.done() or not self.producer.pending, deadline)
        return waiter

    def _begin(self) -> tuple[Waiter, float]:
        self.link.attach(self.producer, self)
        return Waiter(), monotonic() + self.timeout

    def pause(self, seconds: float) -> None:
        """Wait without a condition: a question that only the server can answer is asked again."""
        sleep(seconds)

    def wait_for_space(self) -> None:
        """Wait until the buffer has space again; raises ConnectionLost after the timeout."""
        waiter, deadline = self._begin()
        self.producer.wait_for_space(waiter)
        self.link.drive(waiter.done, deadline)
        if not waiter.done():
            raise ConnectionLost(
                f"the buffer of {self.producer.pending_jobs:,} jobs did not drain within {self.timeout:g} s: "
                "this job was not stored",
                took_effect=False,
            )
        waiter.value()

    def opened(self) -> None:
        """Wait until the producer has a session."""
        self.run(_touch(self.keys))

    # Operations.

    def run(self, operation: Operation[ResultT]) -> ResultT:
        """Perform what an operation asks for, one request after the other."""
        try:
            request = next(operation)
            while True:
                try:
                    reply = self._perform(request)
                except ReplyError as error:
                    request = operation.throw(error)
                else:
                    request = operation.send(reply)
        except StopIteration as stop:
            return cast("ResultT", stop.value)

    def _perform(self, request: Request) -> object:
        if isinstance(request, Read):
            return self.link.call_all(request.frames)
        if isinstance(request, Run):
            return self._run_script(request)
        return self._numbered(request)

    def _run_script(self, request: Run) -> object:
        try:
            return self.link.call(request.frame.call(*request.arguments))
        except ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        return self.link.call(request.frame.call(*request.arguments, by_text=True))

    def _numbered(self, request: Numbered) -> object:
        waiter, deadline = self._begin()
        self.producer.push_script(request.frame, request.arguments, waiter, deadline)
        return self.link.wait(waiter, deadline)

    # For the link.

    def tick(self, now: float) -> bool:
        """Give up what is overdue; see Client."""
        return self.producer.expire(now)

    def fail(self, error: BullrushError) -> None:
        """Fail everything that waits; see Client."""
        self.producer.fail_all(error)

    def waiters(self) -> list[Waiter]:
        """Return what is not settled; see Client."""
        return self.producer.waiters()

    def flush(self) -> None:
        """Wait until everything is stored or refused, what interrupted calls have left behind included."""
        deadline = monotonic() + self.timeout
        for waiter in self.waiters():
            self.link.drive(waiter.done, deadline)

    def close(self) -> None:
        """Let what is buffered leave, then forget the session."""
        self.flush()
        self.link.detach(self.producer)


class Window:
    """Chunks in flight: so many that the server never waits for one, so few that memory stays flat."""

    FLIGHTS = 3

    def __init__(
        self, port: SyncPort, on_stored: Callable[[list[Any]], object], confirmation: Confirmation | None
    ) -> None:
        self._port = port
        self._on_stored = on_stored
        self._confirmation = confirmation
        self._flights: deque[tuple[Waiter, float]] = deque()

    def send(self, jobs: list[JobBase]) -> None:
        """Send one chunk; raises what became of an earlier one."""
        while len(self._flights) >= self.FLIGHTS or (self._flights and self._flights[0][0].done()):
            self._settle_first()
        if self._port.producer.full:
            self._port.wait_for_space()
        deadline = monotonic() + self._port.timeout
        self._flights.append((self._port.send_all(jobs, self._confirmation), deadline))

    def _settle_first(self) -> None:
        waiter, deadline = self._flights[0]
        stored = self._port.link.wait(waiter, deadline)
        self._flights.popleft()
        self._on_stored(cast("list[JobBase]", stored))

    def finish(self) -> None:
        """Wait for all chunks."""
        while self._flights:
            self._settle_first()

    def settle(self, error: BaseException) -> None:
        """After an error: learn the fate of every chunk in flight, so that what it tells is exact."""
        unconfirmed: list[str] = []
        while self._flights:
            waiter, deadline = self._flights.popleft()
            try:
                self._on_stored(cast("list[JobBase]", self._port.link.wait(waiter, deadline)))
            except NotDurable as other:
                unconfirmed += other.ids
            except BullrushError:
                continue
        if isinstance(error, NotDurable):
            error.ids = unconfirmed


def _touch(keys: Keys) -> Operation[None]:
    """Open a session without changing anything."""
    yield Numbered(script_frame("reserve", keys), (0,))
