"""Jobs that run too long, are cancelled from anywhere, or were not started in time."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator

import pytest
import redis

from bullrush import (
    Backoff,
    Consumer,
    InvalidOption,
    Job,
    JobCancelled,
    JobExpired,
    JobNotInState,
    JobTimedOut,
    Queue,
    RetryLater,
    sync,
)
from bullrush._core.frames import encode_command
from tests.lua.script_calls import NUMBER, ScriptQueue
from tests.waiting import wait_until_async


@pytest.fixture
def release() -> AsyncIterator[threading.Event]:
    """What blocked threads wait for; set at the end, so that none is left."""
    event = threading.Event()
    yield event  # type: ignore[misc]
    event.set()


async def forever(job: Job) -> None:
    await asyncio.Event().wait()


# Timeout.


async def test_a_coroutine_past_its_timeout_is_cancelled(queue: Queue) -> None:
    ended: list[str | None] = []

    async def handler(job: Job) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(job.cancel_reason)

    async with queue.process(handler):
        with pytest.raises(JobTimedOut) as caught:
            await queue.call("work", wait="10s", timeout="150ms")
    assert caught.value.error_type == "JobTimedOut"
    assert "150 ms" in caught.value.reason
    assert ended == ["timeout"]


async def test_a_timeout_is_retried_like_any_failure(queue: Queue) -> None:
    attempts: list[int] = []

    async def handler(job: Job) -> str:
        attempts.append(job.attempts_made)
        if len(attempts) < 3:
            await asyncio.Event().wait()
        return "third"

    async with queue.process(handler):
        options = {"timeout": "100ms", "attempts": 3, "backoff": 0}
        assert await queue.call("work", wait="10s", **options) == "third"  # type: ignore[arg-type]
    assert attempts == [0, 1, 2]


async def test_one_that_ends_in_time_is_not_touched(queue: Queue) -> None:
    async def handler(job: Job) -> str:
        await asyncio.sleep(0)
        return "done"

    async with queue.process(handler, concurrency=10) as worker:
        jobs = [await queue.add("work", timeout="1h") for _ in range(20)]
        assert await queue.gather(jobs, timeout="10s") == ["done"] * 20
        assert not worker.jobs


async def test_a_thread_past_its_timeout_is_flagged_and_fenced_off(
    queue: Queue, release: threading.Event
) -> None:
    seen: list[bool] = []

    def handler(job: sync.Job) -> str:
        release.wait(30)
        seen.append(job.cancelled)
        return "too late"

    async with queue.process(handler) as worker:
        job = await queue.add("work", timeout="150ms")
        with pytest.raises(JobTimedOut):
            await job.result("10s")
        assert [job.id for job in worker.jobs] == [job.id]  # it keeps its slot
        release.set()
        await wait_until_async(lambda: not worker.jobs)
        await worker.wait_idle("10s")
    assert seen == [True]
    stored = await queue.get_job(job.id)
    assert stored is not None
    assert (stored.state, stored.returnvalue, stored.error_type) == ("failed", None, "JobTimedOut")


async def test_a_thread_that_looks_stops_by_itself(queue: Queue) -> None:
    def handler(job: sync.Job) -> None:
        while True:
            job.raise_if_cancelled()
            threading.Event().wait(0.001)

    async with queue.process(handler, concurrency=2) as worker:
        with pytest.raises(JobTimedOut):
            await queue.call("work", wait="10s", timeout="100ms")
        await wait_until_async(lambda: not worker.jobs)


async def test_the_retry_of_a_hung_thread_runs_in_another_slot(
    queue: Queue, release: threading.Event
) -> None:
    starts: list[int] = []

    def handler(job: sync.Job) -> str:
        starts.append(job.attempts_made)
        if job.attempts_made == 0:
            release.wait(30)
            return "the first, too late"
        return "the second"

    async with queue.process(handler, concurrency=2):
        options = {"timeout": "100ms", "attempts": 2, "backoff": 0}
        assert await queue.call("work", wait="10s", **options) == "the second"  # type: ignore[arg-type]
        release.set()
    assert starts == [0, 1]


async def test_a_backoff_strategy_decides_after_a_timeout_in_a_thread(
    queue: Queue, release: threading.Event
) -> None:
    """The strategy answers after the job was fenced off; its retry counts all the same."""

    async def strategy(attempts_made: int, error: BaseException) -> int:
        await asyncio.sleep(0)
        assert isinstance(error, JobTimedOut)
        return 0

    def handler(job: sync.Job) -> str:
        if job.attempts_made == 0:
            release.wait(30)
        return "again"

    options = {"timeout": "100ms", "attempts": 2, "backoff": Backoff.custom("asked")}
    async with queue.process(handler, concurrency=2, backoffs={"asked": strategy}):  # type: ignore[dict-item]
        assert await queue.call("work", wait="10s", **options) == "again"  # type: ignore[arg-type]
        release.set()


async def test_a_hung_thread_is_reported(
    queue: Queue, release: threading.Event, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bullrush.worker.stopper.GRACE", 0.05)

    def handler(job: sync.Job) -> None:
        release.wait(30)

    with caplog.at_level(logging.WARNING, "bullrush"):
        async with queue.process(handler):
            with pytest.raises(JobTimedOut):
                await queue.call("work", wait="10s", timeout="100ms")
            await wait_until_async(lambda: "runs on" in caplog.text)
            release.set()


async def test_a_coroutine_that_does_not_give_way_is_settled_without_it(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bullrush.worker.stopper.GRACE", 0.05)
    stop = asyncio.Event()

    async def handler(job: Job) -> str:
        while not stop.is_set():
            try:
                await stop.wait()
            except asyncio.CancelledError:
                continue
        return "too late"

    async with queue.process(handler) as worker:
        job = await queue.add("work", timeout="100ms")
        with pytest.raises(JobTimedOut):
            await job.result("10s")
        stop.set()
        await wait_until_async(lambda: not worker.jobs)
    assert (await job.refresh()).error_type == "JobTimedOut"


# Cancel.


@pytest.mark.parametrize("options", [{}, {"delay": "1h"}, {"priority": 3}, {"lifo": True}])
async def test_a_job_that_has_not_started_is_removed(queue: Queue, options: dict[str, object]) -> None:
    job = await queue.add("work", **options)  # type: ignore[arg-type]
    assert await queue.cancel(job.id) == "removed"
    assert await job.get_state() == "unknown"
    assert await queue.cancel(job.id) == "unknown"


async def test_a_finished_job_stays_as_it_is(queue: Queue) -> None:
    async def handler(job: Job) -> int:
        return 5

    async with queue.process(handler):
        job = await queue.add("work")
        assert await job.result("10s") == 5
    assert await job.cancel() == "finished"
    assert await job.get_state() == "completed"


@pytest.mark.parametrize("concurrency", [1, 5])
async def test_a_running_coroutine_is_cancelled_and_never_retried(
    queue: Queue, url: str, prefix: str, concurrency: int
) -> None:
    """By another client, whether the worker's slots are full or not."""
    async with (
        queue.process(forever, concurrency=concurrency) as worker,
        Queue("q", url, prefix=prefix) as other,
    ):
        job = await queue.add("work", attempts=5, backoff=0)
        await wait_until_async(lambda: worker.jobs)
        assert await other.cancel(job.id, "not needed any more") == "signalled"
        with pytest.raises(JobCancelled) as caught:
            await job.result("10s")
        await worker.wait_idle("10s")
    assert caught.value.reason == "not needed any more"
    assert await job.get_state() == "failed"


async def test_a_thread_is_cancelled_by_its_flag(queue: Queue, release: threading.Event) -> None:
    reasons: list[str | None] = []

    def handler(job: sync.Job) -> None:
        release.wait(30)
        reasons.append(job.cancel_reason)
        with pytest.raises(JobCancelled):
            job.raise_if_cancelled()

    async with queue.process(handler) as worker:
        job = await queue.add("work")
        await wait_until_async(lambda: worker.jobs)
        assert await job.cancel("stop") == "signalled"
        with pytest.raises(JobCancelled):
            await job.result("10s")
        release.set()
        await wait_until_async(lambda: not worker.jobs)
    assert reasons == ["stop"]


async def test_what_a_cancelled_handler_raises_does_not_matter(queue: Queue) -> None:
    async def handler(job: Job) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RetryLater("1h") from None

    async with queue.process(handler) as worker:
        job = await queue.add("work", attempts=3)
        await wait_until_async(lambda: worker.jobs)
        await job.cancel()
        with pytest.raises(JobCancelled):
            await job.result("10s")


async def test_a_claimed_job_that_has_not_started_is_cancelled(queue: Queue) -> None:
    async with Consumer(queue, prefetch=3) as consumer:
        jobs = [await queue.add("work") for _ in range(3)]
        first = (await consumer.fetch(timeout="10s"))[0]
        await wait_until_async(lambda: queue.get_job_counts("active"))
        other = next(job for job in jobs if job.id != first.id)
        await wait_until_async(lambda: _is(other, "active"))
        assert await other.cancel() == "signalled"
        with pytest.raises(JobCancelled):
            await other.result("10s")
        first.complete("done")
        await consumer.flush()
    assert await first.get_state() == "completed"


async def _is(job: Job, state: str) -> bool:
    return await job.get_state() == state


async def test_a_cancelled_job_whose_worker_leaves_does_not_run_again(
    queue: Queue, redis_client: redis.Redis, prefix: str
) -> None:
    """The mark is in its plan: whoever gets it next settles it as cancelled."""
    ran: list[str] = []

    async def handler(job: Job) -> None:
        ran.append(job.id)

    job = await queue.add("work", attempts=3)
    leaving = ScriptQueue(redis_client, prefix)
    leaving.register("other")
    assert leaving.claim(1) == [job.id]
    assert await job.cancel("gone") == "signalled"
    leaving.run("retire", NUMBER, held=leaving.held)
    async with queue.process(handler):
        with pytest.raises(JobCancelled) as caught:
            await job.result("10s")
    assert caught.value.reason == "gone"
    assert not ran
    assert redis_client.hget(queue.keys["plans"], job.id) == b"w"


async def test_a_reason_must_be_text(queue: Queue) -> None:
    with pytest.raises(InvalidOption):
        await queue.cancel("1", "a\0b")


# Expiry.


async def test_a_job_that_waited_too_long_is_not_started(queue: Queue) -> None:
    ran: list[str] = []

    async def handler(job: Job) -> None:
        ran.append(job.name)

    late = await queue.add("late", expires_in=1)
    fresh = await queue.add("fresh", expires_in="1h")
    await wait_until_async(lambda: _server_is_past(queue, late.timestamp + 1))
    async with queue.process(handler) as worker:
        with pytest.raises(JobExpired) as caught:
            await late.result("10s")
        await fresh.result("10s")
        await worker.wait_idle("10s")
    assert ran == ["fresh"]
    assert "not started within 1 ms" in caught.value.reason
    assert (await late.refresh()).attempts_started == 0
    assert late.processed_on is None


async def _server_is_past(queue: Queue, ms: int) -> bool:
    seconds, micros = await queue._port.link.call(encode_command("TIME"))  # type: ignore[misc]
    return int(seconds) * 1000 + int(micros) // 1000 > ms + 1


async def test_it_is_counted_from_when_the_job_is_due(queue: Queue) -> None:
    async def handler(job: Job) -> str:
        return "in time"

    async with queue.process(handler):
        job = await queue.add("work", delay="300ms", expires_in="250ms")
        assert await job.result("10s") == "in time"


# Put off by the handler itself.


async def test_a_handler_moves_its_job_to_delayed(queue: Queue) -> None:
    runs: list[int] = []

    async def handler(job: Job) -> str:
        runs.append(job.attempts_made)
        if len(runs) == 1:
            now = job.timestamp
            await job.move_to_delayed(now + 300)
            return "does not count"
        return "second"

    async with queue.process(handler):
        assert await queue.call("work", wait="10s") == "second"
    assert runs == [0, 0]


async def test_nobody_else_moves_it(queue: Queue) -> None:
    job = await queue.add("work")
    with pytest.raises(JobNotInState, match="only the handler"):
        await job.move_to_delayed(job.timestamp + 1000)
