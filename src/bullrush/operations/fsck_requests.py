"""What an examination asks the server, and what it has learned so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

from bullrush._core.session import ReplyError
from bullrush.errors import ServerError
from bullrush.operations.fsck_report import Problem
from bullrush.operations.jobs import RETRIES, worker_numbers
from bullrush.operations.requests import Argument, Operation, Run, read, script_frame

if TYPE_CHECKING:
    from bullrush.keys import Keys

ItemT = TypeVar("ItemT")

PAGE_BYTES = 262_144  # read by one call: a page of large records is a short one
FIRST_PAGE = 10


@dataclass(slots=True)
class Examined:
    """One examination: what was seen, and what seems wrong."""

    keys: Keys
    page: int
    problems: dict[tuple[str, str], Problem] = field(default_factory=dict[tuple[str, str], Problem])
    checked: dict[str, int] = field(default_factory=dict[str, int])
    orphaned: set[str] = field(
        default_factory=set[str]
    )  # numbers of held sets that were found without a worker
    held: dict[bytes, str] = field(default_factory=dict[bytes, str])  # id -> worker number
    line: dict[bytes, int] = field(default_factory=dict[bytes, int])  # id -> how often it was seen in line
    ghosts: dict[bytes, int] = field(default_factory=dict[bytes, int])
    seen_twice: set[bytes] = field(default_factory=set[bytes])
    highest: int = 0  # id from a block

    def tell(self, kind: str, about: bytes | str, detail: bytes | str = "") -> None:
        """Note a problem, once."""
        found = Problem(kind, text_of(about), text_of(detail))
        self.problems.setdefault((kind, found.id), found)

    def count(self, name: str, more: int) -> None:
        """Note how much was looked at."""
        self.checked[name] = self.checked.get(name, 0) + more


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a key."""

    members: list[bytes]
    places: list[bytes]
    findings: list[tuple[str, bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where an id stands, all places at one moment."""

    record: bool
    whole: bool  # everything was searched
    ghost: bool
    elements: int
    places: tuple[str, ...]


def text_of(value: bytes | str) -> str:
    """Text for a report, whatever the bytes."""
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")


def parts(items: Sequence[ItemT], size: int) -> Iterator[Sequence[ItemT]]:
    """Cut a sequence."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def survey(
    found: Examined, what: str, cursor: str, count: int, held: tuple[bytes, ...] = ()
) -> Operation[tuple[str, Page, int]]:
    """Look at a page; returns the next cursor, the page, and how long the next may be."""
    reply = yield Run(script_frame("survey", found.keys, held), (what, cursor, count))
    next_cursor, members, places, flat, size = cast(
        "tuple[bytes, list[bytes], list[bytes], list[bytes], int]", reply
    )
    findings = list(zip(map(text_of, flat[::3]), flat[1::3], flat[2::3], strict=True))
    fitting = count * 2 if not size else count * PAGE_BYTES // size
    return text_of(next_cursor), Page(members, places, findings), max(1, min(found.page, fitting))


def scan(
    found: Examined, what: str, use: Callable[[Page], None], held: tuple[bytes, ...] = ()
) -> Operation[None]:
    """Look at all pages of a key that is scanned."""
    cursor, count = "0", FIRST_PAGE
    while True:
        cursor, page, count = yield from survey(found, what, cursor, count, held)
        use(page)
        if cursor == "0":
            return


def with_held(found: Examined, name: str, arguments: tuple[Argument, ...]) -> Operation[object]:
    """Run a script that must declare the held sets of all workers; again when one came meanwhile."""
    for _ in range(RETRIES):
        numbers = {number.decode() for number in (yield from worker_numbers(found.keys))} | found.orphaned
        held = tuple(found.keys.held(number) for number in sorted(numbers))
        try:
            return (yield Run(script_frame(name, found.keys, held), arguments))
        except ReplyError as error:
            if not str(error).startswith("RETRY"):
                raise
    raise ServerError(
        f"workers came {RETRIES} times while queue {found.keys.queue!r} was examined: try again",
        took_effect=False,
    )


def searches(found: Examined) -> Operation[int]:
    """Say how many ids one call may look for in the lists, without stopping the server."""
    replies = cast("list[int]", (yield read(("LLEN", found.keys["waiting"]))))
    return max(1, min(20, 20_000 // max(1, replies[0])))


def inspect(found: Examined, ids: Sequence[bytes]) -> Operation[dict[bytes, Verdict]]:
    """Ask where jobs stand; a call takes so few that it doesn't stop the server."""
    verdicts: dict[bytes, Verdict] = {}
    rest = list(ids)
    while rest:
        some = rest[: (yield from searches(found))]
        rest = rest[len(some) :]
        told = cast("list[bytes]", (yield from with_held(found, "inspect", tuple(some))))
        for id, text in zip(some, told, strict=True):
            record, whole, ghost, elements, *places = text.decode().split()
            verdicts[id] = Verdict(record == "1", whole == "1", ghost == "1", int(elements), tuple(places))
    return verdicts
