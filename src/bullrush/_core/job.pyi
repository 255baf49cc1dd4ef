"""The job: what a producer gets back and a handler gets to see."""

from datetime import datetime
from typing import Any, Generic, Literal, Protocol

from typing_extensions import TypeVar

from bullrush.options import Duration, JobOptions, JobRef, JobSettings, State

DataT = TypeVar("DataT", default=Any)
ResultT = TypeVar("ResultT", default=Any)

class _Sink(Protocol):
    """Takes progress and log lines while a handler runs."""

    def report_progress(self, job: JobBase[Any, Any], packed: bytes) -> None: ...
    def report_line(self, job: JobBase[Any, Any], line: bytes) -> None: ...
    def postpone(self, job: JobBase[Any, Any], until: int) -> None: ...

class JobBase(Generic[DataT, ResultT]):
    """What needs no waiting, common to `bullrush.Job` and `bullrush.sync.Job`. Fields are a snapshot."""

    duplicate: Literal[False, "id", "deduplication"]

    @property
    def id(self) -> str:
        """Its id; empty as long as no call has carried the job."""

    @property
    def queue(self) -> str:
        """The name of the queue."""

    @property
    def ref(self) -> JobRef:
        """The queue and the id, by which another program can find the job."""

    @property
    def name(self) -> str:
        """The name it was added with."""

    @property
    def data(self) -> DataT:
        """What was added; decoded at the first look. Raises CodecError when it cannot be decoded."""

    @property
    def opts(self) -> JobOptions:
        """The options that this job does not share with every other."""

    @property
    def settings(self) -> JobSettings:
        """The options, validated and complete."""

    @property
    def timestamp(self) -> int:
        """When the job was added, in ms since the epoch."""

    @property
    def delay(self) -> int:
        """The delay it was added with, in ms."""

    @property
    def priority(self) -> int:
        """0 first, then ascending."""

    @property
    def attempts(self) -> int:
        """How many attempts the job may take in all."""

    @property
    def attempts_made(self) -> int:
        """How many attempts have failed."""

    @property
    def attempts_started(self) -> int:
        """How many attempts have begun, those that a dead worker took along included."""

    @property
    def is_last_attempt(self) -> bool:
        """Say whether a failure now is final."""

    @property
    def crashes(self) -> int:
        """How many deaths of a worker are charged to the job."""

    @property
    def created_at(self) -> datetime:
        """When the job was added."""

    @property
    def due_at(self) -> datetime:
        """When the job was or is due."""

    @property
    def processed_ms(self) -> int:
        """When the last attempt started, in ms since the epoch; 0 = not yet."""

    @property
    def finished_ms(self) -> int:
        """When the job finished, in ms since the epoch; 0 = not yet."""

    @property
    def processed_on(self) -> int | None:
        """When the last attempt started, in ms since the epoch by the server's clock, or None."""

    @property
    def finished_on(self) -> int | None:
        """When the job finished, in ms since the epoch by the server's clock, or None."""

    @property
    def started_at(self) -> datetime | None:
        """When the last attempt started."""

    @property
    def finished_at(self) -> datetime | None:
        """When the job finished."""

    @property
    def progress(self) -> object:
        """The last progress that this snapshot knows, or None."""

    @property
    def returnvalue(self) -> ResultT | None:
        """What the handler returned, once completed."""

    @property
    def failed_reason(self) -> str | None:
        """Why the last attempt failed, or None."""

    @property
    def error_type(self) -> str | None:
        """The class of the error that ended the last attempt, or None."""

    @property
    def stacktrace(self) -> list[str]:
        """The stack of the last failure, line by line."""

    @property
    def state(self) -> State | Literal["unknown"] | None:
        """The state when this snapshot was taken, or None where it was not asked."""

    @property
    def worker(self) -> str | None:
        """The number of the worker of the last attempt, or None."""

    @property
    def context(self) -> Any:
        """What the worker's `lifespan` gave; of whatever type that is."""

    @property
    def cancelled(self) -> bool:
        """Say whether somebody asked this running job to stop."""

    @property
    def cancel_reason(self) -> str | None:
        """Why it was asked to stop, or None."""

    def raise_if_cancelled(self) -> None:
        """Raise JobCancelled when somebody asked this job to stop; for handlers in threads."""

    def to_dict(self) -> dict[str, object]:
        """Return the fields as a dict of plain values."""

    # Settling by hand: jobs of a Consumer.

    def complete(self, value: object = None) -> None:
        """Settle as completed with a return value.

        Raises JobNotInState in a handler, whose end settles the job.
        """

    def fail(self, error: BaseException | str, *, retry: bool = True) -> None:
        """Settle as failed; with `retry` by the job's attempts and backoff, else for good."""

    def release(self) -> None:
        """Give back to the head of the line, uncharged."""

    def retry_later(self, delay: Duration) -> None:
        """Put off without charge, for a duration."""

    # For the layers above: they own the policy, this class only the fields.

    @property
    def _owner(self) -> object: ...
    @property
    def _sink(self) -> _Sink | None: ...
    @property
    def _size(self) -> int: ...
    @property
    def _stream_id(self) -> bytes | None: ...
    @property
    def _packed_attempts(self) -> bytes | None: ...
    @property
    def _is_suspect(self) -> bool: ...
    def _load(
        self,
        *,
        id: str | None = None,
        record: bytes | None = None,
        attempts: bytes | None = None,
        outcome: tuple[object, str | None, str | None, str] | None = None,
        progress: object = None,
        state: State | Literal["unknown"] | None = None,
        worker: str | None = None,
        processed: int = 0,
        finished: int = 0,
        data: object = ...,
        plan: bytes | None = ...,
        due: int = 0,
    ) -> None: ...
    def _mark_cancelled(self, reason: str) -> None: ...
    def _rewrite(self, record: bytes) -> None: ...
    @property
    def _on_loop(self) -> bool: ...
    @property
    def _took_token(self) -> bool: ...
    def _cancel(self, reason: str) -> None: ...
    def _set_progress(self, value: object) -> None: ...
    def _count(self, made: int, started: int) -> None: ...
