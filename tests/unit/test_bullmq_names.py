"""What users of BullMQ type first: each of its options is answered with ours, and what is not here is not there.

A name that is listed here as missing has a row in docs/bullmq.md which says so: whoever adds it changes both.
"""

from __future__ import annotations

import pytest

import bullrush
from bullrush import Bullrush, Consumer, InvalidOption, Job, Queue, QueueEvents, Worker, sync
from bullrush.options import job_settings, worker_settings

JOB_OPTIONS = {
    "jobId": "use job_id",
    "timestamp": "the server's clock",
    "removeOnComplete": "use remove_on_complete",
    "removeOnFail": "use remove_on_fail",
    "keepLogs": "use keep_logs",
    "stackTraceLimit": "use stack_trace_limit",
    "sizeLimit": "use size_limit",
    "failParentOnFailure": 'on_child_failure="fail"',
    "ignoreDependencyOnFailure": 'on_child_failure="ignore"',
    "removeDependencyOnFailure": 'on_child_failure="remove"',
    "continueParentOnFailure": 'on_child_failure="continue"',
    "telemetry": "not available in this version",
    "repeatJobKey": "upsert_job_scheduler",
    "prevMillis": "upsert_job_scheduler",
    "repeat": "upsert_job_scheduler",
    "debounce": "deduplication=Deduplication",
}
WORKER_OPTIONS = {
    "autorun": "starts with async with",
    "lockDuration": "use lease",
    "lockRenewTime": "use lease",
    "stalledInterval": "use lease",
    "maxStalledCount": "use max_crashes",
    "maxStartedAttempts": "use max_crashes",
    "skipStalledCheck": "leave it out",
    "skipLockRenewal": "leave it out",
    "drainDelay": "leave it out",
    "runRetryDelay": "leave it out",
    "maximumRateLimitDelay": "leave it out",
    "removeOnComplete": "use remove_on_complete",
    "removeOnFail": "use remove_on_fail",
    "metrics": "get_metrics",
    "settings": "backoffs",
    "backoffStrategy": "backoffs",
    "repeatStrategy": "upsert_job_scheduler",
    "useWorkerThreads": 'executor="thread"',
    "workerForkOptions": "executor",
    "workerThreadsOptions": 'executor="thread"',
    "telemetry": "not available in this version",
    "ttl": "use timeout",
    "group": "group_concurrency",
}
QUEUE_OPTIONS = [
    "defaultJobOptions",
    "streams",
    "skipMetasUpdate",
    "skipWaitingForReady",
    "skipVersionCheck",
    "settings",
    "telemetry",
    "backend",
]
SCHEDULING = ["every", "pattern", "limit", "startDate", "endDate", "tz", "offset", "immediately"]
# Each of these is absent from every class.
MISSING = {
    "connection": ["disconnect", "wait_until_ready", "create_postgres_backend", "with_backend"],
    "schedulers": [
        "upsert_job_scheduler",
        "get_job_scheduler",
        "get_job_schedulers",
        "get_job_schedulers_count",
        "remove_job_scheduler",
        "is_job_scheduler",
    ],
    "flows": [
        "get_dependencies",
        "get_dependencies_count",
        "get_children_values",
        "get_ignored_children_failures",
        "get_failed_children",
        "get_failed_children_values",
        "remove_unprocessed_children",
        "remove_child_dependency",
        "move_to_waiting_children",
        "add_child",
        "get_flow",
    ],
    "upkeep": ["remove_orphaned_jobs", "remove_deprecated_priority_key", "get_meta", "get_version"],
    "watching": ["export_prometheus_metrics", "record_job_counts_metric", "get_queue_events"],
    "locks": ["extend_lock", "extend_job_locks", "start_stalled_check_timer"],
}
CLASSES = (Bullrush, Queue, sync.Queue, Job, sync.Job, Worker, Consumer, sync.Consumer, QueueEvents)


@pytest.mark.parametrize(("name", "said"), JOB_OPTIONS.items())
def test_an_option_of_its_jobs_is_answered(name: str, said: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        job_settings({name: 5})
    assert f"unknown option {name}=5" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", SCHEDULING)
def test_an_option_of_its_schedulers_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidOption, match=f"unknown option {name}=5"):
        job_settings({name: 5})


@pytest.mark.parametrize(("name", "said"), WORKER_OPTIONS.items())
def test_an_option_of_its_workers_is_answered(name: str, said: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        worker_settings({name: 5})
    assert f"unknown option {name}=5" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", QUEUE_OPTIONS)
def test_an_option_of_its_queues_is_no_argument(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        Queue("q", "redis://127.0.0.1:1", **{name: None})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "event", ["ready", "closing", "lockRenewalFailed", "locksRenewed", "ioredis:close", "waiting"]
)
@pytest.mark.filterwarnings("ignore:a worker of queue:ResourceWarning")
def test_an_event_that_no_worker_has_is_refused_by_name(event: str) -> None:
    async def work(job: Job) -> None:
        """Never run."""

    worker = Worker("q", work, "redis://127.0.0.1:1")
    with pytest.raises(InvalidOption, match=f"no event '{event}'; there are active, completed"):
        worker.on(event, print)  # type: ignore[call-overload]


@pytest.mark.parametrize("group", MISSING)
def test_what_is_not_in_this_version_is_in_no_class(group: str) -> None:
    there = {f"{cls.__name__}.{name}" for cls in CLASSES for name in MISSING[group] if hasattr(cls, name)}
    assert there == set(), "docs/bullmq.md says that these are missing"


@pytest.mark.parametrize("name", ["FlowProducer", "Relay", "QueueEventsProducer", "JobScheduler"])
def test_what_is_not_in_this_version_is_not_exported(name: str) -> None:
    assert not hasattr(bullrush, name)


@pytest.mark.parametrize(
    "name",
    ["rate_limit_group", "set_group_limits", "pause_group", "resume_group", "get_groups", "get_batch"],
)
def test_groups_and_batches_are_not_in_this_version(name: str) -> None:
    assert [cls for cls in CLASSES if hasattr(cls, name)] == []
