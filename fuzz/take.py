"""Turns the bytes of a fuzzer into choices, numbers and texts; what has run out is 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

ChoiceT = TypeVar("ChoiceT")


class Take:
    """Reads from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return self._at >= len(self._data)

    def byte(self) -> int:
        """Take a number below 256."""
        if self.is_empty:
            return 0
        self._at += 1
        return self._data[self._at - 1]

    def number(self, width: int) -> int:
        """Take a signed number of so many bytes."""
        return int.from_bytes(self.bytes(width), "big", signed=True)

    def bytes(self, size: int) -> bytes:
        """Take at most so many bytes."""
        part = self._data[self._at : self._at + size]
        self._at += len(part)
        return part

    def text(self, size: int) -> str:
        """Take a text: of UTF-16, so that every character comes up, lone surrogates too."""
        part = self.bytes(size)
        return (
            part.decode("latin-1")
            if self.byte() % 4
            else part.decode("utf-16-le", "surrogatepass" if len(part) % 2 == 0 else "replace")
        )

    def choice(self, choices: Sequence[ChoiceT]) -> ChoiceT:
        """Take one of these."""
        return choices[self.byte() % len(choices)]

    def rest(self) -> bytes:
        """Take all that is left."""
        return self.bytes(len(self._data))
