"""How a worker starts, pauses and ends, and what becomes of the jobs it had."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis

from bullrush import BullrushError, InvalidOption, Job, Queue, ServerError, UnsupportedServer, Worker, sync
from tests.conftest import PrivateServer
from tests.faults.crew import Settings, crew
from tests.servers import Server
from tests.waiting import wait_until, wait_until_async


class Gate:
    """A handler whose jobs run until it is opened."""

    def __init__(self) -> None:
        self.started = list[str]()
        self.ended = list[str]()
        self.cancelled = list[str]()
        self.open = asyncio.Event()

    async def __call__(self, job: Job) -> None:
        self.started.append(job.id)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.append(job.id)
            raise
        self.ended.append(job.id)


async def waiting_ids(queue: Queue) -> list[str]:
    return [job.id for job in await queue.get_jobs("waiting", 0, -1, ascending=True)]


async def nothing(job: Job) -> None:
    pass


# Pausing.


async def test_a_paused_queue_keeps_its_jobs_and_goes_on(queue: Queue) -> None:
    done = Counter[str]()

    async def note(job: Job) -> None:
        done[job.id] += 1

    async with queue.process(note, concurrency=3) as worker:
        await queue.pause()
        assert await queue.is_paused()
        jobs = await queue.add_bulk([("work", i) for i in range(20)])
        await queue.add("work", 20, priority=3)
        assert await queue.get_job_counts("waiting", "prioritized") == {"waiting": 20, "prioritized": 1}
        await wait_until_async(lambda: worker.stats.calls > 2, what="the worker to look and find it paused")
        assert not done
        await queue.resume()
        await wait_until_async(lambda: len(done) == 21, what="the worker to go on")
        await worker.wait_idle("5s")
    assert {job.id for job in jobs} <= set(done)
    assert set(done.values()) == {1}


async def test_a_paused_worker_gives_back_and_leaves_the_jobs_to_others(queue: Queue) -> None:
    gate = Gate()
    heard = list[str]()
    worker = queue.process(gate, concurrency=2, prefetch=5)
    worker.on("paused", lambda: heard.append("paused"))
    worker.on("resumed", lambda: heard.append("resumed"))
    async with worker:
        jobs = await queue.add_bulk([("work", i) for i in range(10)])
        await wait_until_async(lambda: len(gate.started) == 2)
        await worker.pause(wait=False)
        assert worker.is_paused
        gate.open.set()
        await worker.pause()
        assert worker.jobs == []
        assert gate.started == [job.id for job in jobs[:2]]
        assert await waiting_ids(queue) == [job.id for job in jobs[2:]]
        others = Counter[str]()

        async def other(job: Job) -> None:
            others[job.id] += 1

        async with queue.process(other, concurrency=1) as second:
            await wait_until_async(lambda: len(others) == 8)
            await second.wait_idle("5s")
        await queue.add("work", 11)
        await worker.resume()
        await wait_until_async(lambda: len(gate.started) == 3)
    assert heard == ["paused", "paused", "resumed"]


async def test_concurrency_can_be_changed(queue: Queue) -> None:
    gate = Gate()
    async with queue.process(gate, concurrency=1, prefetch=0) as worker:
        await queue.add_bulk([("work", i) for i in range(6)])
        await wait_until_async(lambda: len(gate.started) == 1)
        worker.concurrency = 4
        await wait_until_async(lambda: len(gate.started) == 4)
        assert (worker.concurrency, len(worker.jobs)) == (4, 4)
        gate.open.set()
        await worker.wait_idle("5s")


# Closing.


async def test_a_graceful_close_gives_back_in_order_what_has_not_started(
    queue: Queue, redis_client: redis.Redis
) -> None:
    gate = Gate()
    jobs = await queue.add_bulk([("work", i) for i in range(30)])
    async with queue.process(gate, concurrency=3, prefetch=10) as worker:
        await wait_until_async(lambda: len(gate.started) == 3)
        closing = asyncio.create_task(worker.close())
        await wait_until_async(lambda: redis_client.llen(queue.keys["waiting"]) == 27)
        assert not closing.done()
        gate.open.set()
        await closing
        assert not worker.is_running
    assert gate.ended == gate.started == [job.id for job in jobs[:3]]
    assert await waiting_ids(queue) == [job.id for job in jobs[3:]]
    assert redis_client.zcard(queue.keys["workers"]) == 0
    assert redis_client.hget(queue.keys["meta"], "held") == b"0"
    back = await jobs[3].refresh()
    assert (back.attempts_made, back.attempts_started, back.crashes) == (0, 0, 0)


@pytest.mark.parametrize("how", ["force", "timeout"])
async def test_a_close_that_does_not_wait_gives_back_what_runs_uncharged(
    queue: Queue, redis_client: redis.Redis, how: str
) -> None:
    gate = Gate()
    jobs = await queue.add_bulk([("work", i) for i in range(10)], attempts=2)
    async with queue.process(gate, concurrency=4, prefetch=3) as worker:
        await wait_until_async(lambda: len(gate.started) == 4)
        began = time.monotonic()
        await (worker.close(force=True) if how == "force" else worker.close(timeout="200ms"))
        assert (0 if how == "force" else 0.2) <= time.monotonic() - began < 5
    assert set(gate.cancelled) == set(gate.started)
    waiting = await waiting_ids(queue)
    assert set(waiting[:4]) == set(gate.started), "what ran is at the head"
    assert waiting[4:] == [job.id for job in jobs[4:]]
    for job in jobs:
        await job.refresh()
        assert (job.state, job.attempts_made, job.crashes) == ("waiting", 0, 0)
    assert redis_client.hget(queue.keys["meta"], "held") == b"0"
    done = Counter[str]()

    async def note(job: Job) -> None:
        done[job.id] += 1

    async with queue.process(note) as worker:
        await worker.wait_idle("5s")
    assert done == Counter(job.id for job in jobs)


async def test_a_thread_sees_that_it_should_stop(queue: Queue) -> None:
    reasons = list[str | None]()
    started = threading.Event()

    def wait_for_the_flag(job: sync.Job) -> None:
        started.set()
        wait_until(lambda: job.cancelled, 10)
        reasons.append(job.cancel_reason)

    job = await queue.add("work", 1)
    async with queue.process(wait_for_the_flag) as worker:
        await wait_until_async(started.is_set)
        await worker.close(force=True)
    assert reasons == ["shutdown"]
    await job.refresh()
    assert job.state in ("waiting", "completed")


async def test_a_worker_can_be_started_again(queue: Queue) -> None:
    done = Counter[str]()

    async def note(job: Job) -> None:
        done[job.id] += 1

    worker = queue.process(note)
    for _ in range(3):
        await queue.add("work", 1)
        async with worker:
            with pytest.raises(InvalidOption, match="runs already"):
                await worker.__aenter__()
            await worker.wait_idle("5s")
    assert len(done) == 3


# Running.


async def test_run_until_idle_does_all_there_is_and_ends(queue: Queue) -> None:
    jobs = await queue.add_bulk([("work", i) for i in range(500)])
    await queue.add("work", 1, delay="1h")
    await queue.process(nothing, concurrency=20).run(until_idle=True)
    counts = await queue.get_job_counts()
    assert counts == {**dict.fromkeys(counts, 0), "completed": len(jobs), "delayed": 1}


async def test_run_ends_when_it_is_closed_or_cancelled(queue: Queue, redis_client: redis.Redis) -> None:
    worker = queue.process(nothing)
    running = asyncio.create_task(worker.run())
    await wait_until_async(lambda: worker.is_running)
    await worker.close()
    await asyncio.wait_for(running, 5)
    running = asyncio.create_task(worker.run())
    await wait_until_async(lambda: worker.is_running)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not worker.is_running
    assert redis_client.zcard(queue.keys["workers"]) == 0


async def test_a_worker_that_waits_for_its_server_can_be_closed_and_cancelled() -> None:
    worker = Worker("q", nothing, "redis://127.0.0.1:1")
    running = asyncio.create_task(worker.run())
    await wait_until_async(lambda: worker._starting is not None)
    await worker.close()
    await asyncio.wait_for(running, 5)
    assert not worker.is_running
    running = asyncio.create_task(worker.run())
    await wait_until_async(lambda: worker._starting is not None)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_closing_a_worker_that_starts_undoes_its_lifespan(queue: Queue) -> None:
    steps = list[str]()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        steps.append("entered")
        try:
            await asyncio.Event().wait()
            yield
        finally:
            steps.append("left")

    worker = queue.process(nothing, lifespan=lifespan)
    running = asyncio.create_task(worker.run())
    await wait_until_async(lambda: steps)
    await worker.close()
    await asyncio.wait_for(running, 5)
    assert steps == ["entered", "left"]


@pytest.mark.parametrize("style", ["async", "thread"])
def test_sigterm_closes_run_forever_in_good_order(
    server: Server, redis_client: redis.Redis, prefix: str, tmp_path: Path, style: str
) -> None:
    settings = Settings(
        url=server.url,
        prefix=prefix,
        queue="q",
        log=str(tmp_path / "starts"),
        seconds=0.3,
        style=style,
        concurrency=3,
    )
    with sync.Queue("q", server.url, prefix=prefix) as queue, crew(settings) as workers:
        jobs = queue.add_bulk([("work", i) for i in range(50)])
        process = workers.add()
        wait_until(lambda: len(workers.starts()) >= 3, 30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        workers.processes.clear()
        started = {start.job_id for start in workers.starts()}
        counts = queue.get_job_counts("completed", "waiting", "active")
        assert counts == {"completed": len(started), "waiting": 50 - len(started), "active": 0}
        waiting = [job.id for job in queue.get_jobs("waiting", 0, -1, ascending=True)]
        assert waiting == [job.id for job in jobs if job.id not in started]
        assert redis_client.zcard(queue.keys["workers"]) == 0


def test_a_second_signal_ends_at_once(
    server: Server, redis_client: redis.Redis, prefix: str, tmp_path: Path
) -> None:
    settings = Settings(url=server.url, prefix=prefix, queue="q", log=str(tmp_path / "starts"), seconds=300)
    with sync.Queue("q", server.url, prefix=prefix) as queue, crew(settings) as workers:
        queue.add_bulk([("work", i) for i in range(20)])
        process = workers.add()
        wait_until(lambda: len(workers.starts()) == settings.concurrency, 30)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: redis_client.llen(queue.keys["waiting"]) == 10, 10)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        workers.processes.clear()
        assert queue.get_job_counts("waiting", "active") == {"waiting": 20, "active": 0}


def test_a_worker_that_is_never_started_warns() -> None:
    worker = Worker("q", nothing, "redis://127.0.0.1:1")
    with pytest.warns(ResourceWarning, match="'q' was never started"):
        del worker


# Fatal errors.


async def test_a_key_of_another_program_is_fatal(queue: Queue, redis_client: redis.Redis) -> None:
    redis_client.set(queue.keys["waiting"], "mine")
    with pytest.raises(UnsupportedServer, match=r"waiting.* is a string"):
        async with queue.process(nothing):
            raise AssertionError("it started all the same")
    with pytest.raises(UnsupportedServer, match=r"waiting.* is a string") as caught:
        await queue.add("work", 1)
    assert caught.value.took_effect is False
    assert redis_client.get(queue.keys["waiting"]) == b"mine"


async def test_a_missing_password_is_fatal(private_server: PrivateServer) -> None:
    server = private_server(extra=())
    with server.client() as client:
        client.config_set("requirepass", "secret")
    async with Queue("q", server.url) as queue:
        with pytest.raises(ServerError, match=r"(?i)auth"):
            await asyncio.wait_for(queue.add("work", 1), 5)
        with pytest.raises(ServerError, match=r"(?i)auth"):
            async with asyncio.timeout(5):
                async with queue.process(nothing):
                    raise AssertionError("it started all the same")


async def test_a_wrong_password_is_fatal(private_server: PrivateServer) -> None:
    server = private_server()
    with server.client() as client:
        client.config_set("requirepass", "secret")
    async with Queue("q", server.url.replace("//", "//:wrong@")) as queue:
        for call in (
            queue.add("work", 1),
            queue.ping(),
            queue.get_job_counts(),
            queue.process(nothing).run(),
        ):
            with pytest.raises(BullrushError, match=r"(?i)password|login"):
                await asyncio.wait_for(call, 5)


async def test_a_command_that_is_not_allowed_is_fatal(private_server: PrivateServer) -> None:
    server = private_server()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "small", "on", ">pw", "~*", "&*", "+@all", "-zadd")
    async with Queue("q", server.url.replace("//", "//small:pw@")) as queue:
        with pytest.raises(UnsupportedServer, match=r"ZADD|zadd"):
            await queue.add("work", 1)
        with pytest.raises(UnsupportedServer, match=r"ZADD|zadd"):
            async with queue.process(nothing):
                raise AssertionError("it started all the same")


async def test_a_fatal_error_later_ends_the_body_and_is_raised(
    private_server: PrivateServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = private_server()
    errors = list[Exception]()
    async with Queue("q", server.url) as queue:
        worker = queue.process(nothing)
        worker.on("error", errors.append)
        with server.client() as client, pytest.raises(BullrushError, match=r"(?i)auth"):
            async with asyncio.timeout(20):
                async with worker:
                    await queue.add("work", 1)
                    await worker.wait_idle("5s")
                    client.config_set("requirepass", "secret")
                    client.client_kill_filter(_type="normal", skipme=True)
                    await asyncio.Event().wait()
    assert errors
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0, "the cancellation that ended the body was taken back"
