"""Outcomes: what became of the jobs that a worker holds, packed the moment a job ends."""

from typing import Any

from bullrush._core.job import JobBase
from bullrush._core.session import Call, Session
from bullrush.options import Keep

def split_bulks(packed: bytes) -> list[bytes]:
    """Take packed arguments apart again."""

class ExchangeCall(Call):
    """One exchange: the outcomes it carries, and what it asks for."""

    @property
    def want(self) -> int:
        """How many jobs it asks for."""

    @property
    def free(self) -> int:
        """How many of them would start at once."""

    @property
    def want_suspects(self) -> int:
        """How many suspects may be among them."""

class Outcomes(Session):
    """The settling half of an exchange, without I/O."""

    suspects: int
    charged: bool

    @property
    def number(self) -> bytes:
        """The worker's number, in decimal."""

    @property
    def flags(self) -> int:
        """What the last reply said of the queue; see exchange.lua."""

    @property
    def gathered(self) -> int:
        """How many outcomes wait to leave."""

    @property
    def settled(self) -> bool:
        """Whether nothing waits, is in flight or must be sent again."""

    def owns(self, job: JobBase[Any, Any]) -> bool:
        """Say whether an outcome of this job still counts: it is held under this number, and not fenced."""

    def fence(self, job: JobBase[Any, Any]) -> None:
        """A job was settled while its handler runs on: let nothing that still comes of it count."""

    def hold(self, job: JobBase[Any, Any], duration: int) -> None:
        """Give a job back to the head of its line, uncharged, and let nothing start for `duration` ms."""

    def element_of(self, job: JobBase[Any, Any]) -> bytes:
        """Return the list element of a job that goes back to the head of its line."""

    def server_now(self) -> int:
        """Return the server's clock as estimated from its last reply, in ms."""

    def pack(self, job: JobBase[Any, Any], value: object) -> object:
        """Pack a return value of this job now, in any thread, for `complete_with`; raises what that would."""

    def complete_with(self, job: JobBase[Any, Any], value: object) -> None:
        """Settle a job as completed. Raises CodecError or PayloadTooLarge when its value cannot be stored."""

    def fail(
        self,
        job: JobBase[Any, Any],
        reason: bytes,
        error_type: bytes,
        stack: bytes,
        keep: Keep | None,
        count: int,
        age: int,
    ) -> None:
        """Settle a job as failed for good; reason, class and stack are packed.

        `count` and `age` hold where `keep` is None.
        """

    def retry(
        self, job: JobBase[Any, Any], reason: bytes, error_type: bytes, stack: bytes, delay: int
    ) -> None:
        """Settle a failed attempt that another follows, after `delay` ms."""

    def later(self, job: JobBase[Any, Any], delay: int) -> None:
        """Put a job off without charge, for `delay` ms."""

    def release(self, job: JobBase[Any, Any]) -> None:
        """Give a job back to the head of its line, uncharged. Several: in reverse order of their claim."""

    def progress(self, job: JobBase[Any, Any], packed: bytes) -> None:
        """Tell a running job's progress with the next exchange."""

    def log(self, job: JobBase[Any, Any], line: bytes) -> None:
        """Write a log line of a running job with the next exchange."""
