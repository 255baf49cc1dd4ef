"""A blocking call may be interrupted at any point: lost servers, deadlines, Ctrl-C and signal handlers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
import redis

from bullrush import sync
from bullrush.errors import ConnectionLost, ServerError
from tests.conftest import MakeProxy, PrivateServer
from tests.faults.proxy import FaultProxy
from tests.servers import Server
from tests.waiting import wait_until


@pytest.fixture
def proxy(server: Server, url: str, make_proxy: MakeProxy) -> FaultProxy:
    return make_proxy(server)


@pytest.fixture
def queue(proxy: FaultProxy, prefix: str) -> Iterator[sync.Queue]:
    with sync.Queue("q", proxy.url, prefix=prefix, request_timeout="5s") as made:
        yield made


def stored(queue: sync.Queue) -> Counter[object]:
    return Counter(job.data for job in queue.get_jobs("waiting", 0, -1))


@contextmanager
def when(happened: Callable[[], object], action: Callable[[], object]) -> Iterator[None]:
    """Do something in another thread once something has happened, while this one is blocked."""

    def run() -> None:
        wait_until(happened)
        action()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(10)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


# Lost connections


@pytest.mark.parametrize("lose", ["drop_request", "drop_reply"])
@pytest.mark.parametrize("script", ["open", "add"])
def test_an_add_goes_on_after_a_lost_connection(
    queue: sync.Queue, proxy: FaultProxy, lose: str, script: str
) -> None:
    fault = getattr(proxy, lose)(script)
    job = queue.add("a", 1)
    assert fault.happened
    assert queue.get_state(job.id) == "waiting"
    assert stored(queue) == Counter([1])


def test_a_conditional_add_gets_its_answer_after_a_lost_reply(queue: sync.Queue, proxy: FaultProxy) -> None:
    queue.add("a", 1, job_id="x")
    proxy.drop_reply("add")
    assert queue.add("b", 2, job_id="x").duplicate == "id"
    proxy.drop_reply("remove")
    assert queue.remove("x") is True


def test_reads_are_sent_again(queue: sync.Queue, proxy: FaultProxy) -> None:
    queue.add("a", 1)
    for name in ("LLEN", "PING", "state"):
        proxy.drop_reply(name)
    assert queue.count() == 1
    assert queue.ping() > 0
    assert queue.get_state("1") == "waiting"


def test_chunks_go_on_after_lost_connections(queue: sync.Queue, proxy: FaultProxy) -> None:
    proxy.drop_reply("add", call=2)
    proxy.drop_request("add", call=4, after=1000)
    assert len(queue.add_bulk(("n", number) for number in range(6000))) == 6000
    assert stored(queue) == Counter(range(6000))


def test_a_server_that_was_restarted_meanwhile(private_server: PrivateServer) -> None:
    server = private_server(persistent=True)
    with sync.Queue("q", server.url) as queue:
        queue.add("a", 1)
        server.restart()
        queue.add("a", 2)
        server.kill()
        with when(lambda: not server.is_running, server.start):
            queue.add("a", 3)
        assert stored(queue) == Counter([1, 2, 3])


# Deadlines


def test_a_frozen_server(private_server: PrivateServer) -> None:
    server = private_server()
    with sync.Queue("q", server.url, request_timeout="300ms") as queue:
        queue.add("a", 1)
        with server.frozen():
            for number in (2, 3):  # on the old connection, then on one that is never answered
                began = time.monotonic()
                with pytest.raises(ConnectionLost) as caught:
                    queue.add("a", number)
                assert 0.25 < time.monotonic() - began < 1
                assert caught.value.took_effect is not True
            with pytest.raises(ConnectionLost):
                queue.count()
        queue.add("a", 4)
        found = stored(queue)
        assert {1, 4} <= set(found) <= {1, 2, 4}
        assert set(found.values()) == {1}


def test_no_server(private_server: PrivateServer) -> None:
    server = private_server()
    server.stop()
    with sync.Queue("q", server.url, request_timeout="300ms") as queue:
        with pytest.raises(ConnectionLost) as caught:
            queue.add("a", 1)
        assert caught.value.took_effect is False
        assert "refused" in str(caught.value.__cause__)
        server.start()
        queue.add("a", 2)
        assert stored(queue) == Counter([2])


def test_a_refused_login_is_told_at_once(private_server: PrivateServer) -> None:
    server = private_server()
    with server.client() as client:
        client.config_set("requirepass", "secret")
    began = time.monotonic()
    for url in (server.url, server.unix_url):
        url = url.replace("://", "://:wrong@")
        with pytest.raises(ServerError, match="login"), sync.Queue("q", url) as queue:
            queue.add("a", 1)
    assert time.monotonic() - began < 3


# Ctrl-C


def test_ctrl_c_leaves_the_queue_usable(queue: sync.Queue, proxy: FaultProxy) -> None:
    queue.add("a", 1)
    held = proxy.hold_reply("add")
    with when(lambda: held.happened, interrupt), pytest.raises(KeyboardInterrupt):
        queue.add("a", 2)
    queue.add("a", 3)
    held.release()
    assert stored(queue) == Counter([1, 2, 3])


def test_closing_delivers_what_ctrl_c_left_behind(queue: sync.Queue, proxy: FaultProxy) -> None:
    queue.add("a", 1)
    held = proxy.hold_request("add")
    with when(lambda: held.happened, interrupt), pytest.raises(KeyboardInterrupt):
        queue.add("a", 2)
    queue.close()
    assert stored(queue) == Counter([1, 2])
    held.release()
    wait_until(lambda: proxy.connections == 1, what="the held request to arrive late")
    assert stored(queue) == Counter([1, 2])


EXIT = """
import sys, threading
from bullrush import sync

queue = sync.Queue("q", sys.argv[1], prefix=sys.argv[2])
queue.add("a", 1)
queue._port.link.close()
threading.Thread(target=queue.add, args=("a", 2), daemon=True).start()
"""


def test_the_end_of_the_program_waits_for_daemon_threads(
    url: str, prefix: str, redis_client: redis.Redis
) -> None:
    subprocess.run([sys.executable, "-c", EXIT, url, prefix], timeout=30, check=True)
    assert redis_client.llen(f"{{{prefix}:q}}:waiting") == 2


# Signal handlers


@contextmanager
def alarms(handler: Callable[[], object], seconds: float) -> Iterator[None]:
    """Call it at random points of the block, again and again for that long."""
    ends = time.monotonic() + seconds

    def ring(_number: int, _frame: FrameType | None) -> None:
        try:
            handler()
        finally:
            if time.monotonic() < ends:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00002, 0.002))

    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_a_signal_handler_adds_while_its_thread_is_in_an_add(queue: sync.Queue, proxy: FaultProxy) -> None:
    queue.add("a", 1)
    held = proxy.hold_reply("add")
    old = signal.signal(signal.SIGUSR1, lambda *_: queue.add("a", 3))
    try:
        with when(lambda: held.happened, lambda: os.kill(os.getpid(), signal.SIGUSR1)):
            queue.add("a", 2)
    finally:
        signal.signal(signal.SIGUSR1, old)
    held.release()
    assert stored(queue) == Counter([1, 2, 3])


def test_signal_handlers_add_at_any_point(url: str, prefix: str) -> None:
    with sync.Queue("q", url, prefix=prefix) as queue:
        handled: list[int] = []

        def handler() -> None:
            handled.append(len(handled))
            queue.add("handler", -1 - handled[-1])

        added = 0
        with alarms(handler, 1.0):
            ends = time.monotonic() + 1.0
            while time.monotonic() < ends:
                queue.add("main", added)
                added += 1
        assert len(handled) > 50
        assert stored(queue) == Counter([*range(added), *(-1 - number for number in handled)])


class Interrupted(BaseException):
    """What the alarm raises, as Ctrl-C raises KeyboardInterrupt."""


def test_interruptions_at_any_point_lose_and_double_nothing(
    url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was acknowledged is stored once, what was interrupted at most once. Other threads go on."""
    monkeypatch.setattr(sys, "unraisablehook", deque(maxlen=0).append)  # finalizers are interrupted, too
    armed: list[int] = []

    def handler() -> None:
        if armed:
            armed.pop()
            raise Interrupted

    acknowledged: list[int] = []
    interrupted: list[int] = []
    others: list[int] = []
    stop = threading.Event()
    with sync.Queue("q", url, prefix=prefix, request_timeout="20s") as queue:

        def other() -> None:
            while not stop.is_set():
                queue.add("other", -1 - len(others))
                others.append(-1 - len(others))

        thread = threading.Thread(target=other)
        thread.start()
        with alarms(handler, 1.5):
            ends = time.monotonic() + 1.5
            for number in iter(lambda: len(acknowledged) + len(interrupted), None):
                try:
                    armed[:] = (1, 2)  # a second one often comes while the first one unwinds
                    queue.add("main", number)
                    armed.clear()
                    acknowledged.append(number)
                except Interrupted:
                    armed.clear()
                    interrupted.append(number)
                if time.monotonic() > ends:
                    break
        stop.set()
        thread.join(30)
        queue.close()
        found = stored(queue)
    assert len(interrupted) > 50
    assert len(others) > 50
    assert set(found.values()) == {1}
    assert {*acknowledged, *others} <= set(found) <= {*acknowledged, *others, *interrupted}
