"""The settler: what becomes of a job that did not simply complete."""

from __future__ import annotations

import asyncio
import inspect
import random
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar, cast

from bullrush._core.codec import encode
from bullrush.errors import (
    BullrushError,
    CodecError,
    HandlerSignal,
    InvalidOption,
    JobCancelled,
    JobTimedOut,
    PayloadTooLarge,
    RateLimitError,
    RetryLater,
    UnrecoverableError,
)
from bullrush.options import Keep, duration_ms, time_ms

if TYPE_CHECKING:
    from bullrush._core.exchange import Exchange
    from bullrush.job import JobBase
    from bullrush.options import WorkerSettings
    from bullrush.worker.listeners import Listeners

ArgumentT = TypeVar("ArgumentT")

MAX_REASON = 4_000
MAX_STACK = 16_000
FAILED_KEPT = 10_000
FIRST_PARK, LAST_PARK = 1_000, 60_000
SHUTDOWN, LEASE_LOST, TIMEOUT = "shutdown", "lease-lost", "timeout"


class Settler:
    """Decide between retry, failure, later and give-back, and write it into the exchange."""

    def __init__(self, settings: WorkerSettings, listeners: Listeners) -> None:
        self.exchange: Exchange
        self._settings = settings
        self._listeners = listeners
        self._random = random.Random()
        self._tasks: set[asyncio.Task[None]] = set()

    # Ends of handlers.

    def failed(self, job: JobBase, error: BaseException, cancel_reason: str | None) -> None:
        """An attempt ended with an error: the handler's, a cancellation, or a value that cannot be stored."""
        if not self.exchange.owns(job):
            return  # the lease was lost, or it was settled while its handler ran on
        stopped = isinstance(error, asyncio.CancelledError) and cancel_reason in (SHUTDOWN, LEASE_LOST)
        if stopped or isinstance(error, KeyboardInterrupt | SystemExit):
            self.exchange.release(job)
        elif cancel_reason == TIMEOUT:
            self._attempt_failed(job, timed_out(job))
        elif cancel_reason is not None and cancel_reason not in (SHUTDOWN, LEASE_LOST):
            self._fail(job, cancelled(job, cancel_reason))
        elif isinstance(error, HandlerSignal):
            self._signalled(job, error)
        else:
            self._attempt_failed(job, error)

    def _signalled(self, job: JobBase, signal: HandlerSignal) -> None:
        if isinstance(signal, RetryLater):
            self.exchange.later(job, self._later_delay(signal))
        elif isinstance(signal, UnrecoverableError):
            self._fail(job, signal)
        elif isinstance(signal, RateLimitError) and signal.scope != "group":
            self.exchange.hold(job, signal.duration)
        else:
            self._fail(job, InvalidOption(f"{type(signal).__name__} is not available in this version"))

    def _later_delay(self, signal: RetryLater) -> int:
        if signal.until is not None:
            return max(1, time_ms(signal.until, "until") - int(self.exchange.server_now()))
        return 0 if signal.delay is None else duration_ms(signal.delay, "delay")

    def _attempt_failed(self, job: JobBase, error: BaseException) -> None:
        final = isinstance(error, (CodecError, JobCancelled, PayloadTooLarge, *self._settings.never_retry))
        if final or job.is_last_attempt:
            self._fail(job, error)
            return
        backoff = job.settings.backoff
        if backoff is None:
            self._retry(job, error, 0)
        elif backoff.kind == "custom":
            self._ask_strategy(job, error, str(backoff.name))
        else:
            self._retry(job, error, backoff.delay_ms(job.attempts_made + 1, self._random))

    def _ask_strategy(self, job: JobBase, error: BaseException, name: str) -> None:
        strategy = self._settings.backoffs.get(name)
        if strategy is None:
            self._fail(
                job,
                InvalidOption(f"backoff strategy {name!r} is unknown to this worker: give it in backoffs="),
            )
            return
        try:
            wait = strategy(job.attempts_made + 1, error)
        except Exception as raised:
            self._fail(job, raised)
            return
        if inspect.isawaitable(wait):
            self._later(self._await_strategy(job, error, wait))
        else:
            self._apply_wait(job, error, wait)

    async def _await_strategy(self, job: JobBase, error: BaseException, wait: Awaitable[object]) -> None:
        try:
            self._apply_wait(job, error, await wait)
        except Exception as raised:
            self._fail(job, raised)

    def _apply_wait(self, job: JobBase, error: BaseException, wait: object) -> None:
        if wait is None:
            self._fail(job, error)
        else:
            self._retry(job, error, duration_ms(wait, "what the backoff strategy returned"))

    def _retry(self, job: JobBase, error: BaseException, delay: int) -> None:
        reason, kind, stack = describe(error, job.settings.stack_trace_limit)
        self.exchange.retry(job, encode(reason), encode(kind), encode(stack), delay)
        self._listeners.emit("retrying", job, as_exception(error))

    def _fail(self, job: JobBase, error: BaseException) -> None:
        try:
            settings = job.settings
        except CodecError:
            keep, limit, weak = None, None, False
        else:
            keep, limit = settings.remove_on_fail, settings.stack_trace_limit
            weak = "remove_on_fail" in settings.weak
        reason, kind, stack = describe(error, limit)
        own = self._settings.remove_on_fail
        kept = (own or keep if weak else keep or own) or Keep(FAILED_KEPT)
        self.exchange.fail(job, encode(reason), encode(kind), encode(stack), kept, -1, -1)
        self._listeners.emit("failed", job, as_exception(error))

    def broken(self, job: JobBase, error: BullrushError) -> None:
        """A job that must not start (it cannot be decoded, was cancelled, expired) fails with the reason."""
        self._fail(job, error)

    def unhandled(self, job: JobBase) -> None:
        """Nobody here handles this name: park the job so that another worker may take it, or fail it."""
        self._listeners.emit("unhandled", job.name)
        if self._settings.unknown == "fail":
            self._fail(job, InvalidOption(f"this worker has no handler for the name {job.name!r}"))
            return
        # Waiting as long again as it has waited so far doubles the pause without a count to keep.
        waited = int(self.exchange.server_now()) - job.timestamp - job.delay
        self.exchange.later(job, min(LAST_PARK, max(FIRST_PARK, waited)))

    def fence(self, job: JobBase, reason: str) -> None:
        """Settle a job whose handler runs on after it was told to stop: nothing it still does counts."""
        if self.exchange.owns(job):
            if reason == TIMEOUT:
                self._attempt_failed(job, timed_out(job))
            else:
                self._fail(job, cancelled(job, reason))
            self.exchange.fence(job)

    def cancelled_early(self, job: JobBase, reason: str) -> None:
        """A claimed job was cancelled before it started."""
        self._fail(job, cancelled(job, reason))

    def postpone(self, job: JobBase, until: int) -> None:
        """A handler put its own job off: it is settled now, and what it still returns does not count."""
        self.exchange.later(job, max(1, until - int(self.exchange.server_now())))
        self.exchange.fence(job)

    def awaitable(self, job: JobBase, value: Awaitable[object]) -> None:
        """A `def` handler returned something to await: await it on the loop."""
        self._later(self._await_value(job, value))

    async def _await_value(self, job: JobBase, value: Awaitable[object]) -> None:
        try:
            result = await value
            if self.exchange.owns(job):
                self.exchange.complete_with(job, result)
        except Exception as error:
            self.failed(job, error, None)

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def busy(self) -> bool:
        """Say whether the end of a job is still being decided."""
        return bool(self._tasks)


class Sink:
    """Take what handlers say of their jobs, in whatever thread they run."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listeners: Listeners, settler: Settler) -> None:
        self.exchange: Exchange
        self._settler = settler
        self._loop = loop
        self._listeners = listeners
        self._thread = threading.get_ident()

    def report_progress(self, job: JobBase, packed: bytes) -> None:
        """Pass a progress value on."""
        self._on_loop(self._tell_progress, job, packed)

    def _tell_progress(self, job: JobBase, packed: bytes) -> None:
        self.exchange.progress(job, packed)
        self._listeners.emit("progress", job, job.progress)

    def report_line(self, job: JobBase, line: bytes) -> None:
        """Pass a log line on."""
        self._on_loop(self.exchange.log, job, line)

    def postpone(self, job: JobBase, until: int) -> None:
        """Put a job off until a time in ms, at its handler's wish."""
        self._on_loop(self._settler.postpone, job, until)

    def _on_loop(self, call: Callable[[JobBase, ArgumentT], None], job: JobBase, argument: ArgumentT) -> None:
        if threading.get_ident() == self._thread:
            call(job, argument)
        else:
            self._loop.call_soon_threadsafe(call, job, argument)


def timed_out(job: JobBase) -> JobTimedOut:
    """The error of an attempt that ran too long."""
    return JobTimedOut(f"the attempt ran longer than its timeout of {job.settings.timeout} ms", job_id=job.id)


def cancelled(job: JobBase, reason: str) -> JobCancelled:
    """The error of a job that somebody cancelled."""
    return JobCancelled(reason, job_id=job.id, reason=reason)


def describe(error: BaseException, stack_lines: int | None) -> tuple[str, str, str]:
    """Return reason, class and stack of an error, bounded; the end of a stack is the part that tells."""
    reason = clean(str(error) or type(error).__name__)[:MAX_REASON]
    kind = type(error).__qualname__
    if stack_lines == 0 or error.__traceback__ is None:
        return reason, kind, ""
    stack = clean("".join(traceback.format_exception(error)).rstrip())
    lines = stack.splitlines()
    if stack_lines is not None:
        lines = lines[-stack_lines:]
    return reason, kind, "\n".join(lines)[-MAX_STACK:]


def clean(text: str) -> str:
    """Replace what UTF-8 cannot carry."""
    return text.encode("utf-8", "backslashreplace").decode()


def as_exception(error: BaseException) -> Exception:
    """Listeners get an Exception: what is none (a cancellation) is wrapped."""
    if isinstance(error, Exception):
        return error
    wrapped = cast("Exception", RuntimeError(f"{type(error).__name__}: {error}"))
    wrapped.__cause__ = error
    return wrapped
