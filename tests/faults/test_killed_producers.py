"""A producer dies in the middle of a call: what one call brings is stored as a whole or not at all."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from bullrush import Queue
from tests.faults.recorder import Recorder
from tests.faults.resp import Frames, first_words
from tests.faults.roles import Place, ProducerRole
from tests.faults.seed import fresh
from tests.faults.template import Template
from tests.names import script_names
from tests.servers import Server
from tests.waiting import wait_until

JOBS = 10


class Tap:
    """Passes the first connection on to a port, and keeps what went up."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = port
        self.port: int = self._listener.getsockname()[1]
        self.sent = bytearray()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with (
            self._listener,
            self._listener.accept()[0] as client,
            socket.create_connection(("127.0.0.1", self._port)) as server,
        ):
            threading.Thread(target=_copy, args=(server, client), daemon=True).start()
            while data := client.recv(65536):
                self.sent += data
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)  # a close alone waits for the thread that reads from it


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        return  # the test is over


async def conversation(server: Server, prefix: str) -> tuple[list[bytes], bytes]:
    """What a producer says: everything before its add of ten jobs, and the add."""
    tap = Tap(server.port)
    async with Queue("q", f"redis://127.0.0.1:{tap.port}/0", prefix=prefix) as queue:
        await queue.add_bulk([("work", number) for number in range(JOBS)])
    frames = list(Frames().feed(bytes(tap.sent)))
    names = script_names()

    def is_add(frame: bytes) -> bool:
        words = [word.decode(errors="replace") for word in first_words(frame, 2)]
        return words[0] == "EVALSHA" and names.get(words[1]) == "add"

    at = next(number for number, frame in enumerate(frames) if is_add(frame))
    return frames[:at], frames[at]


def die_after(server: Server, before: list[bytes], add: bytes, sent: int) -> None:
    """Say all that, but only `sent` bytes of the add, and be gone, as the socket of a killed process is."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        replies = Frames()
        client.sendall(b"".join(before))
        missing = len(before)
        while missing:
            missing -= sum(1 for _ in replies.feed(client.recv(65536)))
        client.sendall(add[:sent])


def cuts(size: int, step: int) -> Iterator[int]:
    """Where the request is cut: every `step` bytes, and at its very end."""
    yield from range(0, size - 2, step)
    yield from (size - 2, size - 1, size)


@pytest.mark.parametrize("step", [41, pytest.param(1, marks=pytest.mark.long)])
async def test_a_batch_is_stored_as_a_whole_or_not_at_all_wherever_its_producer_dies(
    server: Server, redis_client: redis.Redis, prefix: str, step: int
) -> None:
    before, add = await conversation(server, prefix)
    async with Queue("q", server.url, prefix=prefix) as queue:
        keys = queue.keys
        others = len(redis_client.client_list())
        for sent in cuts(len(add), step):
            redis_client.flushall()
            die_after(server, before, add, sent)
            wait_until(lambda: len(redis_client.client_list()) <= others, what="the server to see the end")
            expected = JOBS if sent == len(add) else 0
            assert redis_client.hlen(keys["jobs"]) == expected, f"{sent} of {len(add)} bytes were sent"
            assert redis_client.llen(keys["waiting"]) == expected, f"{sent} of {len(add)} bytes were sent"
            if expected:
                assert (await queue.fsck()).ok


@pytest.mark.parametrize("kills", [4, pytest.param(60, marks=pytest.mark.long)])
async def test_killed_producers_leave_whole_batches_and_lose_none_that_was_acknowledged(
    server: Server, url: str, prefix: str, tmp_path: Path, kills: int
) -> None:
    chance = fresh("the kills")
    async with Queue("q", url, prefix=prefix) as queue:
        with Recorder(tmp_path) as recorder, Template() as template:
            place = Place(url=url, queue="q", prefix=prefix, notes=recorder.address)
            follower = recorder.follow()
            for number in range(kills):
                role = ProducerRole(place=place, first=number * 1_000_000, count=1_000_000, batch=JOBS)
                victim = template.start(role)
                await asyncio.to_thread(wait_until, follower.new, 20, what="the first batch")
                await asyncio.sleep(chance.uniform(0.0, 0.05))  # time is the subject
                template.kill(victim)
                follower.new()
            follower.close()
        stored = Counter[int]()
        while page := await queue.get_jobs("waiting", stored.total(), stored.total() + 999):
            stored.update(job.data for job in page)
        assert (await queue.fsck()).ok
    acknowledged = {note.key for note in recorder.read() if note.kind == "all acknowledged"}
    assert acknowledged
    assert set(stored.values()) == {1}
    batches = Counter(key // JOBS for key in stored)
    assert set(batches.values()) == {JOBS}, "half a batch"
    assert {first // JOBS for first in acknowledged} <= set(batches)
