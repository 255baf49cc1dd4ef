"""What a model of a queue is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

PENDING = float("inf")  # the finished time of this very call: later than all before it
ENDED = ("completed", "failed")


@dataclass
class Attempts:
    """Failed attempts, starts lost with a worker, deaths charged; 0 no suspect, 2 suspected, 1 its start was confirmed."""

    made: int = 0
    lost: int = 0
    crashes: int = 0
    suspicion: int = 0

    def __str__(self) -> str:
        return f"{self.made} {self.lost} {self.crashes} {self.suspicion}"

    @staticmethod
    def parse(text: str | bytes) -> Attempts:
        made, lost, crashes, suspicion = map(int, text.split())
        return Attempts(made, lost, crashes, suspicion)


@dataclass(frozen=True)
class Spec:
    """A job as it is added."""

    id: str
    record: bytes
    own: bool = False  # the id is the user's
    priority: int = 0
    lifo: bool = False
    delay: int = 0
    run_at: int = 0
    mode: str = ""  # of deduplication: s t d r k
    ttl: int = 0
    key: str = ""

    @property
    def large(self) -> bool:
        return len(self.record) > 4000

    @property
    def plain(self) -> bool:
        special = self.own or self.priority or self.lifo or self.delay or self.run_at or self.mode
        return not special and not self.large


@dataclass(eq=False)
class Job:
    """A job that is stored."""

    spec: Spec
    record: bytes
    serial: int  # its number: places among equals
    priority: int
    lifo: bool
    state: str = ""
    planned: bool = False
    attempts: Attempts | None = None
    cancelled: str | None = None
    outcome: bytes | None = None  # b"" = made by the script itself
    progress: bytes | None = None
    lines: list[tuple[int, bytes]] = field(default_factory=list)
    written: int = 0
    due: int = 0
    turn: int = 0
    worker: str = ""
    score: float = 0
    ran: tuple[int, int] = (0, 0)  # of one that has ended: attempts made and started

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def special(self) -> bool:
        """It must not stand in line unmarked."""
        large = self.record is self.spec.record and len(self.record) > 4000
        return self.planned or self.attempts is not None or large


@dataclass
class Key:
    """A deduplication key that is taken; until 0 = as long as its job is open."""

    holder: Job
    until: int
    next: Spec | None = None


@dataclass
class Place:
    """A place in the line of those waiting; a ghost's job was removed."""

    id: str
    ghost: bool = False


@dataclass(frozen=True)
class Outcome:
    """Five arguments of an exchange."""

    kind: str
    id: str
    a: bytes | str | int = ""
    b: bytes | str | int = ""
    c: bytes | str | int = ""
