"""The consumer of blocking code: the same jobs and answers, from any thread."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType

import pytest

import bullrush
from bullrush import CodecError, InvalidOption, InvalidOptionType, JobNotInState, NotConfigured, sync
from bullrush.errors import ConnectionLost
from bullrush.worker.blocking import _Delivery, _Running
from tests.conftest import PrivateServer
from tests.waiting import wait_until


@pytest.fixture
def queue(url: str, prefix: str) -> Iterator[sync.Queue]:
    with sync.Queue("orders", url, prefix=prefix) as made:
        yield made


def counts(queue: sync.Queue) -> tuple[int, int, int, int]:
    found = queue.get_job_counts("waiting", "active", "completed", "failed")
    return found["waiting"], found["active"], found["completed"], found["failed"]


def fetch(consumer: sync.Consumer, max: int = 1) -> list[sync.Job]:
    jobs = consumer.fetch(max, timeout="10s")
    assert jobs
    return jobs


def in_thread(action: Callable[[], object]) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(action).result(20)


# Settling.


def test_all_ways_to_settle(queue: sync.Queue) -> None:
    jobs = queue.add_bulk([("order", {"n": n}) for n in range(6)])
    with sync.Consumer(queue, prefetch=4) as consumer:
        first, second, third, fourth = fetch(consumer, 10)
        assert [first.id, second.id, third.id, fourth.id] == [job.id for job in jobs[:4]]
        assert type(first) is sync.Job
        assert first.get_state() == "active"
        first.complete({"done": True})
        second.fail("no stock", retry=False)
        third.release()
        fourth.retry_later("50ms")
        consumer.flush()
        assert counts(queue)[2:] == (1, 1)
        left = set[str]()
        for job in consumer:
            job.complete()
            left.add(job.id)
            if len(left) == 4:
                break
        assert left == {third.id, fourth.id, jobs[4].id, jobs[5].id}
        consumer.flush()
    assert counts(queue) == (0, 0, 5, 1)
    assert first.result("5s") == {"done": True}
    failed = second.refresh()
    assert (failed.failed_reason, failed.error_type, failed.attempts_made) == (
        "no stock",
        "UnrecoverableError",
        1,
    )
    assert third.refresh().attempts_made == fourth.refresh().attempts_made == 0


def test_a_failure_follows_attempts_and_has_its_stack(queue: sync.Queue) -> None:
    added = queue.add("order", attempts=2, backoff="10ms")
    with sync.Consumer(queue) as consumer:
        for _ in range(2):
            (job,) = fetch(consumer)
            try:
                raise ValueError("again")
            except ValueError as error:
                job.fail(error)
    found = added.refresh()
    assert (found.state, found.attempts_made, found.error_type) == ("failed", 2, "ValueError")
    assert any("in test_a_failure_follows" in line for line in found.stacktrace)


@pytest.mark.parametrize("again", ["complete", "release"])
def test_a_job_is_settled_once_whoever_does(queue: sync.Queue, again: str) -> None:
    queue.add("order")
    with sync.Consumer(queue) as consumer:
        (job,) = fetch(consumer)
        job.complete(1)
        with pytest.raises(JobNotInState, match="settled already"):
            getattr(job, again)()
        with pytest.raises(JobNotInState, match="settled already"):
            in_thread(lambda: job.fail("late"))
        consumer.flush()
    assert counts(queue) == (0, 0, 1, 0)


def test_many_threads_settle_one_job_and_one_of_them_does(queue: sync.Queue) -> None:
    queue.add_bulk([("order", n) for n in range(50)])
    with sync.Consumer(queue) as consumer, ThreadPoolExecutor(8) as pool:
        for _ in range(50):
            (job,) = fetch(consumer)
            start = threading.Barrier(8)
            outcomes = list(pool.map(lambda n, job=job, start=start: settle(job, n, start), range(8)))
            assert outcomes.count("settled") == 1
            consumer.flush()
            assert job.refresh().returnvalue == outcomes.index("settled")


def settle(job: sync.Job, value: int, start: threading.Barrier) -> str:
    start.wait(10)
    try:
        job.complete(value)
    except JobNotInState:
        return "refused"
    return "settled"


def test_a_value_that_cannot_be_stored_is_refused_where_it_was_given(queue: sync.Queue) -> None:
    queue.add("order")
    with sync.Consumer(queue) as consumer:
        (job,) = fetch(consumer)
        with pytest.raises(CodecError, match="returnvalue"):
            job.complete(object())
        with pytest.raises(InvalidOptionType, match="nothing was settled"):
            job.fail(5)  # type: ignore[arg-type]
        with pytest.raises(InvalidOption, match="delay"):
            job.retry_later("soon")
        value = {"n": 1}
        job.complete(value)
        value["n"] = 2
        consumer.flush()
    assert job.refresh().returnvalue == {"n": 1}
    assert counts(queue) == (0, 0, 1, 0)


def test_progress_and_lines_are_told_from_any_thread(queue: sync.Queue) -> None:
    added = queue.add("order")
    with sync.Consumer(queue) as consumer:
        (job,) = fetch(consumer)
        in_thread(lambda: (job.update_progress(50), job.log("half"), job.complete("all")))
        consumer.flush()
    assert added.refresh().progress == 50
    assert added.returnvalue == "all"
    assert added.get_logs() == (["half"], 1)


# Fetching.


def test_threads_share_a_consumer_and_no_job_comes_twice(queue: sync.Queue) -> None:
    taken = Counter[object]()

    def work(consumer: sync.Consumer) -> None:
        while sum(taken.values()) < 300 and (jobs := consumer.fetch(3, timeout="500ms")):
            for job in jobs:
                taken[job.data] += 1
                job.complete()

    with sync.Consumer(queue, prefetch=10) as consumer, ThreadPoolExecutor(5) as pool:
        running = [pool.submit(work, consumer) for _ in range(5)]
        queue.add_bulk([("order", n) for n in range(300)])
        for each in running:
            each.result(60)
        consumer.flush()
    assert taken == Counter(range(300))
    assert counts(queue) == (0, 0, 300, 0)


def test_prefetch_is_what_is_held_at_a_time(queue: sync.Queue) -> None:
    queue.add_bulk([("order", n) for n in range(5)])
    with sync.Consumer(queue, prefetch=2) as consumer:
        taken = fetch(consumer, 10)
        assert len(taken) == 2
        assert consumer.fetch(10, timeout="200ms") == []
        assert counts(queue)[:2] == (3, 2)
        taken[0].complete()
        assert len(fetch(consumer, 10)) == 1


def test_a_busy_program_keeps_its_jobs(queue: sync.Queue) -> None:
    queue.add("order")
    with sync.Consumer(queue, lease="1s") as consumer:
        (job,) = fetch(consumer)
        first = lease_until(queue)
        wait_until(lambda: lease_until(queue) > first + 2)
        assert job.get_state() == "active"
        job.complete()
    assert counts(queue) == (0, 0, 1, 0)


def lease_until(queue: sync.Queue) -> float:
    (info,) = queue.get_workers()
    assert info.lease_until is not None
    return info.lease_until.timestamp()


# The end.


def test_leaving_gives_back_in_order_and_uncharged(queue: sync.Queue) -> None:
    jobs = queue.add_bulk([("order", n) for n in range(5)])
    with sync.Consumer(queue, prefetch=3) as consumer:
        taken = fetch(consumer, 2)
    assert counts(queue) == (5, 0, 0, 0)
    waiting = queue.get_jobs("waiting", ascending=True)
    assert [job.id for job in waiting] == [job.id for job in jobs]
    assert {job.attempts_made for job in waiting} == {0}
    with pytest.raises(JobNotInState, match="given back"):
        taken[0].complete()
    with pytest.raises(InvalidOption, match="with consumer"):
        consumer.fetch()
    assert list(consumer) == []


def test_what_was_settled_at_the_last_moment_counts(queue: sync.Queue) -> None:
    queue.add_bulk([("order", n) for n in range(200)])
    with sync.Consumer(queue, prefetch=200) as consumer:
        jobs = fetch(consumer, 200)
        for job in jobs:
            job.complete()
    assert counts(queue) == (200 - len(jobs), 0, len(jobs), 0)


def test_closing_ends_those_who_wait(queue: sync.Queue) -> None:
    with ThreadPoolExecutor(2) as pool, sync.Consumer(queue) as consumer:
        waiting = pool.submit(consumer.fetch)
        iterating = pool.submit(list, consumer)
        wait_until(lambda: waiting.running() and iterating.running())
        consumer.close()
        assert waiting.result(20) == []
        assert iterating.result(20) == []


@contextmanager
def interrupts() -> Iterator[None]:
    """SIGINT raises inside of a fetch alone: what is behind its return is the program's own."""

    def handle(number: int, frame: FrameType | None) -> None:
        if is_fetching(frame):
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def is_fetching(frame: FrameType | None) -> bool:
    return any(f.f_code is _Running.fetch.__code__ for f, _ in traceback.walk_stack(frame))


@contextmanager
def disturbed(action: Callable[[], object], *, first: bool) -> Iterator[None]:
    """Once this thread is in a fetch, act and interrupt it, from another thread."""
    main = threading.get_ident()

    def disturb() -> None:
        wait_until(lambda: is_fetching(sys._current_frames()[main]))
        if first:
            action()
        os.kill(os.getpid(), signal.SIGINT)
        if not first:
            action()

    thread = threading.Thread(target=disturb)
    thread.start()
    yield
    thread.join(20)


def test_an_interrupted_fetch_loses_nothing(queue: sync.Queue) -> None:
    """The interrupt and a job come at the same time, in either order."""
    interrupted = 0
    with sync.Consumer(queue) as consumer:
        for n in range(60):
            with interrupts(), disturbed(lambda n=n: queue.add("order", n), first=n % 2 == 0):
                try:
                    jobs = consumer.fetch(timeout="10s")
                except KeyboardInterrupt:
                    interrupted += 1
                    jobs = []
            (job,) = jobs or fetch(consumer)
            assert job.data == n
            job.complete()
        consumer.flush()
    assert interrupted
    assert counts(queue) == (0, 0, 60, 0)


def test_what_comes_for_a_fetch_that_is_gone_comes_with_the_next(queue: sync.Queue) -> None:
    """The interrupt came before its fetch had begun on the loop."""
    with sync.Consumer(queue) as consumer:
        running, gone = consumer._running, _Delivery()
        assert running is not None
        running._background.loop.call_soon_threadsafe(running._take_back, gone)
        queue.add("order", 1)
        running._background.run(running._deliver(gone, 1, 10.0))
        assert gone.jobs == []
        (job,) = fetch(consumer)
        assert job.data == 1
        job.complete()
    assert counts(queue) == (0, 0, 1, 0)


# Use.


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_and_disturbs_nobody(queue: sync.Queue) -> None:
    queue.add_bulk([("order", n) for n in range(2)])
    with sync.Consumer(queue) as consumer:
        (job,) = fetch(consumer)
        child = os.fork()
        if not child:
            os._exit(child_is_refused(consumer, job))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        job.complete()
        fetch(consumer)[0].complete()
        consumer.flush()
    assert counts(queue) == (0, 0, 2, 0)


def child_is_refused(consumer: sync.Consumer, job: sync.Job) -> int:
    """0 when everything was as it should be."""
    refused = 0
    for call in (consumer.fetch, consumer.flush, job.complete):
        try:
            call()
        except InvalidOption:
            refused += 1
    consumer.close()
    return 3 - refused


def test_what_is_wrong_is_refused_before_anything_is_sent(url: str, prefix: str, queue: sync.Queue) -> None:
    with pytest.raises(InvalidOption, match="prefix="):
        sync.Consumer(queue, prefix="other")
    with pytest.raises(InvalidOption, match=r"sync\.Queue"):
        sync.Consumer(bullrush.Queue("orders", url, prefix=prefix))  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="prefetch"):
        sync.Consumer(queue, prefetch=0)
    consumer = sync.Consumer("orders", url, prefix=prefix)
    with pytest.raises(InvalidOption, match="with consumer"):
        consumer.fetch()
    with consumer:
        with pytest.raises(InvalidOption, match="entered already"):
            consumer.__enter__()
        with pytest.raises(InvalidOption, match="max"):
            consumer.fetch(0)
        with pytest.raises(InvalidOption, match="milliseconds"):
            consumer.fetch(timeout=5)


def test_nothing_is_looked_up_before_it_is_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BULLRUSH_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    consumer = sync.Consumer("orders")
    with pytest.raises(NotConfigured), consumer:
        pass


def test_a_flush_ends_in_time(private_server: PrivateServer) -> None:
    server = private_server()
    with sync.Queue("orders", server.url, request_timeout="300ms") as queue:
        queue.add("order")
        with sync.Consumer(queue) as consumer:
            (job,) = fetch(consumer)
            with server.frozen():
                job.complete()
                with pytest.raises(ConnectionLost, match="kept"):
                    consumer.flush()
            wait_until(lambda: counts(queue) == (0, 0, 1, 0))
