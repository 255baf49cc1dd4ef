"""What turns a job's data and results into bytes and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast, runtime_checkable

from bullrush._core.codec import MsgpackCodec, encode

__all__ = ["AnyCodec", "Codec", "Envelope", "MsgpackCodec", "Values"]


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


@runtime_checkable
class Envelope(Protocol):
    """Like a codec in two steps: bytes are made at once, and sealed when it is known for which job.

    ``context`` says for what: what is sealed for one cannot be opened for another.
    """

    @property
    def name(self) -> str:
        """As of a codec."""
        ...

    @property
    def overhead(self) -> int:
        """How many bytes `seal` adds, always."""
        ...

    def prepare(self, value: object, /) -> bytes:
        """Encode a value, or raise `CodecError`."""
        ...

    def restore(self, prepared: bytes, /) -> object:
        """Decode what `prepare` made, or raise `CodecError`."""
        ...

    def seal(self, prepared: bytes, context: bytes, /) -> bytes:
        """Bind bytes to a context."""
        ...

    def unseal(self, sealed: bytes, context: bytes, /) -> bytes:
        """Return the bytes, or raise `CodecError` where they are not those, or not for this context."""
        ...


AnyCodec: TypeAlias = Codec | Envelope


@dataclass(frozen=True, slots=True)
class Values:
    """How return values of a queue are read."""

    codec: AnyCodec | None
    queue: str

    def read(self, value: object, job_id: str) -> object:
        """Decode what is stored as the return value of a job; raises what the codec raises."""
        if self.codec is None or value is None:
            return value
        data = cast("bytes", value)
        if isinstance(self.codec, Envelope):
            return self.codec.restore(self.codec.unseal(data, result_context(self.queue, job_id)))
        return self.codec.decode(data)


def result_context(queue: str, job_id: str) -> bytes:
    """What a sealed return value is bound to; the compiled core makes the same bytes."""
    return encode(("result", queue, job_id))


def data_context(queue: str, name: str, job_id: str) -> bytes:
    """What the sealed data of a job is bound to; the compiled core makes the same bytes."""
    return encode(("data", queue, name, job_id))
