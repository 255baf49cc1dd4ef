"""Fixtures: shared servers, private ones for tests that break them, clean keys for each test."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import pytest
import redis
from hypothesis import HealthCheck, settings

from tests.faults.examine import examine
from tests.faults.proxy import FaultProxy
from tests.names import script_names
from tests.servers import KINDS, Kind, Server, ServerMissing

_numbers = itertools.count(1)

# A run in the background inherits "ignore SIGINT", and so would every process that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A core with sanitizers is several times slower; how long an example takes is not what is tested then.
settings.register_profile("sanitized", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if os.environ.get("BULLRUSH_SANITIZED"):
    settings.load_profile("sanitized")


class PrivateServer(Protocol):
    """Start a server for this test alone; it is removed when the test ends."""

    def __call__(
        self,
        kind: Kind = "redis",
        *,
        persistent: bool = False,
        extra: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Server: ...


class MakeProxy(Protocol):
    """Start a proxy before this server; it is closed when the test ends."""

    def __call__(self, server: Server, scripts: Mapping[str, str] | None = None) -> FaultProxy: ...


def _make(
    kind: Kind,
    *,
    persistent: bool = False,
    extra: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Server:
    try:
        server = Server(kind, persistent=persistent, extra=extra, environment=environment)
    except ServerMissing as missing:
        pytest.skip(str(missing))
    return server


@pytest.fixture(scope="session", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A running server, one of each kind, shared by all tests: don't stop or reconfigure it."""
    server = _make(request.param)
    try:
        server.start()
        yield server
    finally:
        server.discard()


def _examine_after_faults(request: pytest.FixtureRequest, server: Server) -> None:
    """Every fault test ends with fsck, unless damage is its subject."""
    if "faults" in request.path.parts and request.node.get_closest_marker("damaged") is None:
        examine(server)


@pytest.fixture
def url(request: pytest.FixtureRequest, server: Server) -> Iterator[str]:
    """The address of the shared server, emptied for this test."""
    with server.client() as client:
        client.flushall()
    yield server.url
    _examine_after_faults(request, server)


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test uses."""
    return f"test{next(_numbers)}"


@pytest.fixture
def redis_client(server: Server, url: str) -> Iterator[redis.Redis]:
    """A blocking redis-py client for looking into keys; answers are bytes."""
    with server.client() as client:
        yield client


@pytest.fixture
def private_server(request: pytest.FixtureRequest) -> Iterator[PrivateServer]:
    """Make servers that the test may stop, kill, freeze and reconfigure."""
    made: list[Server] = []

    def start(
        kind: Kind = "redis",
        *,
        persistent: bool = False,
        extra: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Server:
        made.append(server := _make(kind, persistent=persistent, extra=extra, environment=environment))
        server.start()
        return server

    yield start
    try:
        for server in made:
            _examine_after_faults(request, server)
    finally:
        for server in made:
            server.discard()


@pytest.fixture
def make_proxy() -> Iterator[MakeProxy]:
    """Put proxies that make things go wrong before servers; they know the scripts of bullrush by name."""
    with contextlib.ExitStack() as proxies:

        def start(server: Server, scripts: Mapping[str, str] | None = None) -> FaultProxy:
            return proxies.enter_context(FaultProxy(server.port, scripts=scripts or script_names()))

        yield start
