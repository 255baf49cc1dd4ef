"""The queue as asyncio code sees it.

`make sync` generates `bullrush.sync.Queue` from this file, less the statements marked "asyncio only": logic
lives in operations and ports.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, Unpack, cast, overload

from bullrush._core.codec import encode
from bullrush._core.factory import JobFactory
from bullrush._core.frames import encode_command
from bullrush.app import Bullrush
from bullrush.connection.port import AsyncPort
from bullrush.connection.sync_link import making
from bullrush.errors import (
    AddInterrupted,
    InvalidOption,
    InvalidOptionType,
    JobIsActive,
    JobNotFound,
    NotPaused,
    PayloadTooLarge,
    QueueFull,
)
from bullrush.job import DataT, Job, ResultT, encode_line, load_snapshot
from bullrush.keys import Keys
from bullrush.operations import change, control, jobs, limits, manage, notes
from bullrush.operations.fsck import fsck
from bullrush.operations.fsck_report import FsckReport
from bullrush.operations.metrics import Metrics, read_metrics
from bullrush.operations.workers import WorkerInfo, count_workers, list_workers
from bullrush.options import (
    DEFAULT_SETTINGS,
    EVENTS_MODES,
    STATES,
    Batch,
    Duration,
    EventsMode,
    JobLike,
    JobOptions,
    JobSettings,
    RateLimit,
    State,
    Time,
    WorkerOptions,
    check_name,
    check_text,
    duration_ms,
    job_settings,
    merge_options,
    time_ms,
    weak_options,
)
from bullrush.options.jobs import MAX_PRIORITY
from bullrush.options.texts import check_bool, check_choice, check_int

if TYPE_CHECKING:
    from bullrush._core.producer import Confirmation
    from bullrush.app import Connection
    from bullrush.codec import AnyCodec
    from bullrush.events import QueueEvents
    from bullrush.events.kinds import Event
    from bullrush.events.results import Results
    from bullrush.worker import Worker
    from bullrush.worker.handlers import BatchHandler, Handlers

ReturnT = TypeVar("ReturnT")

CHUNK_BYTES = 8 * 1024 * 1024
# An event above this would push too many others out of the stream.
MAX_EVENT = 1024 * 1024
CLEANABLE: tuple[State, ...] = ("completed", "failed", "waiting", "prioritized", "delayed")


class Queue(Generic[DataT, ResultT]):
    """Jobs waiting to be processed, under one name.

    `connection` is a URL, a redis-py client whose settings are copied, a Bullrush app, or None for the
    environment. The constructor does no I/O and may run at import; the first call connects. `defaults` are
    options for every job added here. `events` sets how much the queue publishes ("all", "outcomes" or "off");
    None leaves it as it is.
    """

    def __init__(
        self,
        name: str,
        connection: Connection = None,
        *,
        prefix: str | None = None,
        defaults: JobOptions | None = None,
        events: EventsMode | None = None,
        codec: AnyCodec | None = None,
        request_timeout: Duration | None = None,
    ) -> None:
        self.name = check_name(name, "queue name")
        self._owns_app = not isinstance(connection, Bullrush)
        self.app = _app_of(connection, prefix, codec, request_timeout)
        self.defaults: Mapping[str, object] = merge_options(self.app.defaults, defaults or {})
        default = job_settings(self.defaults, weak_options(self.defaults, {}))
        self._default: JobSettings | None = None if default is DEFAULT_SETTINGS else default
        if events is not None and events not in EVENTS_MODES:
            raise InvalidOption(f"events={events!r} is none of {', '.join(map(repr, EVENTS_MODES))}")
        self._events_mode = events
        self.codec = self.app.codec
        self.keys = Keys(self.app.prefix, name)
        self._made_port: AsyncPort | None = None
        self._results: Results | None = None
        self._factory = JobFactory(Job, self, self.codec, check_text, self._settings, change.MAX_RECORD)
        self._nowait: list[Any] = []  # asyncio only

    @property
    def prefix(self) -> str:
        """What the keys of this queue begin with."""
        return self.app.prefix

    @property
    def _port(self) -> AsyncPort:
        return self._made_port or self._make_port()

    def _make_port(self) -> AsyncPort:
        codec_name = "msgpack" if self.codec is None else self.codec.name
        with making:
            if self._made_port is None:
                port = AsyncPort(self.app.link, self.keys, codec_name, timeout=self.app.request_timeout)
                port.producer.events_mode = self._events_mode or ""
                self._made_port = port
            return self._made_port

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} {self.name!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let what is buffered leave, then let go of the server.

        Raises what `flush` raises. May be used again.
        """
        port = self._made_port
        results, self._results = self._results, None
        if results is not None:
            await results.close()
        if port is not None:
            try:
                if self._nowait:  # asyncio only
                    await self.flush()
                await port.close()
            finally:
                self._made_port = None
        if self._owns_app:
            await self.app.close()

    # Adding.

    def _settings(self, options: Mapping[str, object]) -> JobSettings | None:
        """Check options and put them over the queue's defaults; None = only defaults of the library."""
        if not options:
            return self._default
        return job_settings(merge_options(self.defaults, options), weak_options(self.defaults, options))

    async def _confirmation(self, options: Mapping[str, object]) -> Confirmation | None:
        settings = self._settings(options)
        return None if settings is None else await self._port.confirmation(settings.durability)

    def _now(self) -> int:
        return self._port.producer.clock_offset + time.monotonic_ns() // 1_000_000

    async def add(
        self, name: str, data: DataT | None = None, **options: Unpack[JobOptions]
    ) -> Job[DataT, ResultT]:
        """Add a job and return it, once the server has stored it.

        Adds that run at the same time share calls. Raises InvalidOption, CodecError or PayloadTooLarge before
        anything is sent; QueueFull when the server has no memory (nothing was stored); ConnectionLost after
        `request_timeout`, whose `took_effect` says whether the job may have been stored. With a `durability`,
        UnsupportedServer where the server cannot keep it (nothing was stored), and NotDurable when the job is
        stored and that was not confirmed in time. Cancelling it does not take the job back.
        """
        port = self._port
        settings = self._settings(options) if options else self._default
        job = self._factory.make(
            name, data, settings, port.producer.clock_offset + time.monotonic_ns() // 1_000_000
        )
        if settings is None or settings.durability is None:
            await port.add(job)
        else:
            await port.add(job, await port.confirmation(settings.durability))
        if job.duplicate:
            await self._load_stored(job)
        return cast("Job[DataT, ResultT]", job)

    async def add_bulk(
        self, jobs: Iterable[JobLike], **options: Unpack[JobOptions]
    ) -> list[Job[DataT, ResultT]]:
        """Add many jobs: tuples (name, data), (name, data, options) or JobSpec.

        Returns them in order, ids ascending.

        All or nothing per 1,000 jobs or 8 MB. `options` hold for every job, those of a job win. Everything is
        checked before anything is sent. Raises AddInterrupted, whose `added` and `ids` are exact, when it
        ends early; where the cause is NotDurable, its `ids` are stored as well, only not confirmed.
        """
        made = self._factory.make_all(jobs, options, self._now())
        stored: list[Job[DataT, ResultT]] = []
        window = self._port.window(stored.extend, await self._confirmation(options))
        try:
            for chunk in _chunks(made):
                await window.send(chunk)
            await window.finish()
        except BaseException as error:
            await window.settle(error)
            if not stored:
                raise
            raise AddInterrupted(len(stored), [job.id for job in stored]) from error
        for job in stored:
            if job.duplicate:
                await self._load_stored(job)
        return stored

    async def add_stream(
        self,
        jobs: Iterable[JobLike] | AsyncIterable[JobLike],
        *,
        chunk_size: int = 1000,
        on_progress: Callable[[int], object] | None = None,
        max_waiting: int | None = None,
        **options: Unpack[JobOptions],
    ) -> int:
        """Add as many jobs as an iterable gives, in constant memory; returns how many were stored.

        `on_progress` gets the number stored since its last call. With `max_waiting` it pauses while more jobs
        than that wait. A blocking iterable is read on the loop, `chunk_size` jobs at a time. What ends it
        early is the cause of AddInterrupted, whose `added` is exact.
        """
        check_int(chunk_size, "chunk_size", 1, 1000)
        if max_waiting is not None:
            check_int(max_waiting, "max_waiting", 0)
        confirmation = await self._confirmation(options)
        if not hasattr(jobs, "__aiter__") and not hasattr(jobs, "__iter__"):
            raise InvalidOptionType(
                f"jobs is a {type(jobs).__name__}: give an iterable of (name, data) or JobSpec(...)"
            )
        counter = _Counter(on_progress)
        window = self._port.window(counter.stored, confirmation)
        try:
            async for chunk in _batches(jobs, chunk_size):
                made = self._factory.make_all(chunk, options, self._now())
                if max_waiting is not None:
                    await self._wait_below(max_waiting)
                for part in _chunks(made):
                    await window.send(part)
            await window.finish()
        except BaseException as error:
            await window.settle(error)
            raise AddInterrupted(counter.total, []) from error
        return counter.total

    async def _wait_below(self, limit: int) -> None:
        while await self.count() > limit:
            await self._port.pause(0.02)

    def add_nowait(  # asyncio only
        self, name: str, data: DataT | None = None, **options: Unpack[JobOptions]
    ) -> Job[DataT, ResultT]:
        """Buffer a job without waiting and return it with its id; `flush` (also on close) reports errors.

        The id holds unless the connection is lost before the job is stored. Raises QueueFull when the buffer
        is full or no reserved id is left, as before the first call: await `flush()` then.
        """
        port = self._port
        settings = self._settings(options) if options else self._default
        job = self._factory.make(name, data, settings, self._now())
        durability = None if settings is None else settings.durability
        confirmation = None if durability is None else port.known_confirmation(durability)
        ready = durability is None or confirmation is not None
        if port.producer.full or not ready or not (job.id or port.producer.give_id(job)):
            raise QueueFull(
                f"job {name!r} was not buffered: no space or no reserved id is left, or its durability was "
                "not asked of this connection before; `await queue.flush()`, then add again",
                took_effect=False,
            )
        self._nowait.append(port.push(job, confirmation))
        return cast("Job[DataT, ResultT]", job)

    async def flush(self) -> None:  # asyncio only
        """Wait until everything buffered is stored, and connect if need be.

        Raises the first error of `add_nowait`.
        """
        port = self._port
        if not self._nowait:
            await port.opened()
            await port.prepare()
            return
        waiters, self._nowait = self._nowait, []
        await port.wait_all(waiters)

    async def _load_stored(self, job: Any) -> None:
        """A duplicate shows what is stored under its id, as long as that is there."""
        duplicate = job.duplicate
        snapshot = await self._port.run(jobs.get_snapshot(self.keys, job.id, self.codec))
        if snapshot is not None:
            load_snapshot(job, snapshot)
        job.duplicate = duplicate

    # Results.

    async def _wait_result(self, job: Any, timeout: Duration | None) -> object:
        limit = None if timeout is None else duration_ms(timeout, "timeout", wait=True) / 1000
        return await self._results_of_queue().wait(job, limit)

    def _results_of_queue(self) -> Results:
        from bullrush.events.results import Results

        if self._results is None:
            self._results = Results(self)
        return self._results

    async def call(
        self, name: str, data: DataT | None = None, *, wait: Duration, **options: Unpack[JobOptions]
    ) -> ResultT:
        """Add a job and wait for its result, at most `wait`; raises what `add` and `Job.result` raise."""
        duration_ms(wait, "wait", wait=True)
        job = await self.add(name, data, **options)
        return await job.result(wait)

    async def get_result(self, job_id: str, *, timeout: Duration | None = None) -> ResultT:
        """Wait for the result of a job known by its id; raises what `Job.result` raises."""
        job = self._factory.named(job_id)
        return cast("ResultT", await self._wait_result(job, timeout))

    async def gather(
        self, jobs: Iterable[Job[Any, ReturnT]], *, timeout: Duration | None = None
    ) -> list[ReturnT]:
        """Wait for the results of several jobs, in their order, on one subscription.

        Raises the first failure.
        """
        limit = None if timeout is None else duration_ms(timeout, "timeout", wait=True) / 1000
        return cast("list[ReturnT]", await self._results_of_queue().wait_all(list(jobs), limit))

    async def as_completed(
        self, jobs: Iterable[Job[Any, ReturnT]], *, timeout: Duration | None = None
    ) -> AsyncIterator[Job[Any, ReturnT]]:
        """Yield jobs as they finish, with their outcome loaded.

        Raises ResultTimeout when some are left at the end.
        """
        limit = None if timeout is None else duration_ms(timeout, "timeout", wait=True) / 1000
        async for job in self._results_of_queue().as_completed(list(jobs), limit):
            yield job

    # Looking.

    async def ping(self) -> float:
        """Return the time of one round trip to the server, in ms; for readiness probes."""
        start = time.perf_counter()
        await self._port.link.call(encode_command("PING"))
        return (time.perf_counter() - start) * 1000

    async def get_job(self, job_id: str) -> Job[DataT, ResultT] | None:
        """Return a job by its id, None when there is none."""
        snapshot = await self._port.run(jobs.get_snapshot(self.keys, job_id, self.codec))
        if snapshot is None:
            return None
        return self._loaded(snapshot)

    def _loaded(self, snapshot: jobs.Snapshot) -> Job[DataT, ResultT]:
        job = self._factory.named(snapshot.id)
        load_snapshot(job, snapshot)
        return cast("Job[DataT, ResultT]", job)

    async def get_jobs(
        self,
        states: State | Iterable[State] | None = None,
        start: int = 0,
        end: int = 99,
        *,
        ascending: bool = False,
    ) -> list[Job[DataT, ResultT]]:
        """Return jobs of the given states, newest first, between two positions of each.

        The end is included; -1 is the last one.
        """
        found: list[Job[DataT, ResultT]] = []
        for state in _checked_states(states):
            ids = await self._port.run(jobs.list_ids(self.keys, state, start, end, ascending))
            for part in _slices(ids, 500):
                snapshots = await self._port.run(jobs.get_snapshots(self.keys, part, self.codec, state))
                found += [self._loaded(snapshot) for snapshot in snapshots]
        return found

    async def get_job_counts(self, *states: State) -> dict[State, int]:
        """Count the jobs of each state named, of every state when none is."""
        return await self._port.run(jobs.get_counts(self.keys, _checked_states(states)))

    async def get_state(self, job_id: str) -> State | Literal["unknown"]:
        """Return the state of a job, read at one moment; "unknown" when there is none."""
        return await self._port.run(jobs.get_state(self.keys, job_id))

    async def count(self) -> int:
        """Return how many jobs wait in any way: waiting, prioritized, delayed, waiting for children."""
        counts = await self._port.run(jobs.get_counts(self.keys, STATES))
        return counts["waiting"] + counts["prioritized"] + counts["delayed"] + counts["waiting-children"]

    async def iter_jobs(
        self, states: State | Iterable[State] | None = None, *, page: int = 500
    ) -> AsyncIterator[Job[DataT, ResultT]]:
        """Yield the jobs of the given states, newest first, read `page` at a time.

        A job that changes its place meanwhile may come twice or not at all.
        """
        check_int(page, "page", 1, 10_000)
        for state in _checked_states(states):
            start, before = 0, set[str]()
            while ids := await self._port.run(
                jobs.list_ids(self.keys, state, start, start + page - 1, False)
            ):
                # New jobs push others to the next page.
                fresh = [id for id in ids if id not in before]
                for part in _slices(fresh, 500):
                    for snapshot in await self._port.run(
                        jobs.get_snapshots(self.keys, part, self.codec, state)
                    ):
                        yield self._loaded(snapshot)
                start, before = start + page, set(ids)

    async def get_counts_per_priority(self, priorities: Iterable[int]) -> dict[int, int]:
        """Count the jobs that stand in line with each of these priorities; 0 is those without one."""
        wanted = [check_int(each, "priority", 0, MAX_PRIORITY) for each in priorities]
        return await self._port.run(manage.counts_per_priority(self.keys, wanted))

    async def get_deduplication_job_id(self, dedup_id: str) -> str | None:
        """Return the id of the job that holds a deduplication id; None when it is free."""
        check_text(dedup_id, "dedup_id")
        return await self._port.run(notes.get_key_holder(self.keys, dedup_id))

    async def get_job_logs(self, job_id: str, start: int = 0, end: int = -1) -> tuple[list[str], int]:
        """Return a job's log lines between two positions, the end included, and how many there are in all."""
        return await self._port.run(control.get_logs(self.keys, job_id, start, end))

    async def get_workers(self) -> list[WorkerInfo]:
        """Return the workers of this queue, the oldest first: who they are, and what they hold.

        One that died is among them, with `alive` False, until its jobs were taken over. At most 1,000 ids of
        jobs are returned for each.
        """
        return await self._port.run(list_workers(self.keys))

    async def get_workers_count(self) -> int:
        """Count what `get_workers` returns."""
        return await self._port.run(count_workers(self.keys))

    async def get_metrics(
        self,
        kind: Literal["completed", "failed"],
        *,
        start: Time | None = None,
        end: Time | None = None,
    ) -> Metrics:
        """Return how many jobs completed or failed, minute by minute, and how long jobs waited and ran.

        From the minute of `start` to that of `end`, both included, by the server's clock: without `end` up to
        now, without `start` the 60 minutes up to `end`. Counts are kept for 7 days, latencies for one; what
        lies outside, or in the future, is left out. `total` counts since the queue began. Raises
        InvalidOption for another kind, and for a start after the end.
        """
        return await self._port.run(read_metrics(self.keys, kind, start, end))

    # Control.

    async def pause(self) -> None:
        """Stop workers from claiming jobs of this queue.

        Active jobs finish; waiting ones keep their place.
        """
        await self._port.run(control.set_paused(self.keys, True))

    async def resume(self) -> None:
        """Let workers claim again."""
        await self._port.run(control.set_paused(self.keys, False))

    async def is_paused(self) -> bool:
        """Say whether the queue is paused."""
        return await self._port.run(control.is_paused(self.keys))

    async def remove(self, job_id: str, *, remove_children: bool = True) -> bool:
        """Remove a job that nobody runs; False when there is no such job.

        Raises JobIsActive, and nothing was removed.
        """
        check_text(job_id, "job_id")
        answer = await self._port.run(jobs.remove(self.keys, job_id))
        if answer == "active":
            raise JobIsActive(f"job {job_id} is held by a worker and was not removed", job_id=job_id)
        return answer == "removed"

    async def cancel(
        self, job_id: str, reason: str | None = None
    ) -> Literal["removed", "signalled", "finished", "unknown"]:
        """Cancel a job, wherever it is.

        One that has not started is removed. A running one is told to stop ("signalled"): it ends as failed
        with JobCancelled and is never retried. One that has finished stays as it is.
        """
        check_text(job_id, "job_id")
        text = "cancelled" if reason is None else check_text(reason, "reason")
        answer = await self._port.run(jobs.cancel(self.keys, job_id, text))
        return cast('Literal["removed", "signalled", "finished", "unknown"]', answer)

    async def drain(self, *, delayed: bool = False) -> int:
        """Remove all jobs that wait, prioritized ones too, and delayed ones with `delayed`; returns how many.

        Active and finished jobs stay. Removed in pages of 500: jobs added meanwhile may stay as well.
        """
        check_bool(delayed, "delayed")
        return await self._port.run(manage.drain(self.keys, delayed))

    async def clean(self, grace: Duration, state: State = "completed", *, limit: int = 0) -> list[str]:
        """Remove the jobs of a state that are older than `grace` and return their ids.

        At most `limit`, 0: all. Finished jobs count from their end, others from when they were added. Raises
        InvalidOption for "active" and "waiting-children": these jobs belong to a worker or to others. Removed
        in pages of 500.
        """
        age = duration_ms(grace, "grace")
        check_int(limit, "limit", 0)
        check_choice(state, "state to clean", CLEANABLE)
        return await self._port.run(manage.clean(self.keys, state, age, limit))

    async def retry_jobs(
        self,
        *,
        state: Literal["completed", "failed"] = "failed",
        before: Time | None = None,
        limit: int | None = None,
    ) -> int:
        """Run finished jobs again, where their priorities put them; returns how many.

        Those that finished first come first. `before` takes only those that finished before a time, `limit`
        at most so many. Each gets one more attempt, and its outcome is forgotten. Those that finish again
        meanwhile are not taken twice.
        """
        check_choice(state, "state to retry", ("completed", "failed"))
        bound = None if before is None else time_ms(before, "before")
        if limit is not None:
            check_int(limit, "limit", 1)
        return await self._port.run(manage.retry_jobs(self.keys, state, bound, limit))

    async def promote_jobs(self, *, limit: int | None = None) -> int:
        """Let delayed jobs stand in line now, at most `limit`, those due first; returns how many."""
        if limit is not None:
            check_int(limit, "limit", 1)
        return await self._port.run(manage.promote_jobs(self.keys, limit))

    async def remove_deduplication(self, dedup_id: str) -> bool:
        """Free a deduplication id, so that the next job of it is stored; False when it was free."""
        check_text(dedup_id, "dedup_id")
        return await self._port.run(notes.free_key(self.keys, dedup_id))

    # Limits.

    async def set_global_concurrency(self, n: int | None) -> None:
        """Let at most `n` jobs run at a time, over all workers; None lifts the limit."""
        if n is not None:
            check_int(n, "n", 1)
        await self._port.run(limits.set_limit(self.keys, "concurrency", n))

    async def get_global_concurrency(self) -> int | None:
        """Return how many jobs may run at a time; None = any number."""
        return await self._port.run(limits.get_concurrency(self.keys))

    async def set_global_rate_limit(self, limit: RateLimit | None) -> None:
        """Let jobs start at this rate at most, over all workers; None lifts the limit.

        While it is set it replaces the `limiter` of workers.
        """
        await self._port.run(limits.set_limit(self.keys, "rate", limits.rate_wire(limit)))

    async def get_global_rate_limit(self) -> RateLimit | None:
        """Return the rate set for the queue; None = that of the workers, if any."""
        return await self._port.run(limits.get_rate(self.keys))

    async def rate_limit(self, duration: Duration | None) -> None:
        """Let no job start for a while.

        None ends that, and forgets the starts that a rate has counted so far.
        """
        ms = None if duration is None else duration_ms(duration, "duration", least=1)
        await self._port.run(limits.set_limit(self.keys, "limited", ms))

    async def get_rate_limit_ttl(self) -> int:
        """Return for how many ms no job starts because of a rate or `rate_limit`; 0 = jobs may start."""
        return await self._port.run(limits.get_closed_for(self.keys))

    async def is_maxed(self) -> bool:
        """Say whether as many jobs run as the global concurrency allows."""
        return await self._port.run(limits.is_maxed(self.keys))

    # Telling, for programs that are not the handler.

    async def update_job_progress(self, job_id: str, value: object) -> None:
        """Set a job's progress, whatever its state.

        Raises JobNotFound, or CodecError for other types: nothing was changed.
        """
        check_text(job_id, "job_id")
        if not await self._port.run(notes.report_progress(self.keys, job_id, encode(value))):
            raise self._not_found(job_id)

    async def add_job_log(self, job_id: str, line: str, *, keep: int | None = None) -> int:
        """Add a line to a job's log and return how many lines there are.

        The last `keep` stay, all by default. Raises JobNotFound, InvalidOptionType or CodecError: nothing was
        changed.
        """
        check_text(job_id, "job_id")
        packed = encode_line(line)
        if keep is not None:
            check_int(keep, "keep", 1)
        count = await self._port.run(notes.add_log(self.keys, job_id, packed, keep))
        if count < 0:
            raise self._not_found(job_id)
        return count

    async def clear_job_logs(self, job_id: str, *, keep: int = 0) -> None:
        """Remove a job's log lines, all but the last `keep`; of a job that is gone there are none."""
        check_text(job_id, "job_id")
        check_int(keep, "keep", 0)
        await self._port.run(notes.clear_logs(self.keys, job_id, keep))

    def _not_found(self, job_id: str) -> JobNotFound:
        return JobNotFound(
            f"job {job_id} is not in queue {self.name!r}: nothing was changed",
            job_id=job_id,
            took_effect=False,
        )

    async def publish_event(self, kind: str, data: object = None) -> None:
        """Publish an event of your own: readers of `events()` get Custom(kind, data).

        Written unless the events of the queue are "off". Raises InvalidOption, CodecError, or
        PayloadTooLarge above 1 MiB: nothing was sent.
        """
        check_text(kind, "kind")
        packed = encode(data)
        if len(packed) > MAX_EVENT:
            raise PayloadTooLarge(
                f"the data of event {kind!r} takes {len(packed):,} bytes, the limit is {MAX_EVENT:,}: "
                "nothing was sent; store it elsewhere and publish a reference"
            )
        await self._port.run(notes.publish_event(self.keys, kind, packed))

    async def trim_events(self, max_length: int) -> int:
        """Remove the oldest entries of the event stream beyond `max_length`; returns how many.

        An entry has the events of one call. Readers that are behind see a Gap.
        """
        check_int(max_length, "max_length", 0)
        return await self._port.run(notes.trim_events(self.keys, max_length))

    # Proof.

    async def fsck(self, *, repair: bool = False, page: int = 500) -> FsckReport:
        """Examine all data of this queue, and say what is wrong with it.

        Made for a queue at work: it reads `page` jobs at a time, stops nobody, and reports only what it has
        seen wrong at one moment. `repair` puts right what can be: jobs go back in line, none is deleted.
        """
        check_bool(repair, "repair")
        check_int(page, "page", 1, 1000)
        return await self._port.run(fsck(self.keys, repair=repair, page=page))

    # The end of it.

    async def obliterate(self, *, force: bool = False) -> None:
        """Remove the queue with all its keys.

        Raises NotPaused or JobIsActive, and nothing was removed, without `force`.
        """
        answer = await self._port.run(control.obliterate(self.keys, force))
        if answer == "notpaused":
            raise NotPaused(f"queue {self.name!r} must be paused to be obliterated; nothing was removed")
        if answer == "active":
            raise JobIsActive(
                f"queue {self.name!r} has active jobs; nothing was removed (force=True removes all)",
                job_id="",
            )

    # Working.

    @overload  # asyncio only
    def process(
        self, handler: Handlers, *, batch: None = None, **options: Unpack[WorkerOptions]
    ) -> Worker: ...
    @overload  # asyncio only
    def process(self, handler: BatchHandler, *, batch: Batch, **options: Unpack[WorkerOptions]) -> Worker: ...
    def process(  # asyncio only
        self,
        handler: Handlers | BatchHandler,
        *,
        batch: Batch | None = None,
        **options: Unpack[WorkerOptions],
    ) -> Worker:
        """Return a worker for this queue, not started: `async with queue.process(handler): ...`."""
        from bullrush.worker import Worker

        if batch is None:
            return Worker(self, cast("Handlers", handler), **options)
        return Worker(self, cast("BatchHandler", handler), batch=batch, **options)

    def events(self, *, kinds: Iterable[type[Event]] | None = None, after: str | None = None) -> QueueEvents:
        """Return the events of this queue, to be entered with `async with`."""
        from bullrush.events import QueueEvents

        return QueueEvents(self, kinds=kinds, after=after)


def _app_of(
    connection: Connection, prefix: str | None, codec: AnyCodec | None, request_timeout: Duration | None
) -> Bullrush:
    if isinstance(connection, Bullrush):
        for option, value in (("prefix", prefix), ("codec", codec), ("request_timeout", request_timeout)):
            if value is not None:
                raise InvalidOption(f"{option}={value!r}: the app object has one already; leave it out")
        return connection
    return Bullrush(
        connection,
        prefix="bullrush" if prefix is None else prefix,
        codec=codec,
        request_timeout=10_000 if request_timeout is None else request_timeout,
    )


def _checked_states(states: State | Iterable[State] | None) -> Sequence[State]:
    if states is None:
        return STATES
    wanted = (states,) if isinstance(states, str) else tuple(states)
    for state in wanted:
        if state not in STATES:
            raise InvalidOption(f"state {state!r} is none of {', '.join(STATES)}")
    return wanted or STATES


def _slices(items: list[ReturnT], size: int) -> Iterable[list[ReturnT]]:
    for i in range(0, len(items), size):
        yield items[i : i + size]


def _chunks(made: list[Any]) -> Iterable[list[Any]]:
    """Cut at 1,000 jobs or 8 MB; a chunk is stored or refused as a whole."""
    chunk: list[Any] = []
    size = 0
    for job in made:
        if chunk and (len(chunk) == 1000 or size + job._size > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(job)
        size += job._size
    if chunk:
        yield chunk


async def _batches(
    source: Iterable[JobLike] | AsyncIterable[JobLike], size: int
) -> AsyncIterator[list[JobLike]]:
    if isinstance(source, AsyncIterable):  # asyncio only
        batch: list[JobLike] = []
        async for item in source:
            batch.append(item)
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch
        return
    iterator = iter(source)
    while batch := list(islice(iterator, size)):
        yield batch


class _Counter:
    """Count what is stored and tell the difference to the last call."""

    def __init__(self, on_progress: Callable[[int], object] | None) -> None:
        self.total = 0
        self._on_progress = on_progress

    def stored(self, jobs: Sequence[object]) -> None:
        """Note that these are stored."""
        self.total += len(jobs)
        if self._on_progress is not None:
            self._on_progress(len(jobs))
