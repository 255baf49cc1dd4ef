"""The requests that operations yield, and the type of an operation.

A driver, asyncio's or the blocking one, performs each request and sends its reply into the generator; an
error reply is thrown in as ReplyError, so that an operation can recover from it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from bullrush._core.frames import ScriptFrame, encode_command
from bullrush.scripts import load

if TYPE_CHECKING:
    from bullrush.keys import Keys

ResultT = TypeVar("ResultT")
Argument: TypeAlias = "bytes | str | int"


@dataclass(frozen=True, slots=True)
class Read:
    """Plain commands, sent in one go; the reply is the list of theirs."""

    frames: list[bytes]


@dataclass(frozen=True, slots=True)
class Run:
    """A script without a number: it changes nothing, or the same thing however often it runs."""

    frame: ScriptFrame
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Numbered:
    """A changing script under the producer's session: applied once, whatever happens to the connection."""

    frame: ScriptFrame
    arguments: tuple[Argument, ...]


Request: TypeAlias = Read | Run | Numbered
Operation: TypeAlias = Generator[Request, "object", ResultT]


def read(*commands: tuple[Argument, ...]) -> Read:
    """Pack commands for one round trip."""
    return Read([encode_command(*command) for command in commands])


def script_frame(name: str, keys: Keys, held: tuple[bytes, ...] = ()) -> ScriptFrame:
    """Bind a script to a queue's keys."""
    script = load(name)
    return ScriptFrame(name, script.sha, script.source, script.names(keys, held))
