"""Option names of BullMQ, Celery and RQ, answered with ours."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from typing import Final

from bullrush.errors import InvalidOption

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_SCHEDULERS: Final = "repeated jobs (queue.upsert_job_scheduler) are not available in this version"
_FLOWS: Final = "flows are not available in this version; add the next job in the handler"

# The options of BullMQ whose snake_case is ours need no entry here.
JOB_HINTS: Final = {
    "repeat": _SCHEDULERS,
    "every": _SCHEDULERS,
    "pattern": _SCHEDULERS,
    "cron": _SCHEDULERS,
    "repeat_job_key": _SCHEDULERS,
    "prev_millis": _SCHEDULERS,
    "id": "use job_id",
    "task_id": "use job_id",
    "timestamp": "the server's clock gives it; use delay or run_at for a later start",
    "debounce": "use deduplication=Deduplication(id, ttl, mode=...)",
    "dedup": "use deduplication=Deduplication(id)",
    "unique": "use deduplication=Deduplication(id)",
    "limiter": "use Worker(limiter=...) or queue.set_global_rate_limit",
    "rate_limit": "use Worker(limiter=...) or queue.set_global_rate_limit",
    "fail_parent_on_failure": 'use on_child_failure="fail" of the parent, the default',
    "ignore_dependency_on_failure": 'use on_child_failure="ignore" of the parent',
    "remove_dependency_on_failure": 'use on_child_failure="remove" of the parent',
    "continue_parent_on_failure": 'use on_child_failure="continue" of the parent',
    "telemetry": "leave it out; tracing is not available in this version",
    "jitter": "use backoff=Backoff.exponential(..., jitter=...)",
    "countdown": 'use delay, as a duration such as "5s"',
    "eta": "use run_at, with an aware datetime",
    "expires": "use expires_in",
    "expiration": "use expires_in",
    "max_retries": "use attempts, which counts the first try too: max_retries + 1",
    "retries": "use attempts, which counts the first try too: retries + 1",
    "retry": "use attempts and backoff",
    "retry_policy": "use attempts and backoff",
    "retry_backoff": "use backoff=Backoff.exponential(...)",
    "retry_backoff_max": "use backoff=Backoff.exponential(..., max_delay=...)",
    "retry_jitter": "use backoff=Backoff.exponential(..., jitter=...)",
    "default_retry_delay": "use backoff",
    "retry_delay": "use backoff",
    "autoretry_for": "every error is retried up to attempts; except errors by Worker(never_retry=...)",
    "soft_time_limit": "use timeout",
    "time_limit": "use timeout",
    "job_timeout": "use timeout",
    "link": _FLOWS,
    "link_error": 'use @worker.on("failed")',
    "on_success": 'use @worker.on("completed")',
    "on_failure": 'use @worker.on("failed")',
    "ignore_result": "use remove_on_complete=True",
    "store_result": "use remove_on_complete=Keep(age=...)",
    "routing_key": "use a Queue of another name",
    "queue": "use a Queue of another name",
    "args": "put the arguments into data",
    "kwargs": "put the arguments into data",
    "at_front": "use lifo=True",
    "depends_on": _FLOWS,
    "result_ttl": "use remove_on_complete=Keep(age=...)",
    "failure_ttl": "use remove_on_fail=Keep(age=...)",
    "ttl": "use expires_in",
    "at": "use run_at",
    "defer_by": "use delay",
    "defer_until": "use run_at",
}
WORKER_HINTS: Final = {
    "lock_duration": "use lease",
    "lock_renew_time": "the lease is renewed every quarter of it; use lease",
    "visibility_timeout": "use lease",
    "worker_ttl": "use lease",
    "stalled_interval": "dead workers are found within 1.75 leases; use lease",
    "max_stalled_count": "use max_crashes",
    "max_started_attempts": "use max_crashes",
    "skip_stalled_check": "leave it out, every worker recovers the jobs of dead ones",
    "skip_lock_renewal": "leave it out, leases are always renewed",
    "drain_delay": "leave it out, a worker that waits is woken",
    "autorun": "a Worker starts with async with, run() or run_forever()",
    "run_retry_delay": "leave it out, a worker reconnects by itself",
    "maximum_rate_limit_delay": "leave it out, a worker that a limit holds up is woken",
    "metrics": "leave it out, jobs are always counted: queue.get_metrics",
    "telemetry": "leave it out; tracing is not available in this version",
    "ttl": "use timeout, an option of the job or of the queue's defaults",
    "worker_fork_options": 'use executor="thread" or "process"',
    "worker_threads_options": 'use executor="thread"',
    "repeat_strategy": _SCHEDULERS,
    "settings": "use backoffs={name: function}",
    "backoff_strategy": "use backoffs={name: function}",
    "use_worker_threads": 'use executor="thread"',
    "pool": 'use executor="loop", "thread" or "process"',
    "rate_limit": "use limiter=RateLimit(max, duration)",
    "group": "use group_concurrency and group_limit",
    "batches": "use batch=Batch(size)",
    "batch_size": "use batch=Batch(size)",
    "batch": "give batch=Batch(size) to the Worker itself",
    "max_jobs": "use concurrency, or recycle=Recycle(jobs=...)",
    "max_tasks_per_child": "use recycle=Recycle(jobs=...)",
    "max_memory_per_child": "use recycle=Recycle(rss=...)",
    "worker_concurrency": "use concurrency",
    "num_workers": "use concurrency, or more worker processes",
    "processes": 'use executor="process" with concurrency',
    "threads": 'use executor="thread" with concurrency',
    "prefetch_multiplier": "use prefetch, a number of jobs",
    "prefetch_count": "use prefetch",
    "burst": "use run(until_idle=True)",
    "on_startup": "use lifespan",
    "on_shutdown": "use lifespan",
    "attempts": "it is an option of the job, or of the queue's defaults",
    "backoff": "it is an option of the job, or of the queue's defaults",
    "timeout": "it is an option of the job, or of the queue's defaults",
    "throws": "use never_retry",
}


def unknown_option(
    name: object, value: object, known: Collection[str], hints: dict[str, str]
) -> InvalidOption:
    """Return the error for an option that does not exist, with the name that was probably meant."""
    text = str(name)
    snake = _CAMEL.sub("_", text).lower()
    if snake in known:
        hint = f"use {snake}"
    elif snake in hints:
        hint = hints[snake]
    elif close := difflib.get_close_matches(snake, known, 1):
        hint = f"did you mean {close[0]}?"
    else:
        hint = f"there are {', '.join(sorted(known))}"
    return InvalidOption(f"unknown option {text}={value!r}; {hint}")
