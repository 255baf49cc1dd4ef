"""Fixtures of the script tests."""

from __future__ import annotations

import pytest
import redis

from tests.lua.script_calls import ScriptQueue


@pytest.fixture
def queue(redis_client: redis.Redis, prefix: str) -> ScriptQueue:
    """A queue that does not exist yet, on each kind of server."""
    return ScriptQueue(redis_client, prefix)
