"""What the server is told of a worker: its number, who it is, and what its exchange asks for."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any, Final

from bullrush._core.exchange import Exchange
from bullrush.operations.requests import script_frame
from bullrush.options import Keep, WorkerSettings
from bullrush.worker.kinds import Kind
from bullrush.worker.settler import Sink

if TYPE_CHECKING:
    from bullrush._core.frames import ScriptFrame
    from bullrush.queue import Queue

COMPLETED_KEPT: Final = 1_000


class Registration:
    """How one worker introduces itself, under whatever number it has at the time."""

    def __init__(self, queue: Queue[Any, Any], settings: WorkerSettings) -> None:
        self.codec_name = "msgpack" if queue.codec is None else queue.codec.name
        self._keys = queue.keys
        self._settings = settings

    def make_exchange(self, sink: Sink, kinds: tuple[Kind, dict[str, Kind]], concurrency: int) -> Exchange:
        """Return an exchange under a new number; it registers with its first call."""
        number, settings = new_number(), self._settings
        keep = settings.remove_on_complete or Keep(COMPLETED_KEPT)
        (kind, owner), named = kinds
        return Exchange(
            *self.frames(number),
            owner,
            sink,
            number=number,
            host=self.host(concurrency),
            codec_name=self.codec_name.encode(),
            kind=kind,
            kinds=named,
            concurrency=concurrency,
            prefetch=-1 if settings.prefetch == "auto" else settings.prefetch,
            lease=settings.lease,
            keep=-1 if keep.count is None else keep.count,
            age=-1 if keep.age is None else keep.age,
            limit=settings.limiter.wire if settings.limiter is not None else b"",
            own_keep=settings.remove_on_complete is not None,
        )

    def frames(self, number: bytes) -> tuple[ScriptFrame, ScriptFrame]:
        """Return the scripts that an exchange calls under that number."""
        return self.frame("open", number), self.frame("exchange", number)

    def frame(self, script: str, number: bytes) -> ScriptFrame:
        """Return a script that also touches what the worker of that number holds."""
        return script_frame(script, self._keys, (self._keys.held(number.decode()),))

    def host(self, concurrency: int) -> bytes:
        """Return what an operator sees of this worker, as JSON."""
        return json.dumps(
            {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "name": self._settings.name,
                "concurrency": concurrency,
                "lease": self._settings.lease,
                "max_crashes": self._settings.max_crashes,
                "started": int(time.time() * 1000),
            }
        ).encode()


def new_number() -> bytes:
    """Return a worker number: 40 random bits, so that no failover or restore hands one out twice."""
    return str(int.from_bytes(os.urandom(5))).encode()
