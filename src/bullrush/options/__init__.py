"""What users may say about jobs and workers: value types, option names, and their checks.

Checked here and nowhere else; behind this package every duration is an int of ms and every option is valid.
"""

from bullrush.options.backoff import DEFAULT_BACKOFF, Backoff
from bullrush.options.durations import Duration, Time, duration_ms, format_duration, time_ms
from bullrush.options.jobs import (
    DEFAULT_SETTINGS,
    MAX_PRIORITY,
    NOT_YET_AVAILABLE,
    JobSettings,
    job_settings,
    merge_options,
    settings_from_wire,
    template_settings,
    weak_options,
)
from bullrush.options.specs import JobLike, JobSpec
from bullrush.options.texts import check_job_id, check_name, check_prefix, check_text
from bullrush.options.types import (
    EVENTS_MODES,
    STATES,
    BackoffFunction,
    CallNext,
    Durability,
    EventsMode,
    Executor,
    HasRef,
    JobOptions,
    Lifespan,
    Middleware,
    OnChildFailure,
    State,
    TemplateOptions,
    UnknownName,
    WorkerOptions,
)
from bullrush.options.values import Batch, Deduplication, JobRef, Keep, RateLimit, Recycle, Replicas
from bullrush.options.workers import (
    DEFAULT_WORKER_SETTINGS,
    NOT_YET_AVAILABLE_WORKER,
    WorkerSettings,
    worker_settings,
)

__all__ = [
    "DEFAULT_BACKOFF",
    "DEFAULT_SETTINGS",
    "DEFAULT_WORKER_SETTINGS",
    "EVENTS_MODES",
    "MAX_PRIORITY",
    "NOT_YET_AVAILABLE",
    "NOT_YET_AVAILABLE_WORKER",
    "STATES",
    "Backoff",
    "BackoffFunction",
    "Batch",
    "CallNext",
    "Deduplication",
    "Durability",
    "Duration",
    "EventsMode",
    "Executor",
    "HasRef",
    "JobLike",
    "JobOptions",
    "JobRef",
    "JobSettings",
    "JobSpec",
    "Keep",
    "Lifespan",
    "Middleware",
    "OnChildFailure",
    "RateLimit",
    "Recycle",
    "Replicas",
    "State",
    "TemplateOptions",
    "Time",
    "UnknownName",
    "WorkerOptions",
    "WorkerSettings",
    "check_job_id",
    "check_name",
    "check_prefix",
    "check_text",
    "duration_ms",
    "format_duration",
    "job_settings",
    "merge_options",
    "settings_from_wire",
    "template_settings",
    "time_ms",
    "weak_options",
    "worker_settings",
]
