"""The wall clock of a server or a worker process, moved by the test while it runs.

    clock = Clock(tmp_path)
    server = private_server("redis", environment=clock.environment)
    clock.jump(-3600)  # the server's TIME goes back by an hour

For a worker process: `subprocess.Popen(…, env={**os.environ, **clock.environment})`.
"""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

from tests.faults.shims import build

SIZE = 8


class Clock:
    """One offset, shared by every process that was started with `environment`, and readable as `offset`.

    It moves CLOCK_REALTIME, gettimeofday and time; monotonic clocks go on as they are, as on a real machine. Valkey
    looks at its clock every 100 ms and counts on in between: wait until its TIME has moved.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "skew"
        path.write_bytes(bytes(SIZE))
        with path.open("r+b") as file:
            self._mapped = mmap.mmap(file.fileno(), SIZE)
        self.environment = {"LD_PRELOAD": str(build("skew", folder)), "SKEW_FILE": str(path)}

    @property
    def offset(self) -> float:
        """Seconds that the clock is ahead of the machine's; negative = behind."""
        return int.from_bytes(self._mapped[:], sys.byteorder, signed=True) / 1e9

    def set(self, offset: float) -> None:
        """Let the clock be so many seconds ahead of the machine's from now on."""
        self._mapped[:] = round(offset * 1e9).to_bytes(SIZE, sys.byteorder, signed=True)

    def jump(self, seconds: float) -> None:
        """Move the clock by so many seconds: ahead, or back when negative."""
        self.set(self.offset + seconds)
