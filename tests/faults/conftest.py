"""Fixtures of the tests that make things go wrong."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

import pytest

from bullrush import Queue
from tests.faults import seed


@pytest.fixture(autouse=True)
def play_the_same_again(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test of the short run has a seed of its own, always the same."""
    if request.node.get_closest_marker("long") is None:
        monkeypatch.setattr(seed, "repeatable", zlib.crc32(request.node.name.encode()))


@pytest.fixture
async def queue(url: str, prefix: str) -> AsyncIterator[Queue]:
    """A queue of its own on each kind of server."""
    async with Queue("q", url, prefix=prefix) as queue:
        yield queue
