"""The asyncio protocol: replies find who asked, whatever pieces they come in, and a lost socket tells all."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any, cast

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bullrush._core.frames import encode_command
from bullrush._core.protocol import DataProtocol, make_reader, not_enough
from bullrush._core.session import ReplyError
from bullrush.errors import ConnectionLost
from tests.unit.machines import make_producer, push, read_call

OPENED = b"*8\r\n:1790000000000\r\n$2\r\ne1\r\n$-1\r\n$-1\r\n:64\r\n$3\r\nall\r\n$7\r\nmsgpack\r\n*0\r\n"
ADDED = b"*3\r\n:1790000000000\r\n$3\r\n1-0\r\n$0\r\n\r\n"
PUSH = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"
REPLIES = [b"+OK\r\n", b":7\r\n", b"$-1\r\n", b"$3\r\nabc\r\n", b"*2\r\n:1\r\n$1\r\nx\r\n", b"*0\r\n"]
VALUES = [b"OK", 7, None, b"abc", [1, b"x"], []]


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True


class Old(asyncio.Protocol):
    """The protocol that was there before."""

    def __init__(self) -> None:
        self.lost: list[Exception | None] = []

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Connection:
    """A protocol on a transport of our own."""

    def __init__(self) -> None:
        self.old, self.transport = Old(), Transport()
        self.lost: list[Exception | None] = []
        self.protocol = DataProtocol(asyncio.get_running_loop(), self.old, self.lost.append)
        self.protocol.connection_made(cast("Any", self.transport))


@pytest.fixture
async def connection() -> Connection:
    return Connection()


# Plain commands.


async def test_replies_are_matched_in_order(connection: Connection) -> None:
    frames = [encode_command("GET", number) for number in range(len(REPLIES))]
    futures = [connection.protocol.send(frame) for frame in frames]
    assert connection.transport.written == frames
    connection.protocol.data_received(b"".join(REPLIES))
    assert [future.result() for future in futures] == VALUES


async def test_bytes_may_come_one_by_one(connection: Connection) -> None:
    futures = [connection.protocol.send(b"x") for _ in REPLIES]
    for byte in b"".join(REPLIES):
        connection.protocol.data_received(bytes([byte]))
    assert [future.result() for future in futures] == VALUES


@settings(deadline=None)
@given(st.lists(st.integers(0, len(b"".join(REPLIES))), max_size=8))
def test_bytes_may_come_in_any_pieces(cuts: list[int]) -> None:
    async def run() -> list[object]:
        connection = Connection()
        futures = [connection.protocol.send(b"x") for _ in REPLIES]
        stream, edges = b"".join(REPLIES), sorted({0, *cuts, len(b"".join(REPLIES))})
        for start, end in pairwise(edges):
            connection.protocol.data_received(stream[start:end])
        return [future.result() for future in futures]

    assert asyncio.run(run()) == VALUES


async def test_an_error_reply_is_raised_by_whoever_awaits_it(connection: Connection) -> None:
    failing, fine = connection.protocol.send(b"x"), connection.protocol.send(b"y")
    connection.protocol.data_received(b"-WRONGTYPE no list\r\n+OK\r\n")
    with pytest.raises(ReplyError, match="WRONGTYPE no list"):
        await failing
    assert await fine == b"OK"


async def test_an_error_inside_a_list_is_a_value(connection: Connection) -> None:
    future = connection.protocol.send(b"x")
    connection.protocol.data_received(b"*2\r\n:1\r\n-ERR inner\r\n")
    [one, error] = cast("list[object]", await future)
    assert one == 1
    assert isinstance(error, ReplyError)


async def test_pushes_answer_nobody(connection: Connection) -> None:
    future = connection.protocol.send(b"x")
    connection.protocol.data_received(PUSH)
    assert not future.done()
    connection.protocol.data_received(PUSH + b"+OK\r\n" + PUSH)
    assert await future == b"OK"


async def test_a_reply_to_somebody_who_left_is_dropped(connection: Connection) -> None:
    gone, here = connection.protocol.send(b"x"), connection.protocol.send(b"y")
    gone.cancel()
    connection.protocol.data_received(b"+A\r\n+B\r\n")
    assert await here == b"B"


async def test_bytes_that_are_no_reply_close_the_socket(connection: Connection) -> None:
    connection.protocol.send(b"x").cancel()
    connection.protocol.data_received(b"HTTP/1.1 400 Bad Request\r\n")
    assert connection.transport.aborted


# Sessions.


async def test_a_session_goes_on_by_itself_with_every_reply(connection: Connection) -> None:
    producer = make_producer()
    waiter = push(producer)
    connection.protocol.pump(producer)
    connection.protocol.data_received(OPENED)
    assert [read_call(frame).script for frame in connection.transport.written] == ["open", "add"]
    connection.protocol.data_received(ADDED)
    assert waiter.result(0).id == "1"


async def test_sessions_and_futures_share_a_connection(connection: Connection) -> None:
    producers = [make_producer(), make_producer()]
    waiters = [push(producer) for producer in producers]
    for producer in producers:
        connection.protocol.pump(producer)
    pong = connection.protocol.send(encode_command("PING"))
    connection.protocol.data_received(OPENED + OPENED + b"+PONG\r\n")
    assert await pong == b"PONG"
    connection.protocol.data_received(ADDED + ADDED)
    assert [waiter.result(0).id for waiter in waiters] == ["1", "1"]


async def test_the_owner_of_a_session_is_called_once_for_all_replies_of_one_read(
    connection: Connection,
) -> None:
    producer = make_producer()
    calls: list[bool] = []
    producer.after = lambda: calls.append(bool(producer.inflight))
    push(producer)
    connection.protocol.pump(producer)
    connection.protocol.data_received(OPENED)
    connection.protocol.data_received(ADDED[:5])
    connection.protocol.data_received(ADDED[5:])
    assert calls == [False, False]


async def test_a_session_that_wants_another_server_closes_the_socket(connection: Connection) -> None:
    producer = make_producer()
    push(producer)
    connection.protocol.pump(producer)
    connection.protocol.data_received(b"-READONLY You can't write against a read only replica.\r\n")
    assert connection.transport.aborted
    assert len(connection.transport.written) == 1


# The end.


async def test_a_lost_connection_tells_everybody(connection: Connection) -> None:
    future = connection.protocol.send(b"x")
    gone = connection.protocol.send(b"x")
    gone.cancel()
    error = OSError("reset")
    connection.protocol.connection_lost(error)
    with pytest.raises(ConnectionLost) as caught:
        await future
    assert caught.value.took_effect is None
    assert (connection.lost, connection.old.lost, connection.protocol.lost) == ([error], [error], error)


async def test_a_connection_that_was_closed_in_order_is_lost_as_well(connection: Connection) -> None:
    assert connection.protocol.eof_received() is False
    connection.protocol.connection_lost(None)
    assert isinstance(connection.protocol.lost, ConnectionError)
    assert connection.old.lost == [None]


async def test_nothing_is_sent_on_a_lost_connection(connection: Connection) -> None:
    connection.protocol.connection_lost(None)
    with pytest.raises(ConnectionLost, match="nothing was sent") as caught:
        await connection.protocol.send(b"x")
    connection.protocol.pump(make_producer())
    assert (caught.value.took_effect, connection.transport.written) == (False, [])


async def test_the_oldest_command_without_a_reply_is_overdue(connection: Connection) -> None:
    assert not connection.protocol.overdue(1e12, 1.0)
    future = connection.protocol.send(b"x")
    now = asyncio.get_running_loop().time()
    assert not connection.protocol.overdue(now + 1, 10.0)
    assert connection.protocol.overdue(now + 11, 10.0)
    connection.protocol.data_received(b"+OK\r\n")
    assert not connection.protocol.overdue(now + 11, 10.0)
    assert await future == b"OK"


async def test_a_transport_that_writes_slowly_changes_nothing(connection: Connection) -> None:
    connection.protocol.pause_writing()
    connection.protocol.send(b"x").cancel()
    connection.protocol.resume_writing()
    assert connection.transport.written == [b"x"]


def test_the_parser_makes_errors_of_ours() -> None:
    reader = make_reader()
    assert isinstance(reader, hiredis.Reader)
    assert reader.gets() is not_enough()
    reader.feed(b"-NOSCRIPT x\r\n")
    assert isinstance(reader.gets(), ReplyError)
