"""The producer: adds wait in a buffer while calls are in flight, and leave together."""

from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from bullrush._core.frames import ScriptFrame
from bullrush._core.job import JobBase
from bullrush._core.session import Session
from bullrush.errors import BullrushError

# A future, asyncio's or concurrent's, or what blocking callers wait for: done, set_result, set_exception.
_Waiter: TypeAlias = object

class Confirmation:
    """A command that tells whether what was written before it is as durable as somebody asked."""

    level: str
    frame: bytes

    def __init__(self, level: str, frame: bytes, holds: Callable[[object], bool]) -> None: ...
    @property
    def holds(self) -> Callable[[object], bool]:
        """Judges the reply to `frame`."""

class Producer(Session):
    """The adding side of one queue on one socket, without I/O."""

    max_jobs: int
    max_bytes: int
    events_mode: str
    on_missing: Callable[[int], object] | None

    def __init__(
        self,
        open_script: ScriptFrame,
        add: ScriptFrame,
        add_special: ScriptFrame,
        reserve: ScriptFrame,
        codec_name: bytes,
        max_jobs: int = 20_000,
        max_bytes: int = 33_554_432,
    ) -> None: ...
    @property
    def pending(self) -> deque[object]:
        """What waits to be sent."""

    @property
    def pending_jobs(self) -> int:
        """How many jobs wait to be sent."""

    @property
    def pending_bytes(self) -> int:
        """How many bytes they take, 64 more for each."""

    @property
    def acknowledged(self) -> int:
        """How many jobs the server has acknowledged."""

    @property
    def missing(self) -> int:
        """How many acknowledged jobs a server that took over did not have."""

    @property
    def full(self) -> bool:
        """Whether an add should wait before it pushes."""

    @property
    def busy(self) -> bool:
        """Whether anything is pending, in flight or to be sent again."""

    def push(
        self,
        job: JobBase[Any, Any],
        waiter: _Waiter,
        deadline: float,
        confirmation: Confirmation | None = None,
    ) -> None:
        """Buffer one job; the waiter gets it once it is stored, and confirmed where that is asked.

        Raises the error that ended the session.
        """

    def push_all(
        self,
        jobs: list[JobBase[Any, Any]],
        waiter: _Waiter,
        deadline: float,
        confirmation: Confirmation | None = None,
    ) -> None:
        """Buffer a chunk of at most 1,000 jobs, stored or refused as a whole; the waiter gets the list."""

    def push_script(
        self, script: ScriptFrame, arguments: tuple[bytes | str | int, ...], waiter: _Waiter, deadline: float
    ) -> None:
        """Buffer a numbered call of another script; the waiter gets its answer."""

    def wait_for_space(self, waiter: _Waiter) -> None:
        """Resolve this waiter once the buffer has space again, in order of arrival."""

    def waiters(self) -> list[Any]:
        """Return the futures of everything that is not settled."""

    def give_id(self, job: JobBase[Any, Any]) -> bool:
        """Give a job its id before its call is written; False when no reserved one is left."""

    def expire(self, now: float) -> bool:
        """Give up what waited past its deadline; returns whether the socket is stuck."""

    def fail_all(self, error: BullrushError) -> None:
        """Fail everything that waits."""

def monotonic_ms_offset() -> int:
    """What to add to the monotonic clock (ms) for the wall clock, until the server's is known."""
