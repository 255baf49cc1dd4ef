"""Everything bullrush raises.

    BullrushError                  took_effect: False = nothing happened, True = it did, None = unknown
    ├── NotConfigured              no connection was given and none is in the environment
    ├── ConnectionLost             the server went away or did not answer in time
    ├── QueueFull                  the server has no memory left, the call stored nothing
    ├── NotDurable                 ids: stored, but not confirmed in time as durable as was asked
    ├── ServerError                an error reply that nobody expected
    ├── UnsupportedServer          too old, or a command that is needed is not allowed
    ├── InvalidOption              also a ValueError
    │   └── InvalidOptionType      also a TypeError
    ├── PayloadTooLarge            the encoded data is above size_limit
    ├── CodecError                 a value cannot be encoded, or bytes cannot be decoded
    ├── AddInterrupted             added, ids: adding many ended early, the reason is __cause__
    ├── NotPaused                  the queue must be paused for this
    ├── LeaseLost                  the worker was taken for dead, its jobs run elsewhere
    ├── DuplicateFlowId            a flow names the same job twice
    ├── SchedulerError             a job scheduler refused
    └── JobError                   job_id
        ├── JobNotFound            there is no such job
        ├── JobNotInState          state: the one it is in
        ├── JobIsActive            a worker runs it
        ├── JobRemoved             it finished, but its outcome is no longer kept
        ├── ResultTimeout          also a TimeoutError: the wait ended, the job goes on
        └── JobFailed              reason, error_type, stacktrace, attempts_made
            ├── JobCancelled
            ├── JobExpired         it was not started in time
            ├── JobTimedOut        its last attempt took too long
            └── JobCrashed         its worker died too often while it ran

    HandlerSignal                  raised by handlers to steer their job; no BullrushError, so that
    ├── UnrecoverableError         ``except BullrushError`` around an add cannot swallow one
    ├── RateLimitError             duration, scope
    ├── RetryLater                 delay or until
    └── WaitForChildren

All of them can be pickled and copied, with their attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeAlias, TypeVar

ErrorT = TypeVar("ErrorT", bound=BaseException)
Rebuild: TypeAlias = tuple[object, tuple[object, ...], dict[str, object]]


def _rebuild(cls: type[ErrorT], args: tuple[object, ...]) -> ErrorT:
    """Make an error without calling its constructor, whose keywords pickle does not know."""
    error = cls.__new__(cls, *args)
    error.args = args  # OSError, which TimeoutError is, leaves them to __init__
    return error


class BullrushError(Exception):
    """Base of all errors of this library.

    ``took_effect`` says whether what was asked for happened: ``False`` no, it is safe to ask again;
    ``True`` yes; ``None`` nobody can know.
    """

    took_effect: bool | None

    def __init__(self, message: str, *, took_effect: bool | None = False) -> None:
        super().__init__(message)
        self.took_effect = took_effect

    def __reduce__(self) -> Rebuild:
        return _rebuild, (type(self), self.args), self.__dict__.copy()


class NotConfigured(BullrushError):
    """No connection was given, and neither BULLRUSH_URL nor REDIS_URL is set."""


class ConnectionLost(BullrushError):
    """The server could not be reached, went away, or did not answer within request_timeout."""

    def __init__(self, message: str, *, took_effect: bool | None = None) -> None:
        super().__init__(message, took_effect=took_effect)


class QueueFull(BullrushError):
    """The server is out of memory; the refused call stored nothing."""


class NotDurable(BullrushError):
    """Jobs are stored, but the server has not confirmed in time that they are as durable as was asked.

    ``ids`` are theirs. They are in the queue and will run; adding them again would make others.
    """

    ids: Sequence[str]

    def __init__(self, message: str, *, ids: Sequence[str]) -> None:
        super().__init__(message, took_effect=True)
        self.ids = ids


class ServerError(BullrushError):
    """The server answered with an error that is no known refusal."""

    def __init__(self, message: str, *, took_effect: bool | None = None) -> None:
        super().__init__(message, took_effect=took_effect)


class UnsupportedServer(BullrushError):
    """The server is too old, or does not allow a command that is needed."""


class InvalidOption(BullrushError, ValueError):
    """An option is unknown, or its value is out of range. Raised before anything is sent."""


class InvalidOptionType(InvalidOption, TypeError):
    """The value of an option has the wrong type. Raised before anything is sent."""


class PayloadTooLarge(BullrushError):
    """The encoded data of a job is larger than its size_limit; nothing was stored."""


class CodecError(BullrushError):
    """A value cannot be encoded (the message names its path), or bytes cannot be decoded."""


class AddInterrupted(BullrushError):
    """Adding many jobs ended early; ``__cause__`` is the reason.

    ``added`` is the exact number of jobs stored, ``ids`` are theirs, in the order they were given.
    """

    added: int
    ids: Sequence[str]

    def __init__(self, added: int, ids: Sequence[str]) -> None:
        super().__init__(
            f"interrupted after {added} jobs were stored; go on with the job behind them",
            took_effect=added > 0,
        )
        self.added = added
        self.ids = ids


class NotPaused(BullrushError):
    """The queue has to be paused before this call; nothing was changed."""


class LeaseLost(BullrushError):
    """The lease of this worker ran out: its jobs were given to others, its outcomes are refused."""


class DuplicateFlowId(BullrushError):
    """A flow names a job that exists already, or the same job twice; nothing was stored."""


class SchedulerError(BullrushError):
    """A job scheduler does not exist or cannot do what was asked; nothing was changed."""


class JobError(BullrushError):
    """An error about one job, whose id is ``job_id``."""

    job_id: str

    def __init__(self, message: str, *, job_id: str, took_effect: bool | None = False) -> None:
        super().__init__(message, took_effect=took_effect)
        self.job_id = job_id


class JobNotFound(JobError):
    """There is no job of this id."""


class JobNotInState(JobError):
    """The job is in ``state``, where this call is not allowed; nothing was changed."""

    state: str

    def __init__(self, message: str, *, job_id: str, state: str, took_effect: bool | None = False) -> None:
        super().__init__(message, job_id=job_id, took_effect=took_effect)
        self.state = state


class JobIsActive(JobError):
    """A worker runs the job, so it cannot be removed; nothing was changed."""


class JobRemoved(JobError):
    """The job finished and was removed before the wait for its result began."""


class ResultTimeout(JobError, TimeoutError):
    """The wait for a result ended before the job did.

    The job itself goes on, so ``took_effect`` is true: asking ``call`` again would add a second one.
    """

    def __init__(self, message: str, *, job_id: str, took_effect: bool | None = True) -> None:
        super().__init__(message, job_id=job_id, took_effect=took_effect)


class JobFailed(JobError):
    """The job failed for good.

    ``reason`` is the message of its last error, ``error_type`` the name of that error's class,
    ``stacktrace`` the kept lines, and ``attempts_made`` how often it was tried.
    """

    reason: str
    error_type: str
    stacktrace: tuple[str, ...]
    attempts_made: int

    def __init__(
        self,
        message: str,
        *,
        job_id: str,
        reason: str = "",
        error_type: str = "",
        stacktrace: Sequence[str] = (),
        attempts_made: int = 0,
        took_effect: bool | None = True,
    ) -> None:
        super().__init__(message, job_id=job_id, took_effect=took_effect)
        self.reason = reason
        self.error_type = error_type
        self.stacktrace = tuple(stacktrace)
        self.attempts_made = attempts_made


class JobCancelled(JobFailed):
    """The job was cancelled; it is never retried."""


class JobExpired(JobFailed):
    """The job was not started within expires_in of the time it was due."""


class JobTimedOut(JobFailed):
    """The last attempt of the job ran longer than its timeout."""


class JobCrashed(JobFailed):
    """The worker of the job died max_crashes times while it ran."""


class HandlerSignal(Exception):
    """Raised by a handler to say what becomes of its job. Deliberately no BullrushError."""

    def __reduce__(self) -> Rebuild:
        return _rebuild, (type(self), self.args), self.__dict__.copy()


class UnrecoverableError(HandlerSignal):
    """Fail the job now, whatever attempts it has left."""


class RateLimitError(HandlerSignal):
    """Give the job back without charge and start no other for ``duration`` (ms once read back).

    ``scope``: "auto" holds the group of a grouped job, else the whole queue; "group" and "queue" say which.
    Raises InvalidOption for a wrong duration or scope.
    """

    duration: int
    scope: Literal["auto", "group", "queue"]

    def __init__(
        self, duration: int | timedelta | str, *, scope: Literal["auto", "group", "queue"] = "auto"
    ) -> None:
        from bullrush.options.durations import duration_ms  # it raises errors of this module

        if scope not in ("auto", "group", "queue"):
            raise InvalidOption(f'scope is {scope!r}; it must be "auto", "group" or "queue"')
        self.duration = duration_ms(duration, "duration", least=1)
        self.scope = scope
        super().__init__(f"no further job for {self.duration} ms ({scope})")


class RetryLater(HandlerSignal):
    """Run the job again after ``delay`` or at ``until`` (ms once read back), without charge.

    With neither it runs again at once. Raises InvalidOption for both, or a wrong value.
    """

    delay: int | None
    until: int | None

    def __init__(
        self, delay: int | timedelta | str | None = None, *, until: datetime | int | None = None
    ) -> None:
        from bullrush.options.durations import duration_ms, time_ms  # they raise errors of this module

        if delay is not None and until is not None:
            raise InvalidOption("RetryLater has delay and until; give one of them")
        self.delay = None if delay is None else duration_ms(delay, "delay")
        self.until = None if until is None else time_ms(until, "until")
        when = f"at {self.until}" if self.until is not None else f"in {self.delay or 0} ms"
        super().__init__(f"again {when}")


class WaitForChildren(HandlerSignal):
    """Settle the job as waiting-children; it runs again when its children are done."""
