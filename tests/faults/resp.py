"""Cut a byte stream into complete RESP2 and RESP3 values, so that faults fall between or inside them."""

from __future__ import annotations

from collections.abc import Iterator

SIZED = b"$!="  # the line says how many bytes follow
LISTS = b"*~>"  # the line says how many values follow
SIMPLE = b"+-:_,#("


class NotResp(ValueError):
    """Bytes that are no RESP value; inline commands are none either."""


class Frames:
    """Feed bytes in any pieces; get whole values out. A value that was begun keeps its scan position."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._missing = 1  # values until the current frame is complete

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield every frame that is complete now, as the bytes that came in."""
        self._buffer += data
        while self._step():
            if self._missing == 0:
                yield self._take()

    def rest(self) -> bytes:
        """The bytes of a value that was begun and not finished."""
        return bytes(self._buffer)

    def _take(self) -> bytes:
        frame = bytes(self._buffer[: self._scanned])
        del self._buffer[: self._scanned]
        self._scanned, self._missing = 0, 1
        return frame

    def _step(self) -> bool:
        """Scan one more line (and its payload); False if it is not complete yet."""
        line_end = self._buffer.find(b"\r\n", self._scanned)
        if line_end < 0:
            return False
        kind, line = (
            self._buffer[self._scanned : self._scanned + 1],
            self._buffer[self._scanned + 1 : line_end],
        )
        end = line_end + 2
        if kind in SIZED and (size := _number(kind, line)) >= 0:
            end += size + 2
        if len(self._buffer) < end:
            return False
        self._scanned = end
        self._missing += _values_after(kind, line) - 1
        return True


def _values_after(kind: bytes | bytearray, line: bytearray) -> int:
    """How many further values belong to the frame because of this line."""
    if kind in LISTS:
        return max(_number(kind, line), 0)
    if kind == b"%":
        return 2 * _number(kind, line)
    if kind == b"|":  # attributes come before the value that they describe
        return 2 * _number(kind, line) + 1
    if kind and kind in SIZED + SIMPLE:
        return 0
    raise NotResp(f"{bytes(kind + line)[:60]!r} doesn't begin a RESP value")


def _number(kind: bytes | bytearray, line: bytearray) -> int:
    try:
        return int(line)
    except ValueError:
        raise NotResp(f"{bytes(kind + line)[:60]!r} has no length") from None


def first_words(request: bytes, count: int) -> list[bytes]:
    """Return the first `count` arguments of a request frame (fewer if it has fewer)."""
    found: list[bytes] = []
    at = request.index(b"\r\n") + 2
    while len(found) < count and at < len(request):
        line_end = request.index(b"\r\n", at)
        begin = line_end + 2
        end = begin + int(request[at + 1 : line_end])
        found.append(request[begin:end])
        at = end + 2
    return found


def is_push(reply: bytes) -> bool:
    """Whether this is an out-of-band message and not the answer to a request."""
    return reply.startswith(b">")
