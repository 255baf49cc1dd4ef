"""Fixtures of tests without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.unit.crews import Crew, Handler


@pytest.fixture
async def crew_of() -> AsyncIterator[Callable[..., Crew]]:
    crews: list[Crew] = []

    def make(handler: Handler | dict[str, Handler], **options: Any) -> Crew:
        crews.append(Crew(handler, **options))
        return crews[-1]

    yield make
    for crew in crews:
        crew.dispatcher.stop_threads()
        for thread in crew.dispatcher.threads:
            await asyncio.to_thread(thread.join, 10)
