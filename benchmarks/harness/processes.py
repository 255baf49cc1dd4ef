"""The same contender in a second process: a producer, a second worker, or one that is killed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, replace

from benchmarks.harness.case import Case


class Companion:
    """A second process, which says when it is ready, begins when told to, and tells the CPU it used."""

    def __init__(self, case: Case, role: str) -> None:
        spec = sys.modules["__main__"].__spec__
        if spec is None:
            raise RuntimeError("run contenders with python -m")
        order = json.dumps(asdict(replace(case, role=role)))
        self._process = subprocess.Popen(
            [sys.executable, "-m", spec.name, order], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.expect("ready")

    def go(self) -> None:
        """Let it begin. Does not wait."""
        self._say("go")

    def stop(self) -> None:
        """Let it end what it does until told."""
        self._say("stop")

    def kill(self) -> None:
        """End it as a crash does: no signal handler runs."""
        self._process.kill()
        self._process.wait()

    def finish(self) -> float:
        """Wait for its end and return the CPU seconds it used from `go` on."""
        line = self._read()
        if self._process.wait(timeout=60) or not line:
            raise RuntimeError(f"the second process failed with exit code {self._process.returncode}")
        return float(json.loads(line)["cpu"])

    def expect(self, word: str) -> None:
        """Wait until it says this word."""
        line = self._read().strip()
        if line != word:
            code = self._process.wait(timeout=10) if not line else "none"
            raise RuntimeError(f"the second process said {line!r} instead of {word!r}; exit code {code}")

    def _read(self) -> str:
        stdout = self._process.stdout
        assert stdout is not None
        return stdout.readline()

    def _say(self, word: str) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(f"{word}\n")
        stdin.flush()


class Cue:
    """The other side of `Companion`, in the second process."""

    def __init__(self) -> None:
        self._cpu = 0.0

    async def ready(self) -> None:
        """Say that all is connected, and wait to be told to begin."""
        print("ready", flush=True)
        await self.told()
        self._cpu = time.process_time()

    async def told(self) -> None:
        """Wait for the next word."""
        await asyncio.to_thread(sys.stdin.readline)

    def say(self, word: str) -> None:
        print(word, flush=True)

    def report(self) -> None:
        """Tell the CPU seconds since it began."""
        print(json.dumps({"cpu": time.process_time() - self._cpu}), flush=True)
