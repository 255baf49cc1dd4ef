"""Memory that ends at any allocation of the core: a MemoryError, never a crash, and nothing lost or done twice after it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("_testcapi") is None,
    reason="this Python has no _testcapi, which refuses allocations",
)


@pytest.mark.parametrize(("case", "least"), [("values", 60), ("producer", 25), ("exchange", 30)])
def test_each_allocation_may_fail(case: str, least: int) -> None:
    """The program runs by itself, since a crash would take the test run with it."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.native.no_memory", case]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    assert int(run.stdout) >= least, "fewer allocations were refused than there are: nothing was tested"
