"""What turns a job's data and results into bytes and back."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from bullrush._core.codec import MsgpackCodec

__all__ = ["Codec", "MsgpackCodec"]


@runtime_checkable
class Codec(Protocol):
    """Turns values into bytes and back. The name is stored with the queue, so both sides agree on it.

    Methods are called from any thread. What they raise reaches the caller of `add`, or fails the job.
    """

    @property
    def name(self) -> str:
        """Short and lasting: a queue that was made with one name refuses another."""
        ...

    def encode(self, value: object, /) -> bytes:
        """Encode a value, or raise `CodecError` saying what is wrong with it."""
        ...

    def decode(self, data: bytes, /) -> object:
        """Decode what `encode` made, or raise `CodecError`."""
        ...
