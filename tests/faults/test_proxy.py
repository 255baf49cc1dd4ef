"""The proxy itself: each fault does what it says to real clients of a real server, and nothing else."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.conftest import MakeProxy
from tests.faults.proxy import FaultProxy
from tests.servers import Server
from tests.waiting import wait_until, wait_until_async

BUMP = "return redis.call('INCR', KEYS[1])"
BUMP_SHA = hashlib.sha1(BUMP.encode()).hexdigest()


@pytest.fixture
def proxy(server: Server, url: str, make_proxy: MakeProxy, redis_client: redis.Redis) -> FaultProxy:
    redis_client.script_load(BUMP)
    return make_proxy(server, {BUMP_SHA: "bump"})


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[redis.Redis]:
    with redis.Redis(port=proxy.port, protocol=2, socket_timeout=5, retry=Retry(NoBackoff(), 0)) as client:
        yield client


@pytest.fixture
def raw(proxy: FaultProxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as sock:
        yield sock


def bump(client: redis.Redis) -> object:
    return client.evalsha(BUMP_SHA, 1, "n")


def fails_to_bump(client: redis.Redis) -> None:
    with pytest.raises(redis.ConnectionError):
        bump(client)


def request(*arguments: str) -> bytes:
    return f"*{len(arguments)}\r\n".encode() + b"".join(f"${len(a)}\r\n{a}\r\n".encode() for a in arguments)


def holds(client: redis.Redis, key: str, value: bytes | None) -> None:
    wait_until(lambda: client.get(key) == value, what=f"{key} to be {value!r}")


def test_it_forwards_both_ways(client: redis.Redis, redis_client: redis.Redis) -> None:
    big = b"\r\n*3" * 500_000
    assert client.set("key", big)
    assert redis_client.get("key") == big == client.get("key")


def test_pipelined_calls_keep_their_order(client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipe:
        for number in range(1000):
            pipe.echo(str(number))
        assert pipe.execute() == [str(number).encode() for number in range(1000)]


def test_the_reply_of_the_chosen_call_is_lost(
    proxy: FaultProxy, client: redis.Redis, redis_client: redis.Redis
) -> None:
    lost = proxy.drop_reply("bump", call=2)
    assert bump(client) == 1
    client.set("other", 1)
    with pytest.raises(redis.ConnectionError):
        bump(client)
    lost.wait()
    assert redis_client.get("n") == b"2"
    assert bump(client) == 3


def test_replies_before_the_lost_one_arrive(proxy: FaultProxy, raw: socket.socket) -> None:
    lost = proxy.drop_reply(b"third")
    raw.sendall(b"".join(request("ECHO", word) for word in ("first", "second", "third", "fourth")))
    lost.wait()
    assert read_all(raw) == b"$5\r\nfirst\r\n$6\r\nsecond\r\n"


def test_a_reply_breaks_off_in_the_middle(proxy: FaultProxy, raw: socket.socket) -> None:
    proxy.drop_reply("ECHO", after=6)
    raw.sendall(request("ECHO", "hello"))
    assert read_all(raw) == b"$5\r\nhe"


def test_a_lost_request_takes_no_effect(
    proxy: FaultProxy, client: redis.Redis, redis_client: redis.Redis
) -> None:
    lost = proxy.drop_request(b"INCR")
    with pytest.raises(redis.ConnectionError):
        client.incr("n")
    assert lost.happened
    assert redis_client.get("n") is None


def test_a_request_that_breaks_off_takes_no_effect(
    proxy: FaultProxy, client: redis.Redis, redis_client: redis.Redis
) -> None:
    proxy.drop_request("SET", after=20)
    with pytest.raises(redis.ConnectionError):
        client.set("key", "x" * 100)
    assert redis_client.get("key") is None


def test_bytes_are_counted_across_calls(
    proxy: FaultProxy, client: redis.Redis, redis_client: redis.Redis
) -> None:
    proxy.drop_request("SET", after=len(request("SET", "a", "1")) + 5)
    assert client.set("a", 1)
    with pytest.raises(redis.ConnectionError):
        client.set("b", 1)
    assert redis_client.mget("a", "b") == [b"1", None]


def test_held_bytes_arrive_after_their_sender_is_gone(
    proxy: FaultProxy, raw: socket.socket, redis_client: redis.Redis
) -> None:
    late = proxy.hold_request("INCR", call=2)
    raw.sendall(request("INCR", "n") * 3)
    late.wait()
    raw.close()
    wait_until(lambda: proxy.clients == 0)
    assert proxy.connections == 1
    holds(redis_client, "n", b"1")
    late.release()
    holds(redis_client, "n", b"3")
    wait_until(lambda: proxy.connections == 0)


def test_a_held_reply_arrives_when_released(
    proxy: FaultProxy, client: redis.Redis, redis_client: redis.Redis
) -> None:
    held = proxy.hold_reply("INCRBY")
    answers: list[object] = []
    caller = threading.Thread(target=lambda: answers.append(client.incr("n")))
    caller.start()
    held.wait()
    assert redis_client.get("n") == b"1"
    assert answers == []
    held.release()
    caller.join(5)
    assert answers == [1]


def test_nothing_passes_a_black_hole_until_it_heals(
    proxy: FaultProxy, raw: socket.socket, redis_client: redis.Redis
) -> None:
    proxy.black_hole()
    raw.sendall(request("INCR", "n"))
    raw.settimeout(0.05)
    with pytest.raises(TimeoutError):
        raw.recv(1)
    assert redis_client.get("n") is None
    proxy.heal()
    raw.settimeout(5)
    assert raw.recv(100) == b":1\r\n"


def test_a_one_way_black_hole_lets_requests_through(
    proxy: FaultProxy, raw: socket.socket, redis_client: redis.Redis
) -> None:
    proxy.black_hole("down")
    raw.sendall(request("INCR", "n"))
    holds(redis_client, "n", b"1")
    raw.settimeout(0.05)
    with pytest.raises(TimeoutError):
        raw.recv(1)


def test_a_black_hole_pushes_back(proxy: FaultProxy, raw: socket.socket) -> None:
    proxy.black_hole("up")
    raw.settimeout(0.5)
    with pytest.raises(TimeoutError):
        raw.sendall(request("SET", "key", "x" * 100_000) * 1000)


def test_delays_add_to_every_round_trip_until_healed(proxy: FaultProxy, raw: socket.socket) -> None:
    proxy.delay(0.05)
    begun = time.monotonic()
    assert echo(raw)
    assert time.monotonic() - begun >= 0.1
    proxy.heal()
    begun = time.monotonic()
    assert echo(raw)
    assert time.monotonic() - begun < 0.1


def test_delayed_frames_travel_together(proxy: FaultProxy, raw: socket.socket) -> None:
    proxy.delay(0.1, "up")
    raw.sendall(request("ECHO", "x") * 50)
    begun = time.monotonic()
    received = b""
    while len(received) < 7 * 50:
        received += raw.recv(4096)
    assert 0.05 < time.monotonic() - begun < 2


def test_reset_is_no_end_of_file(proxy: FaultProxy, raw: socket.socket) -> None:
    assert echo(raw)
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        raw.recv(1)


def test_cut_is_an_end_of_file(proxy: FaultProxy, raw: socket.socket) -> None:
    assert echo(raw)
    proxy.cut()
    assert raw.recv(1) == b""
    wait_until(lambda: proxy.connections == 0)


def test_half_close_leaves_the_other_way_open(
    proxy: FaultProxy, raw: socket.socket, redis_client: redis.Redis
) -> None:
    assert echo(raw)
    proxy.half_close("down")
    assert raw.recv(1) == b""
    raw.sendall(request("INCR", "n"))
    holds(redis_client, "n", b"1")


def test_calls_are_counted_by_name(proxy: FaultProxy, client: redis.Redis) -> None:
    bump(client)
    client.eval(BUMP, 1, "n")
    client.incr("n")
    client.eval("return 1", 0)
    assert [proxy.calls(name) for name in ("bump", "INCRBY", "EVALSHA", "EVAL")] == [2, 1, 0, 1]


def test_without_a_server_the_connection_is_closed(server: Server, make_proxy: MakeProxy) -> None:
    gone = Server(server.kind)
    with socket.create_connection(("127.0.0.1", make_proxy(gone).port), timeout=5) as sock:
        assert sock.recv(1) == b""
    gone.discard()


def test_bytes_that_are_no_resp_are_reported(server: Server) -> None:
    proxy = FaultProxy(server.port)
    proxy.start()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as sock:
        sock.sendall(b"PING\r\n")
        assert sock.recv(1) == b""
    with pytest.raises(ExceptionGroup, match="no RESP"):
        proxy.close()


async def test_it_can_be_awaited(proxy: FaultProxy, client: redis.Redis, redis_client: redis.Redis) -> None:
    lost = proxy.drop_reply("bump")
    caller = threading.Thread(target=fails_to_bump, args=(client,))
    caller.start()
    await lost.wait_async()
    await wait_until_async(lambda: redis_client.get("n") == b"1")
    caller.join(5)


def echo(sock: socket.socket) -> bool:
    sock.sendall(request("ECHO", "x"))
    return sock.recv(100) == b"$1\r\nx\r\n"


def read_all(sock: socket.socket) -> bytes:
    received = b""
    while data := sock.recv(4096):
        received += data
    return received


def test_replies_are_dropped_by_chance_until_that_is_revoked(
    proxy: FaultProxy, client: redis.Redis, redis_client: redis.Redis
) -> None:
    def outcomes(calls: int) -> list[bool]:
        found: list[bool] = []
        for _ in range(calls):
            try:
                bump(client)
                found.append(True)
            except redis.ConnectionError:
                found.append(False)
        return found

    drops = proxy.drop_replies("bump", 0.3, seed=1)
    first = outcomes(60)
    assert 5 < first.count(False) < 35
    assert drops.times == first.count(False)
    proxy.revoke(drops)
    assert all(outcomes(20))
    proxy.drop_replies("bump", 0.3, seed=1)
    assert outcomes(60) == first
    assert redis_client.get("n") == b"140"  # the server has run every call


@pytest.mark.parametrize("size", [1, 7])
def test_frames_arrive_in_slices(
    proxy: FaultProxy, raw: socket.socket, redis_client: redis.Redis, size: int
) -> None:
    proxy.slice(size)
    sent = request("ECHO", "some text of several words")
    expected = b"$26\r\nsome text of several words\r\n"

    def comes_in_pieces() -> bool:
        """A receiver that sleeps meanwhile finds them joined; so it takes a look or two."""
        raw.sendall(sent)
        pieces = [raw.recv(4096)]
        while sum(map(len, pieces)) < len(expected):
            pieces.append(raw.recv(4096))
        assert b"".join(pieces) == expected
        return len(pieces) > 1

    wait_until(comes_in_pieces, 20, what="a reply in pieces")
    proxy.heal()
    raw.sendall(sent)
    assert raw.recv(4096) == expected
