"""bullrush: a job queue on Redis and Valkey with a compiled core.

    async with Queue("emails", "redis://localhost") as queue:
        await queue.add("welcome", {"to": "a@b.c"})

`bullrush.sync` has the same for blocking code.
"""

from bullrush.app import Bullrush, Connection
from bullrush.codec import Codec, MsgpackCodec
from bullrush.envelope import Compressed, Encrypted
from bullrush.errors import (
    AddInterrupted,
    BullrushError,
    CodecError,
    ConnectionLost,
    DuplicateFlowId,
    HandlerSignal,
    InvalidOption,
    InvalidOptionType,
    JobCancelled,
    JobCrashed,
    JobError,
    JobExpired,
    JobFailed,
    JobIsActive,
    JobNotFound,
    JobNotInState,
    JobRemoved,
    JobTimedOut,
    LeaseLost,
    NotConfigured,
    NotDurable,
    NotPaused,
    PayloadTooLarge,
    QueueFull,
    RateLimitError,
    ResultTimeout,
    RetryLater,
    SchedulerError,
    ServerError,
    UnrecoverableError,
    UnsupportedServer,
    WaitForChildren,
)
from bullrush.events import (
    Active,
    Added,
    Cleaned,
    Completed,
    Custom,
    Deduplicated,
    Delayed,
    Drained,
    Duplicated,
    Event,
    Failed,
    Gap,
    Paused,
    Progress,
    QueueEvents,
    Removed,
    Resumed,
    Retrying,
    Stalled,
    Waiting,
    WaitingChildren,
)
from bullrush.job import Job, JobBase
from bullrush.logs import install as _install_logs
from bullrush.operations.doctor import Diagnosis, Finding
from bullrush.operations.fsck_report import FsckReport, Problem
from bullrush.operations.metrics import Latencies, MetricPoint, Metrics
from bullrush.operations.workers import WorkerInfo
from bullrush.options import (
    Backoff,
    Batch,
    Deduplication,
    Durability,
    Duration,
    EventsMode,
    JobLike,
    JobOptions,
    JobRef,
    JobSpec,
    Keep,
    RateLimit,
    Recycle,
    Replicas,
    State,
    TemplateOptions,
    Time,
    WorkerOptions,
)
from bullrush.queue import Queue
from bullrush.worker import Consumer, Worker

_install_logs()

# What programs are made of.
__all__ = ["Bullrush", "Consumer", "Job", "JobBase", "Queue", "QueueEvents", "Worker"]

# Values of options.
__all__ += [
    "Backoff",
    "Batch",
    "Compressed",
    "Deduplication",
    "Encrypted",
    "JobRef",
    "JobSpec",
    "Keep",
    "MsgpackCodec",
    "RateLimit",
    "Recycle",
    "Replicas",
]

# What a queue tells of itself.
__all__ += ["Latencies", "MetricPoint", "Metrics", "WorkerInfo"]

# Types for annotations.
__all__ += [
    "Codec",
    "Connection",
    "Durability",
    "Duration",
    "EventsMode",
    "JobLike",
    "JobOptions",
    "State",
    "TemplateOptions",
    "Time",
    "WorkerOptions",
]

# Events.
__all__ += [
    "Active",
    "Added",
    "Cleaned",
    "Completed",
    "Custom",
    "Deduplicated",
    "Delayed",
    "Diagnosis",
    "Drained",
    "Duplicated",
    "Event",
    "Failed",
    "Finding",
    "FsckReport",
    "Gap",
    "Paused",
    "Problem",
    "Progress",
    "Removed",
    "Resumed",
    "Retrying",
    "Stalled",
    "Waiting",
    "WaitingChildren",
]

# Errors: one tree, see bullrush.errors.
__all__ += [
    "AddInterrupted",
    "BullrushError",
    "CodecError",
    "ConnectionLost",
    "DuplicateFlowId",
    "InvalidOption",
    "InvalidOptionType",
    "JobCancelled",
    "JobCrashed",
    "JobError",
    "JobExpired",
    "JobFailed",
    "JobIsActive",
    "JobNotFound",
    "JobNotInState",
    "JobRemoved",
    "JobTimedOut",
    "LeaseLost",
    "NotConfigured",
    "NotDurable",
    "NotPaused",
    "PayloadTooLarge",
    "QueueFull",
    "ResultTimeout",
    "SchedulerError",
    "ServerError",
    "UnsupportedServer",
]

# What handlers raise to steer their job; these are no errors.
__all__ += ["HandlerSignal", "RateLimitError", "RetryLater", "UnrecoverableError", "WaitForChildren"]
