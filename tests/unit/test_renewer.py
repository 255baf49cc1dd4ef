"""The thread that renews without the interpreter's lock, against a socket whose other end is in the test."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from bullrush._core.renewer import Renewer
from tests.waiting import wait_until

FRAME = b"*1\r\n$4\r\nPING\r\n"
FAST, LONG = 0.02, 60.0


class Peer:
    """A renewer and the other end of its socket."""

    def __init__(self, *, reply_limit: float = LONG, hang_limit: float = LONG) -> None:
        self.renewer = Renewer(interval=FAST, reply_limit=reply_limit, hang_limit=hang_limit)
        self.end = self.connect()

    def connect(self) -> socket.socket:
        mine, its = socket.socketpair()
        mine.settimeout(5)
        self.renewer.attach(its)
        assert its.fileno() == -1, "the descriptor is the renewer's"
        return mine

    def use(self, frame: bytes = FRAME) -> float:
        now = time.monotonic()
        self.renewer.use(frame, now)
        return now

    def hear(self, frame: bytes = FRAME) -> None:
        """Receive one call."""
        heard = b""
        while len(heard) < len(frame):
            heard += self.end.recv(len(frame) - len(heard))
        assert heard == frame

    def is_let_go(self) -> bool:
        return not self.renewer.attached


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    made: list[Peer] = []
    yield made
    for peer in made:
        peer.renewer.stop()
        peer.end.close()


@pytest.fixture
def peer(peers: list[Peer]) -> Peer:
    peers.append(Peer())
    return peers[-1]


def test_it_renews_again_and_again_and_says_when(peer: Peer) -> None:
    before = peer.use()
    for n in range(1, 6):
        peer.hear()
        peer.end.sendall(b":1700000000000\r\n")
        wait_until(lambda: peer.renewer.renewals == n)  # noqa: B023
        assert before + FAST <= peer.renewer.renewed_at <= time.monotonic()
        before = peer.renewer.renewed_at


def test_it_counts_from_when_the_call_was_sent(peer: Peer) -> None:
    peer.use()
    peer.hear()
    answered = time.monotonic()
    peer.end.sendall(b":1\r\n")
    wait_until(lambda: peer.renewer.renewals)
    assert peer.renewer.renewed_at <= answered


def test_nothing_is_sent_before_there_is_a_lease(peer: Peer) -> None:
    peer.end.settimeout(5 * FAST)  # time is the subject
    with pytest.raises(TimeoutError):
        peer.end.recv(1)


def test_renewals_of_others_make_its_own_unnecessary(peer: Peer) -> None:
    began = peer.use()
    peer.renewer.tick(began, began + LONG)
    peer.end.settimeout(5 * FAST)  # time is the subject
    with pytest.raises(TimeoutError):
        peer.end.recv(1)
    peer.renewer.tick(began, began)
    assert peer.renewer.renewed_at == began + LONG, "an older time takes nothing back"


def test_it_renews_while_the_interpreters_lock_is_kept(peer: Peer) -> None:
    peer.use()
    ctypes.PyDLL(None).usleep(10 * int(FAST * 1_000_000))
    peer.end.setblocking(False)
    assert peer.end.recv(100) == FRAME


def test_a_lost_lease_is_said_once_and_ends_the_renewals(peer: Peer) -> None:
    peer.use()
    peer.hear()
    peer.end.sendall(b"-LEASE lost\r\n")
    wait_until(peer.renewer.take_lost)
    assert not peer.renewer.take_lost()
    assert (peer.renewer.renewals, peer.renewer.attached) == (0, True)
    peer.end.settimeout(5 * FAST)  # time is the subject
    with pytest.raises(TimeoutError):
        peer.end.recv(1)
    peer.end.settimeout(5)
    peer.use(b"another\r\n")
    peer.hear(b"another\r\n")


@pytest.mark.parametrize(("answer", "renewals"), [(b":1\r\n", 1), (b"-LEASE lost\r\n", 0)])
def test_the_answer_for_an_older_number_says_nothing_of_this_one(
    peer: Peer, answer: bytes, renewals: int
) -> None:
    peer.use()
    peer.hear()
    began = time.monotonic() + LONG
    peer.renewer.use(b"another\r\n", began)
    peer.end.sendall(answer)
    wait_until(lambda: peer.renewer.renewals == renewals)
    assert (peer.renewer.renewed_at, peer.renewer.take_lost()) == (began, False)


def test_an_answer_may_come_byte_by_byte(peer: Peer) -> None:
    peer.use()
    peer.hear()
    for byte in b":1700000000000\r\n":
        assert not peer.renewer.renewals
        peer.end.sendall(bytes([byte]))
    wait_until(lambda: peer.renewer.renewals == 1)


def test_a_frame_may_be_larger_than_what_the_socket_takes(peer: Peer) -> None:
    frame = bytes(range(256)) * 20_000
    peer.use(frame)
    assert peer.end.recv(1, socket.MSG_PEEK) == frame[:1], "it has begun"
    peer.use(b"the next one\r\n")
    peer.hear(frame)
    peer.end.sendall(b":1\r\n")
    peer.hear(b"the next one\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"-NOSCRIPT No matching script\r\n",
        b"-READONLY You can't write against a read only replica.\r\n",
        b"+OK\r\n",
        b"-LEASE",
        b":" + b"1" * 400,
        b"\0" * 256,
        b"-" + b"x" * 300 + b"\r\n",
        b"",
    ],
)
def test_any_other_answer_and_the_end_of_the_connection_let_the_socket_go(peer: Peer, answer: bytes) -> None:
    peer.use()
    peer.hear()
    peer.end.sendall(answer)
    peer.end.shutdown(socket.SHUT_WR)
    wait_until(peer.is_let_go)
    with contextlib.suppress(ConnectionResetError):  # it had not read all of it
        assert peer.end.recv(100) == b"", "it was closed"
    peer.end.close()
    peer.end = peer.connect()
    peer.hear()
    peer.end.sendall(b":1\r\n")
    wait_until(lambda: peer.renewer.renewals == 1)


def test_bytes_that_nobody_asked_for_let_the_socket_go(peer: Peer) -> None:
    peer.end.sendall(b":1\r\n")
    wait_until(peer.is_let_go)
    assert peer.renewer.renewals == 0


def test_a_server_that_does_not_answer_is_let_go(peers: list[Peer]) -> None:
    peers.append(peer := Peer(reply_limit=2 * FAST))
    peer.use()
    peer.hear()
    wait_until(peer.is_let_go)


def test_past_the_hang_limit_it_stops_and_goes_on_with_the_loop(peers: list[Peer]) -> None:
    peers.append(peer := Peer(hang_limit=10 * FAST))
    peer.use()
    renewed = 0
    while not (hung := peer.renewer.take_hung()):
        peer.end.settimeout(FAST)
        try:
            peer.hear()
        except TimeoutError:
            continue
        peer.end.sendall(b":1\r\n")
        renewed += 1
    assert renewed >= 1
    assert hung >= 10 * FAST
    peer.end.settimeout(5)
    peer.renewer.tick(time.monotonic() + LONG, 0.0)
    peer.hear()


def test_a_second_socket_is_closed_while_the_first_one_works(peer: Peer) -> None:
    second = peer.connect()
    assert second.recv(1) == b""
    second.close()
    peer.use()
    peer.hear()


# The end.


def test_after_stop_the_socket_is_closed_and_nothing_does_anything(peer: Peer) -> None:
    threads = threads_of_this_process()
    peer.use()
    peer.hear()
    peer.renewer.stop()
    assert threads_of_this_process() == threads - 1
    assert peer.end.recv(1) == b""
    peer.renewer.stop()
    peer.renewer.use(FRAME, 0.0)
    peer.renewer.tick(0.0, 0.0)
    assert (peer.renewer.attached, peer.renewer.take_lost(), peer.renewer.take_hung()) == (False, False, 0.0)
    peer.connect().close()


def threads_of_this_process() -> int:
    if not os.path.isdir("/proc/self/task"):  # noqa: PTH112
        pytest.skip("nothing here counts the threads of the system")
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208


def test_a_forgotten_one_ends_its_thread_and_leaves_no_descriptor() -> None:
    threads, descriptors = threads_of_this_process(), open_descriptors()
    for _ in range(50):
        peer = Peer()
        peer.use()
        peer.end.close()
        del peer
    gc.collect()
    assert (threads_of_this_process(), open_descriptors()) == (threads, descriptors)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_many_threads_may_use_one(peer: Peer) -> None:
    """What is asked of it while it renews, reconnects and stops never waits or breaks."""
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            peer.renewer.tick(time.monotonic(), 0.0)
            peer.renewer.use(FRAME, time.monotonic() - LONG)
            peer.renewer.take_lost()

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for _ in range(50):
        peer.hear()
        peer.end.close()
        wait_until(peer.is_let_go)
        peer.end = peer.connect()
    peer.renewer.stop()
    over.set()
    for asker in askers:
        asker.join(10)


PROGRAM = """
import ctypes, os, socket, sys, time
from bullrush._core.renewer import Renewer
mine, its = socket.socketpair()
renewer = Renewer(interval=0.001, reply_limit=60.0, hang_limit=60.0)
renewer.attach(its)
renewer.use(b"x" * 100, time.monotonic())
how = sys.argv[1]
if how == "fork":
    child = os.fork()
    if not child:
        renewer.tick(1.0, 1.0), renewer.use(b"y", 1.0), renewer.stop()
        assert not renewer.attached
        del renewer
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert renewer.attached
    renewer.stop()
elif how == "in a cycle":
    cycle = [renewer]
    cycle.append(cycle)
    del renewer
elif how == "while it renews":
    for _ in range(100):
        mine.recv(100), mine.send(b":1\\r\\n")
sys.exit(3)
"""


@pytest.mark.parametrize("how", ["fork", "in a cycle", "at once", "while it renews"])
def test_a_process_ends_with_one_that_was_not_stopped(how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore", "-c", PROGRAM, how],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")


def test_what_it_cannot_do_is_refused(peer: Peer) -> None:
    with pytest.raises(ValueError, match="an empty frame"):
        peer.renewer.use(b"", 0.0)
    with pytest.raises(TypeError):
        peer.renewer.use(None, 0.0)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="starts once"):
        peer.renewer.__init__(interval=1.0, reply_limit=1.0, hang_limit=1.0)  # type: ignore[misc]
