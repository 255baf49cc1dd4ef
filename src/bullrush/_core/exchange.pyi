"""The exchange: one call settles every outcome collected so far and claims the next jobs."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from bullrush._core.frames import ScriptFrame
from bullrush._core.job import JobBase
from bullrush._core.outcomes import Outcomes
from bullrush.errors import BullrushError

class Exchange(Outcomes):
    """The working side of one queue on one socket, without I/O."""

    concurrency: int
    prefetch: int
    running: int
    claiming: bool
    look: bool
    promote_only: bool
    asked: bool
    gather: int
    running_jobs: set[JobBase[Any, Any]]
    on_opened: Callable[[], object] | None  # called when the number is registered, before anything is claimed

    def __init__(
        self,
        open_script: ScriptFrame,
        exchange: ScriptFrame,
        owner: object,
        sink: object,
        *,
        number: bytes,
        host: bytes,
        codec_name: bytes,
        kind: type[JobBase[Any, Any]],
        kinds: Mapping[str, tuple[type[JobBase[Any, Any]], object]],
        concurrency: int,
        prefetch: int,
        lease: int,
        keep: int,
        age: int,
        limit: bytes = b"",
        own_keep: bool = False,
    ) -> None: ...
    @property
    def ready(self) -> deque[JobBase[Any, Any]]:
        """Claimed and not started, the next one first."""

    @property
    def unconfirmed(self) -> list[JobBase[Any, Any]]:
        """Suspects whose start is being reported."""

    @property
    def broken(self) -> list[tuple[JobBase[Any, Any], BullrushError]]:
        """Claimed and never to start (cannot be decoded, cancelled, expired), each with its error."""

    @property
    def refused(self) -> list[bytes]:
        """Ids whose outcome came too late."""

    @property
    def expired(self) -> list[tuple[bytes, bytes]]:
        """Leases that seem dead: number and deadline."""

    @property
    def unseen(self) -> list[str]:
        """Ids that the server says are held here and whose claim's reply was lost."""

    @property
    def lease(self) -> int:
        """How long the lease lasts, in ms."""

    @property
    def lease_lost(self) -> bool:
        """Whether others have the jobs by now."""

    @property
    def renewed_at(self) -> float:
        """When the last acknowledged renewal was sent."""

    @property
    def due_at(self) -> int:
        """Server ms of a delayed job this worker was told of, 0 = none."""

    @property
    def dry(self) -> bool:
        """Whether the last reply said that nothing more is to be claimed."""

    @property
    def server_held(self) -> int:
        """How many ids the server holds for this number, by its replies."""

    @property
    def calls(self) -> int:
        """How many calls were sent."""

    @property
    def claimed_total(self) -> int:
        """How many jobs were claimed."""

    @property
    def settled_total(self) -> int:
        """How many outcomes were sent and answered."""

    def start_over(self, number: bytes, host: bytes) -> None:
        """Register under a new number: the lease is lost, and everything held with it."""

    def rebind(self, open_script: ScriptFrame, exchange: ScriptFrame) -> None:
        """Use the keys of a new number."""

    def use_sink(self, sink: object) -> None:
        """Let jobs claimed from now on report to this sink."""

    def take_ready(self, most: int) -> list[JobBase[Any, Any]]:
        """Take claimed jobs to run them by hand; each holds a slot until `put_down`."""

    def put_down(self, job: JobBase[Any, Any]) -> bool:
        """Free the slot of a job taken by hand; False when it was not taken, or is settled already."""

    def take_broken(self) -> list[tuple[JobBase[Any, Any], BullrushError]]:
        """Return the claimed jobs that cannot start, with the error, once."""

    def take_stale(self) -> list[JobBase[Any, Any]]:
        """For another thread, while the loop does not turn: take jobs that wait for their start too long."""

    @property
    def limited(self) -> bool:
        """Whether the queue is paused or has a limit: what is claimed must start at once."""

    @property
    def closed_by_limit(self) -> bool:
        """Whether jobs may be there that a limit keeps from starting."""

    def give_back_surplus(self) -> None:
        """The queue was paused or limited: give back what cannot start at once, from the back."""

    def take_waiting(self, id: str) -> JobBase[Any, Any] | None:
        """Take a claimed job that has not started, by its id; None: it is not among these."""

    def take_refused(self) -> list[str]:
        """Return the ids whose outcome came too late, once."""

    def take_expired(self) -> list[tuple[bytes, bytes]]:
        """Return the leases that seem dead, once."""

    def give_back_stale(self) -> None:
        """Give back what was not started 50 ms after its claim."""

    def renewed(self, sent_at: float, number: bytes) -> None:
        """Another connection renewed the lease of this number with a call that it sent at that time."""

    def adopt(
        self,
        ids: list[str],
        records: list[bytes | None],
        attempts: list[bytes | None],
        plans: list[bytes | None],
    ) -> None:
        """Take up jobs that the server says are held here and whose claim's reply was lost."""
