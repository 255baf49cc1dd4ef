"""One add after another, beside the least that a round trip costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

from benchmarks.harness.case import Case, Result, percentiles
from benchmarks.harness.meter import Meter


class _Pinger(asyncio.Protocol):
    """The least that a round trip can cost on this loop: no client library at all."""

    def __init__(self) -> None:
        self._answered: asyncio.Future[None] | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: the transports of uvloop are no subclasses of asyncio's.
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        if data != b"+PONG\r\n" or self._answered is None:
            raise RuntimeError(f"no answer to a PING: {data!r}")
        self._answered.set_result(None)

    def ping(self) -> asyncio.Future[None]:
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(b"*1\r\n$4\r\nPING\r\n")
        return self._answered


@asynccontextmanager
async def bare_ping(case: Case) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """A PING on a bare connection of the running loop, the yardstick for one `add`."""
    loop = asyncio.get_running_loop()
    transport, pinger = await loop.create_connection(_Pinger, case.host, case.port)
    yield pinger.ping
    transport.close()


async def add_next_to_ping(
    meter: Meter, count: int, add: Callable[[int], Awaitable[object]], ping: Callable[[], Awaitable[object]]
) -> Result:
    """Add `count` jobs one by one, in 10 turns with as many bare PINGs, so that both see the same machine."""
    turn, pinged, times = count // 10, 0.0, list[float]()
    for part in range(10):
        began = time.monotonic()
        for _ in range(turn):
            await ping()
        pinged += time.monotonic() - began
        meter.start()
        for i in range(part * turn, (part + 1) * turn):
            began = time.monotonic()
            await add(i)
            times.append(time.monotonic() - began)
        meter.stop()
    jobs = turn * 10
    add_us, ping_us = meter.seconds / jobs * 1e6, pinged / jobs * 1e6
    figures = {"add_us": add_us, "ping_us": ping_us, "times_ping": add_us / ping_us}
    return meter.result(jobs, {**figures, **percentiles(times)})
