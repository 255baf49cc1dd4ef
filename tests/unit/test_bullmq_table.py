"""The page for users of BullMQ: every row names a test that exists, and everything that BullMQ has is answered."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "bullmq.md"
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")

JOB_OPTIONS = """jobId timestamp delay priority lifo attempts backoff jitter removeOnComplete removeOnFail
keepLogs stackTraceLimit sizeLimit parent deduplication failParentOnFailure ignoreDependencyOnFailure
removeDependencyOnFailure continueParentOnFailure telemetry omitContext repeatJobKey prevMillis debounce
repeat group"""
WORKER_OPTIONS = """name autorun concurrency limiter lockDuration lockRenewTime stalledInterval
maxStalledCount maxStartedAttempts skipStalledCheck skipLockRenewal drainDelay runRetryDelay
maximumRateLimitDelay maxDataPoints backoffStrategy repeatStrategy useWorkerThreads workerForkOptions
workerThreadsOptions connection ttl batch isRunning fetchNext extendJobLocks extendLock
startStalledCheckTimer token abortSignal"""
QUEUE = """prefix defaultJobOptions maxLen skipMetasUpdate skipWaitingForReady skipVersionCheck add
addBulk setGlobalConcurrency getGlobalConcurrency removeGlobalConcurrency setGlobalRateLimit
getGlobalRateLimit removeGlobalRateLimit isMaxed createPostgresBackend setDefaultBackendFactory
withBackend toKey close disconnect waitUntilReady rateLimit removeRateLimitKey getRateLimitTtl"""
EVENTS = """added waiting active completed failed delayed waiting-children progress stalled
retries-exhausted duplicated deduplicated removed drained cleaned paused resumed error publishEvent
QueueEventsProducer trimEvents lastEventId blockingTimeout ready closing closed lockRenewalFailed
locksRenewed ioredis:close"""
METHODS = """updateProgress updateJobProgress log addJobLog getJobLogs clearLogs updateData getState
isCompleted isFailed isActive isWaiting isDelayed isWaitingChildren getJobState waitUntilFinished remove
fromId toJSON asJSON getJob getJobs getRanges getWaiting getActive getDelayed getPrioritized getCompleted
getFailed getWaitingChildren getWaitingCount getActiveCount getDelayedCount getPrioritizedCount
getCompletedCount getFailedCount getWaitingChildrenCount count getJobCounts getJobCountByTypes
getCountsPerPriority getDependencies getMetrics getWorkers getWorkersCount getQueueEvents getMeta
getVersion getDeduplicationJobId removeDeduplicationKey getJobScheduler getJobSchedulers
getJobSchedulersCount removeJobScheduler isPaused exportPrometheusMetrics recordJobCountsMetric pause
resume drain clean obliterate retry resetAttemptsMade resetAttemptsStarted retryJobs promote promoteJobs
changeDelay changePriority removeOrphanedJobs removeDeprecatedPriorityKey upsertJobScheduler FlowProducer
getChildrenValues getDependenciesCount getIgnoredChildrenFailures removeUnprocessedChildren
removeChildDependency getFlow AbortSignal cancelJob cancelAllJobs getNextJob moveToCompleted moveToFailed
moveToDelayed moveToWait WaitingError moveToWaitingChildren extendLocks extend replace keepLastIfActive
reschedule UnrecoverableError DelayedError RateLimitError WaitingChildrenError"""


def rows() -> list[str]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("| ") and not line.startswith("| BullMQ ")]


@cache
def functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.split("|")[1].strip()[:40])
def test_a_row_is_backed_by_a_test_that_exists(row: str) -> None:
    named = NAMED.findall(row.split("|")[-2])
    assert named, "no test is named"
    for file, function in named:
        assert function in functions(TESTS / file)


@pytest.mark.parametrize("name", " ".join((JOB_OPTIONS, WORKER_OPTIONS, QUEUE, EVENTS, METHODS)).split())
def test_everything_is_answered(name: str) -> None:
    theirs = " ".join(row.split("|")[1] for row in rows())
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", theirs), f"the page has no {name}"
