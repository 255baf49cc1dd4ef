"""Fixtures of the tests that make things go wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bullrush import Queue


@pytest.fixture
async def queue(url: str, prefix: str) -> AsyncIterator[Queue]:
    """A queue of its own on each kind of server."""
    async with Queue("q", url, prefix=prefix) as queue:
        yield queue
