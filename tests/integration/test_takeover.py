"""A connection that redis-py has opened goes on under a protocol of ours: every transport, both loops."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import quote

import hiredis
import pytest
import redis
import uvloop
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bullrush.connection.address import Address
from bullrush.connection.takeover import connect

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")

PASSWORD = "s3cret:/@ü"
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Probe(asyncio.Protocol):
    """Send bytes, await replies in order, and tell the protocol of redis-py when it is over."""

    def __init__(self, loop: asyncio.AbstractEventLoop, old: asyncio.BaseProtocol) -> None:
        self.old = old
        self.lost = loop.create_future()
        self._loop = loop
        self._reader = hiredis.Reader(notEnoughData=None)
        self._waiting: list[asyncio.Future[object]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # no instance of it on uvloop

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not None:
            self._waiting.pop(0).set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)
        self.old.connection_lost(exc)

    async def ask(self, *words: str) -> object:
        future: asyncio.Future[object] = self._loop.create_future()
        self._waiting.append(future)
        self.transport.write(hiredis.pack_command(words))
        return await asyncio.wait_for(future, 10)


@dataclass
class TestServer:
    __test__ = False
    folder: Path
    port: int
    tls_port: int
    pid: int

    @property
    def authority(self) -> str:
        """A certificate that signs itself is its own authority."""
        return str(self.folder / "cert.pem")

    def url(self, kind: str, user: str = "writer", password: str = PASSWORD) -> str:
        login = f"{user}:{quote(password, safe='')}@"
        return {
            "tcp": f"redis://{login}127.0.0.1:{self.port}/3",
            "unix": f"unix://{login}{self.folder}/s?db=3",
            "tls": f"rediss://{login}localhost:{self.tls_port}/3?ssl_ca_certs={self.authority}",
        }[kind]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def make_certificate(folder: Path) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    command += " -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestServer]:
    folder = tmp_path_factory.mktemp("s")
    make_certificate(folder)
    port, tls_port = free_port(), free_port()
    (folder / "redis.conf").write_text(
        f"port {port}\nbind 127.0.0.1\nunixsocket {folder}/s\n"
        f"tls-port {tls_port}\ntls-cert-file cert.pem\ntls-key-file key.pem\n"
        "tls-ca-cert-file cert.pem\ntls-auth-clients no\n"
        f'save ""\nrequirepass of-default\nuser writer on ">{PASSWORD}" ~* &* +@all\n'
    )
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(["redis-server", "redis.conf"], cwd=folder, stdout=output, stderr=output)
    try:
        wait_for_login(port, log)
        yield TestServer(folder, port, tls_port, process.pid)
    finally:
        process.kill()
        process.wait()


def wait_for_login(port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with redis.Redis(port=port, username="writer", password=PASSWORD) as client:
                client.ping()
                return
        except redis.exceptions.ConnectionError:
            assert time.monotonic() < deadline, f"the server did not start: {log.read_text()}"


def on(loop: str, main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main(), 30)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(bounded())


@pytest.fixture(params=sorted(LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
def test_protocol_gets_a_logged_in_connection(server: TestServer, kind: str, loop: str) -> None:
    async def main() -> None:
        connection, transport, probe = await connect(Address.parse(server.url(kind)), Probe)
        assert transport is probe.transport
        assert await probe.ask("ACL", "WHOAMI") == b"writer"
        info = await probe.ask("CLIENT", "LIST", "ID", str(await probe.ask("CLIENT", "ID")))
        assert b" db=3 " in info
        assert b" resp=2" in info
        started = time.monotonic()
        await connection.disconnect()
        assert time.monotonic() - started < 2  # 5 s when connection_lost does not reach the old protocol
        assert await probe.lost is None

    on(loop, main)


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
def test_a_megabyte_goes_both_ways(server: TestServer, kind: str, loop: str) -> None:
    async def main() -> None:
        connection, _, probe = await connect(Address.parse(server.url(kind)), Probe)
        text = "x" * (1 << 20)
        echoes = await asyncio.gather(*(probe.ask("ECHO", text) for _ in range(8)))
        assert all(echo == text.encode() for echo in echoes)
        await connection.disconnect()

    on(loop, main)


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
def test_a_closed_connection_is_told_to_both_protocols(server: TestServer, kind: str, loop: str) -> None:
    async def main() -> None:
        connection, _, probe = await connect(Address.parse(server.url(kind)), Probe)
        own = str(await probe.ask("CLIENT", "ID"))
        with redis.Redis(port=server.port, username="writer", password=PASSWORD) as other:
            other.client_kill_filter(_id=own)
        await asyncio.wait_for(probe.lost, 10)
        started = time.monotonic()
        await connection.disconnect()
        assert time.monotonic() - started < 2

    on(loop, main)


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
def test_a_refused_login_says_so(server: TestServer, kind: str, loop: str) -> None:
    async def main() -> None:
        with pytest.raises(AuthenticationError):
            await connect(Address.parse(server.url(kind, password="wrong")), Probe)

    on(loop, main)


def test_password_without_user_is_the_default_user(server: TestServer, loop: str) -> None:
    async def main() -> None:
        address = Address.parse(server.url("tcp", user="", password="of-default"))
        connection, _, probe = await connect(address, Probe)
        assert await probe.ask("ACL", "WHOAMI") == b"default"
        await connection.disconnect()

    on(loop, main)


def test_an_unknown_certificate_is_refused(server: TestServer, loop: str) -> None:
    async def main() -> None:
        url = server.url("tls").partition("?")[0]
        with pytest.raises(RedisConnectionError, match=r"(?i)certificate.verify.failed"):
            await connect(Address.parse(url), Probe)

    on(loop, main)


def test_settings_of_a_client_are_enough(server: TestServer, loop: str) -> None:
    client = redis.Redis(
        host="localhost", port=server.tls_port, db=3, username="writer", password=PASSWORD, ssl=True,
        ssl_ca_certs=server.authority, client_name="copied",
    )  # fmt: skip

    async def main() -> None:
        connection, _, probe = await connect(Address.parse(client), Probe)
        assert await probe.ask("CLIENT", "GETNAME") == b"copied"
        await connection.disconnect()

    on(loop, main)
    client.close()


def test_blocking_connection_of_the_same_address(server: TestServer) -> None:
    for kind in ("tcp", "unix", "tls"):
        connection = Address.parse(server.url(kind)).sync_connection(socket_timeout=10)
        connection.connect()
        connection.send_command("ACL", "WHOAMI")
        assert connection.read_response() == b"writer"
        connection.disconnect()


def test_nobody_listens(loop: str) -> None:
    async def main() -> None:
        port = free_port()
        with pytest.raises(RedisConnectionError, match=str(port)):
            await connect(Address.parse(f"redis://127.0.0.1:{port}"), Probe)

    on(loop, main)


def test_a_server_that_never_answers_is_given_up(server: TestServer, loop: str) -> None:
    async def main() -> None:
        with pytest.raises(RedisTimeoutError, match=f"127.0.0.1:{server.port} did not answer the login"):
            await connect(Address.parse(server.url("tcp")), Probe, timeout=0.3)

    os.kill(server.pid, signal.SIGSTOP)
    try:
        on(loop, main)
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_early_bytes_are_not_lost_silently(loop: str) -> None:
    async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"AUTH")
        writer.write(b"+OK\r\n+OK\r\n+OK\r\n" + b"+surplus\r\n" * 10_000)
        await reader.read()
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(talkative, "127.0.0.1", 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            with pytest.raises(RedisConnectionError, match="more than the replies"):
                await connect(Address.parse(f"redis://:pw@127.0.0.1:{port}"), Probe)

    on(loop, main)


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
def test_a_protocol_that_fails_leaves_nothing_open(server: TestServer, kind: str, loop: str) -> None:
    class Failing(Probe):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(cast("asyncio.Transport", transport))
            raise ZeroDivisionError

    made: list[asyncio.Transport] = []

    async def main() -> None:
        started = time.monotonic()
        with pytest.raises(ZeroDivisionError):
            await connect(Address.parse(server.url(kind)), Failing)
        assert made[0].is_closing()
        assert time.monotonic() - started < 2  # it does not wait for a protocol that never forwards

    on(loop, main)
