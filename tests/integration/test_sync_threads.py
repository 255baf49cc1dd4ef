"""Blocking queues in many threads: they share a connection and batches, and nothing is lost or doubled."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from bullrush import sync
from bullrush.errors import ConnectionLost
from tests.conftest import MakeProxy
from tests.servers import Server
from tests.waiting import wait_for_clients

THREADS = 8
EACH = 5000


@pytest.fixture
def queue(url: str, prefix: str) -> Iterator[sync.Queue]:
    with sync.Queue("q", url, prefix=prefix) as made:
        yield made


def together(action: Callable[[int], object], threads: int = THREADS) -> list[object]:
    """Call it in several threads that begin at the same time; raises what one of them raised."""
    start = threading.Barrier(threads)

    def run(number: int) -> object:
        start.wait(10)
        return action(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


def scripts_run(client: redis.Redis) -> int:
    return int(client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def stored(queue: sync.Queue) -> list[object]:
    return [job.data for job in queue.get_jobs("waiting", 0, -1)]


def test_threads_share_batches_and_every_job_is_stored_once(
    queue: sync.Queue, redis_client: redis.Redis
) -> None:
    queue.add("warm", [-1, 0])
    before = scripts_run(redis_client)
    ids = together(lambda thread: [queue.add("n", [thread, n]).id for n in range(EACH)])
    calls = scripts_run(redis_client) - before
    assert len({job_id for own in ids for job_id in own}) == THREADS * EACH
    wait_for_clients(redis_client, 2)
    found = Counter(tuple(data) for data in stored(queue))
    assert found == Counter([(-1, 0), *((thread, n) for thread in range(THREADS) for n in range(EACH))])
    assert calls < THREADS * EACH / 2, "adds of several threads do not share calls"


def test_ids_of_one_thread_ascend(queue: sync.Queue) -> None:
    for ids in together(lambda _: [int(queue.add("n").id) for _ in range(200)]):
        assert ids == sorted(ids)


def test_threads_mix_all_kinds_of_calls(queue: sync.Queue) -> None:
    def work(thread: int) -> None:
        for n in range(50):
            job = queue.add("one", n)
            assert queue.get_state(job.id) == "waiting"
            assert len(queue.add_bulk([("many", n)] * 10)) == 10
            assert queue.add("own", n, job_id=f"own-{n}").duplicate in (False, "id")
            assert queue.ping() > 0
            if thread == 0:
                assert job.remove()

    together(work)
    assert queue.count() == THREADS * 50 * 11 + 50 - 50


def test_streams_side_by_side(queue: sync.Queue) -> None:
    counts = together(lambda _: queue.add_stream((("n", i) for i in range(3000)), chunk_size=100), 4)
    assert counts == [3000] * 4
    assert queue.count() == 12_000


def test_a_lost_connection_costs_nothing(
    server: Server, url: str, prefix: str, make_proxy: MakeProxy
) -> None:
    proxy = make_proxy(server)
    for call in (20, 60, 100):
        proxy.drop_reply("add", call=call)
        proxy.drop_request("add", call=call + 20)
    with sync.Queue("q", proxy.url, prefix=prefix) as queue:
        together(lambda thread: [queue.add("n", [thread, n]) for n in range(500)])
        found = Counter(tuple(data) for data in stored(queue))
    assert found == Counter((thread, n) for thread in range(THREADS) for n in range(500))


def test_followers_have_deadlines_of_their_own(
    server: Server, url: str, prefix: str, make_proxy: MakeProxy
) -> None:
    proxy = make_proxy(server)
    with sync.Queue("q", proxy.url, prefix=prefix, request_timeout="400ms") as queue:
        queue.add("first")
        proxy.black_hole()

        def attempt(thread: int) -> bool | None:
            with pytest.raises(ConnectionLost) as caught:
                queue.add("n", thread)
            return caught.value.took_effect

        together(attempt)
        proxy.heal()
        queue.add("last")


def test_threads_that_begin_together_make_one_connection(
    url: str, prefix: str, redis_client: redis.Redis
) -> None:
    queue = sync.Queue("q", url, prefix=prefix)
    together(lambda _: queue.add("n"), 16)
    wait_for_clients(redis_client, 2)
    assert redis_client.hlen(f"{{{prefix}:q}}:sessions") == 1
    queue.close()


FORK = """
import os, sys, threading
from bullrush import sync

queue = sync.Queue("q", sys.argv[1], prefix=sys.argv[2])
stop = threading.Event()

def background():
    number = 0
    while not stop.is_set():
        queue.add("background", ["thread", number])
        number += 1
    print(number)

def add(who):
    return [queue.add("n", [who, number]).id for number in range(300)]

queue.add("n", ["before", 0])
thread = threading.Thread(target=background)
thread.start()
queue.add("n", ["before", 1])
child = os.fork()
if child == 0:
    add("child")
    queue.close()
    os._exit(0)
add("parent")
assert os.waitpid(child, 0)[1] == 0
stop.set()
thread.join()
"""


def test_parent_and_child_of_a_fork_both_add(url: str, prefix: str, queue: sync.Queue) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK, url, prefix]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    expected = [("before", 0), ("before", 1)]
    expected += [(who, number) for who in ("parent", "child") for number in range(300)]
    expected += [("thread", number) for number in range(int(done.stdout))]
    assert Counter(tuple(data) for data in stored(queue)) == Counter(expected)
