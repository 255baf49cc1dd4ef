"""The words of the options: states, modes, and the keyword options of jobs, templates and workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias, TypedDict, get_args

from bullrush.options.backoff import Backoff
from bullrush.options.durations import Duration
from bullrush.options.values import Deduplication, JobRef, Keep, RateLimit, Recycle, Replicas

if TYPE_CHECKING:
    from typing import Any

    from bullrush.job import JobBase

State: TypeAlias = Literal[
    "waiting", "prioritized", "delayed", "active", "waiting-children", "completed", "failed"
]
EventsMode: TypeAlias = Literal["all", "outcomes", "off"]
OnChildFailure: TypeAlias = Literal["fail", "ignore", "remove", "continue"]
Executor: TypeAlias = Literal["auto", "loop", "thread", "process"]
UnknownName: TypeAlias = Literal["park", "fail"]

STATES: Final[tuple[State, ...]] = get_args(State)
EVENTS_MODES: Final[tuple[EventsMode, ...]] = get_args(EventsMode)

Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[object]]
CallNext: TypeAlias = "Callable[[JobBase[Any, Any]], Awaitable[object]]"
Middleware: TypeAlias = "Callable[[JobBase[Any, Any], CallNext], Awaitable[object]]"
# attempts made so far, and the error of the last one; the wait, or None to fail the job now
BackoffFunction: TypeAlias = Callable[[int, BaseException], Duration | None]


class HasRef(Protocol):
    """A job, as far as naming it as a parent goes."""

    @property
    def ref(self) -> JobRef:
        """The queue and the id of the job."""
        ...


Durability: TypeAlias = Literal["memory", "fsync", "replica"] | Replicas


class TemplateOptions(TypedDict, total=False):
    """The options of the jobs that a scheduler makes: those of a job that can hold for many."""

    priority: int
    lifo: bool
    attempts: int
    backoff: Duration | Backoff
    timeout: Duration
    expires_in: Duration
    remove_on_complete: bool | int | Keep
    remove_on_fail: bool | int | Keep
    keep_result: Duration
    group: str
    on_child_failure: OnChildFailure
    keep_logs: int
    stack_trace_limit: int
    size_limit: int


class JobOptions(TemplateOptions, total=False):
    """The options of a job. ``delay`` and ``run_at`` exclude each other."""

    job_id: str
    delay: Duration
    run_at: datetime | int
    deduplication: Deduplication
    durability: Durability
    parent: JobRef | HasRef


class WorkerOptions(TypedDict, total=False):
    """The options of a worker."""

    concurrency: int
    limiter: RateLimit | None
    lease: Duration
    hang_limit: Duration | None
    max_crashes: int
    prefetch: int | Literal["auto"]
    executor: Executor
    backoffs: Mapping[str, BackoffFunction] | None
    group_concurrency: int | None
    group_limit: RateLimit | None
    remove_on_complete: bool | int | Keep | None
    remove_on_fail: bool | int | Keep | None
    name: str | None
    lifespan: Lifespan | None
    middleware: Sequence[Middleware]
    never_retry: tuple[type[BaseException], ...]
    unknown: UnknownName
    recycle: Recycle | None
