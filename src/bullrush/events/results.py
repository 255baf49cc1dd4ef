"""Waiting for results: pushed by the event stream, never polled, one subscription for all waits of a queue.

The order of steps is the promise. A wait is registered first. Then workers are told that somebody listens,
so that outcomes are published whole whatever the mode of events; the reader stands behind a fixed entry; and
only then is looked at what is stored. So a job that finishes after the wait began is met by the reader, by
the look, or, when it finished in between and was evicted, in the stream from the moment it was added.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from bullrush._core.session import ReplyError
from bullrush.codec import Values
from bullrush.errors import ConnectionLost, InvalidOption, ServerError
from bullrush.events.decoding import crash
from bullrush.events.entries import LARGE, Entry, Failure, unpack_value
from bullrush.events.kinds import Event
from bullrush.events.reader import Batch, Reader, reader_of
from bullrush.events.stream import START, End, Stream, patiently, split_id
from bullrush.events.waits import Settled, Taker, Wait, load_settled, value_of
from bullrush.operations.outcomes import Outcome, read_outcome
from bullrush.operations.requests import Operation, Run, script_frame

if TYPE_CHECKING:
    from bullrush._core.frames import ScriptFrame
    from bullrush._core.job import JobBase
    from bullrush.job import Job
    from bullrush.queue import Queue

ReturnT = TypeVar("ReturnT")

LISTEN_MS: Final = 60_000
RENEWAL: Final = 20.0
# Programs wait again and again: the subscription stays so long after the last wait.
LINGER: Final = 5.0
PAGE: Final = 500
ENTRIES: Final = 1000
# A job whose adding is unknown finished at most so long before the wait was registered with the server.
LOOK_BACK_MS: Final = 5_000


class Results:
    """The waits of one queue."""

    def __init__(self, queue: Queue[Any, Any]) -> None:
        self._queue = queue
        self._values = Values(queue.codec, queue.name)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._waits: dict[str, Wait] = {}
        self._unchecked: dict[str, None] = {}
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._reader: Reader | None = None
        self._listen_at = 0.0
        self._epoch: bytes | None = None

    # For callers.

    async def wait(self, job: JobBase[Any, Any], limit: float | None) -> object:
        """Wait for one job, at most `limit` seconds, and return its value or raise its failure."""
        async with self._registered([job], limit) as taker:
            return value_of(*await taker.next())

    async def wait_all(self, jobs: Sequence[JobBase[Any, Any]], limit: float | None) -> list[object]:
        """Wait for all jobs and return their values in order; raises the first failure at once."""
        values: dict[str, object] = {}
        async with self._registered(jobs, limit) as taker:
            for _ in range(len(taker.missing)):
                id, settled = await taker.next()
                values[id] = value_of(id, settled)
        return [values[job.id] for job in jobs]

    async def as_completed(
        self, jobs: Sequence[Job[Any, ReturnT]], limit: float | None
    ) -> AsyncIterator[Job[Any, ReturnT]]:
        """Yield jobs as they finish, those that failed too, with their outcome loaded."""
        by_id: dict[str, list[Job[Any, ReturnT]]] = {}
        for job in jobs:
            by_id.setdefault(job.id, []).append(job)
        async for outcomes in self.settled(jobs, limit):
            for id, settled in outcomes:
                for job in by_id[id]:
                    load_settled(job, settled)
                    yield job

    async def settled(
        self, jobs: Sequence[JobBase[Any, Any]], limit: float | None
    ) -> AsyncGenerator[list[tuple[str, Settled]], None]:
        """Yield ids and outcomes as they come, those that came together in one list."""
        async with self._registered(jobs, limit) as taker:
            missing = len(taker.missing)
            while missing:
                outcomes = await taker.next_all()
                missing -= len(outcomes)
                yield outcomes

    async def close(self) -> None:
        """End all waits, with ConnectionLost."""
        task, self._task = self._task, None
        if task is not None and self._loop is asyncio.get_running_loop():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._settle_all(
            ConnectionLost("the queue was closed while its result was waited for", took_effect=None)
        )

    # Registering.

    def register(self, jobs: Sequence[JobBase[Any, Any]], limit: float | None) -> Taker:
        """Note who waits for what, and see that it is looked for."""
        if self._loop is not asyncio.get_running_loop():
            self._loop = asyncio.get_running_loop()
            self._start_afresh()
        for job in jobs:
            self._check(job)
        taker = Taker(limit)
        now = f"{max(0, self._queue._now() - LOOK_BACK_MS)}-0"
        for job in jobs:
            self._register_one(job, taker, now)
        self._wake()
        return taker

    @asynccontextmanager
    async def _registered(
        self, jobs: Sequence[JobBase[Any, Any]], limit: float | None
    ) -> AsyncGenerator[Taker, None]:
        """Wait inside; whatever did not come is forgotten at the end."""
        taker = self.register(jobs, limit)
        try:
            yield taker
        finally:
            self.unregister(taker)

    def _check(self, job: JobBase[Any, Any]) -> None:
        if job.queue != self._queue.name:
            raise InvalidOption(
                f"job {job.id} is of queue {job.queue!r}, not of {self._queue.name!r}; wait for it there"
            )
        if not job.id:
            raise InvalidOption(f"job {job.name!r} has no id: it was not added")

    def _register_one(self, job: JobBase[Any, Any], taker: Taker, now: str) -> None:
        if job.id in taker.missing:
            return
        taker.missing[job.id] = None
        wait = self._waits.get(job.id)
        if wait is None:
            added: bytes | None = job._stream_id
            wait = self._waits[job.id] = Wait(now if not added else added.decode())
        wait.takers.append(taker)
        self._unchecked[job.id] = None

    def unregister(self, taker: Taker) -> None:
        """Forget what somebody waited for and did not get."""
        for id in taker.missing:
            wait = self._waits.get(id)
            if wait is not None:
                with suppress(ValueError):
                    wait.takers.remove(taker)
                if not wait.takers:
                    del self._waits[id]
                    self._unchecked.pop(id, None)
        self._news.set()

    def _wake(self) -> None:
        if self._task is None:
            assert self._loop is not None
            self._task = self._loop.create_task(self._serve(), name=f"bullrush results of {self._queue.name}")
        self._news.set()

    def _settle(self, id: str, settled: Settled) -> None:
        wait = self._waits.pop(id, None)
        if wait is not None:
            self._unchecked.pop(id, None)
            for taker in wait.takers:
                taker.take(id, settled)

    def _settle_all(self, settled: Settled) -> None:
        for id in list(self._waits):
            self._settle(id, settled)

    # Serving: one task as long as anybody waits, and a little longer.

    async def _serve(self) -> None:
        try:
            while True:
                self._news.clear()
                if self._waits:
                    await self._serve_once()
                if not self._unchecked and not await self._rest():
                    return
        finally:
            await self._unsubscribe()

    async def _serve_once(self) -> None:
        try:
            await self._listen()
            await self._look()
        except (ConnectionLost, ServerError) as error:
            self._settle_all(error)
        except ReplyError as error:
            self._settle_all(ServerError(f"results cannot be read: {error}"))
        except Exception as error:
            # Nobody awaits this task: an error is told to those who wait for what it did.
            self._settle_all(error)

    async def _rest(self) -> bool:
        """Wait until there is something to do; False when nobody has waited for a while."""
        assert self._loop is not None
        pause = max(0.0, self._listen_at - self._loop.time()) if self._waits else LINGER
        try:
            async with asyncio.timeout(pause):
                await self._news.wait()
        except TimeoutError:
            if not self._waits:
                # No await from here to the end of the task: a wait that comes later starts another one.
                self._task = None
                return False
        return True

    async def _listen(self) -> None:
        """Have outcomes published whole for the next minute, and follow the stream."""
        assert self._loop is not None
        if self._loop.time() < self._listen_at:
            return
        try:
            _, id, number, epoch = await self._ask("listen", LISTEN_MS)
        except ReplyError as error:
            if not str(error).startswith("SESSION"):
                raise
            # There is no such queue, or no more: the look tells what became of the jobs.
            self._unchecked.update(dict.fromkeys(self._waits))
            end, self._epoch = End(START, 0), None
            self._listen_at = self._loop.time() + 1
        else:
            self._epoch = cast("bytes", epoch)
            end = End(cast("bytes", id).decode(), int(cast("bytes", number)))
            self._listen_at = self._loop.time() + RENEWAL
        if self._reader is None:
            self._reader = reader_of(self._queue.app.address, self._queue.keys, self._queue.codec)
            self._reader.add(self, end)

    async def _unsubscribe(self) -> None:
        reader, self._reader = self._reader, None
        self._listen_at = 0.0
        if reader is not None:
            await reader.remove(self)

    async def _ask(self, script: str, *arguments: str | int) -> list[object]:
        """Run a script that only looks; see `_patiently`."""
        frame = script_frame(script, self._queue.keys)
        return await self._patiently(lambda: self._queue._port.run(_run(frame, arguments)))

    async def _patiently(self, ask: Callable[[], Awaitable[list[ReturnT]]]) -> list[ReturnT]:
        return await patiently(ask, self._queue.app.request_timeout)

    # Looking at what is stored.

    async def _look(self) -> None:
        gone: list[str] = []
        self._forget_obliterated()
        while self._unchecked:
            ids = [id for id, _ in zip(self._unchecked, range(PAGE), strict=False)]
            answers = await self._ask("finished", *ids)
            for id, answer in zip(ids, answers, strict=False):
                self._unchecked.pop(id, None)
                if id in self._waits and not self._looked(id, answer):
                    gone.append(id)
                elif id in self._waits:
                    self._waits[id].epoch = self._epoch
        if gone:
            await self._search(gone)

    def _forget_obliterated(self) -> None:
        """The queue began anew: what was seen in it before is gone, even where an id is used again."""
        for id in list(self._unchecked):
            wait = self._waits.get(id)
            if wait is not None and wait.epoch is not None and wait.epoch != self._epoch:
                self._settle(id, wait.fallback)

    def _looked(self, id: str, answer: object) -> bool:
        """Take what is stored of one job; False: nothing is."""
        if isinstance(answer, bytes):
            self._settle(id, self._read(id, answer))
        elif self._waits[id].fallback is not None:
            self._settle(id, self._waits[id].fallback)
        return answer != 0

    def _read(self, id: str, packed: bytes) -> Settled:
        """A value that cannot be decoded is told to those who wait for it."""
        try:
            return read_outcome(packed, self._values, id)
        except Exception as error:
            return error

    async def _search(self, ids: Iterable[str]) -> None:
        """Search what is kept of the stream: these jobs finished, or were removed, before the look."""
        waiting = [id for id in ids if id in self._waits]
        stream = Stream(self._queue.app.link, self._queue.keys, self._queue.codec)
        first = min((self._waits[id].since for id in waiting), default=(0, 0))
        at, included = f"{first[0]}-{first[1]}", True
        while any(id in self._waits for id in waiting):
            entries = await self._patiently(lambda: stream.after(at, ENTRIES, included=included))  # noqa: B023
            for entry in entries:
                self._read_entry(entry)
            if len(entries) < ENTRIES:
                break
            at, included = entries[-1].id, False
        for id in waiting:
            if id in self._waits:
                self._settle(id, self._waits[id].fallback)

    # From the reader.

    @property
    def kinds(self) -> frozenset[type[Event]]:
        """No events: whole entries are searched for the ids that somebody waits for."""
        return frozenset()

    def take(self, batch: Batch) -> None:
        """Find in a batch what is waited for; see Subscriber."""
        if not self._waits:
            return
        for entry in batch.entries:
            self._read_entry(entry)
        if batch.broken:
            self._listen_at = 0.0
            self._unchecked.update(dict.fromkeys(self._waits))
            self._news.set()

    def _read_entry(self, entry: Entry) -> None:
        for id, packed in entry.outcomes():
            if self._awaited(id, entry):
                self._settle(id, self._read(id, packed))
        for id, packed in entry.completed():
            if self._awaited(id, entry):
                self._take_value(id, entry.at, packed)
        self._read_ends(entry)

    def _take_value(self, id: str, at: int, packed: bytes) -> None:
        if packed == LARGE:
            self._look_again(id, None)
        else:
            self._settle(id, self._completed(id, at, packed))

    def _read_ends(self, entry: Entry) -> None:
        for failure in entry.failed():
            if self._awaited(failure.id, entry):
                self._look_again(failure.id, _failed(entry.at, failure))
        for id in entry.ids(b"crashed"):
            if self._awaited(id, entry):
                self._look_again(id, crash(entry.at))
        for id, _ in entry.id_pairs(b"removed"):
            if self._awaited(id, entry):
                self._settle(id, None)

    def _awaited(self, id: str, entry: Entry) -> bool:
        wait = self._waits.get(id)
        return wait is not None and split_id(entry.id) >= wait.since

    def _completed(self, id: str, at: int, packed: bytes) -> Settled:
        try:
            value = unpack_value(packed, self._values, id)
        except Exception as error:
            return error
        return Outcome(True, 0, at, 0, 0, "", value, None, None, "")

    def _look_again(self, id: str, fallback: Outcome | None) -> None:
        """The stored outcome says more than the entry: fetch it, if it is still there."""
        self._waits[id].fallback = fallback
        self._unchecked[id] = None
        self._news.set()


def _run(frame: ScriptFrame, arguments: tuple[str | int, ...]) -> Operation[list[object]]:
    reply = yield Run(frame, arguments)
    return cast("list[object]", reply)


def _failed(at: int, failure: Failure) -> Outcome:
    made = max(failure.attempts_made, 0)
    return Outcome(False, 0, at, made, made, "", None, failure.reason, failure.error_type, "")
