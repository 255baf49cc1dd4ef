"""A session: calls with numbers on one socket, so that a lost reply is neither a lost nor a double call."""

from collections import deque
from collections.abc import Callable
from enum import IntEnum

from bullrush.errors import BullrushError

LATER: frozenset[str]
ELSEWHERE: frozenset[str]
HISTORY: int
MAX_PAUSE: float

class ReplyError(Exception):
    """An error reply of the server."""

def error_code(error: Exception) -> str:
    """Return the first word of an error reply, which names its kind."""

class SessionState(IntEnum):
    """Where a session stands."""

    CLOSED = 0
    OPENING = 1
    READY = 2
    ENDED = 3

class Call:
    """One numbered call in flight."""

    failures: int

    @property
    def number(self) -> int:
        """Its number in the session; 0 for `open`."""

    @property
    def kind(self) -> str:
        """The name of the script."""

    @property
    def tries(self) -> int:
        """How often it was sent."""

    @property
    def sent_at(self) -> float:
        """When it was sent last, by the clock that the owner gives to `poll`."""

class Session:
    """What producer and worker share: opening, numbering, refusals, and going on after a lost socket.

    Times are seconds of the owner's monotonic clock.
    """

    after: Callable[[], object] | None

    @property
    def state(self) -> SessionState:
        """Where it stands."""

    @property
    def id(self) -> bytes:
        """The session's id; empty before the first `open`."""

    @property
    def previous(self) -> bytes:
        """The id of the session before, which `open` fences."""

    @property
    def inflight(self) -> deque[Call]:
        """The calls that were sent and not answered, the oldest first."""

    @property
    def resend(self) -> list[Call]:
        """The calls to be sent again, before anything new."""

    @property
    def applied(self) -> int:
        """The number of the last call that was applied."""

    @property
    def sent(self) -> int:
        """The number of the last call that was sent."""

    @property
    def epoch(self) -> bytes:
        """The random name of the queue's life, made anew after an obliterate."""

    @property
    def events(self) -> str:
        """The queue's mode of events, as the last `open` found it."""

    @property
    def clock_offset(self) -> int:
        """What to add to the monotonic clock (ms) for the server's clock (ms)."""

    @property
    def want_reconnect(self) -> bool:
        """Whether the owner should close the socket and connect again, maybe elsewhere."""

    @property
    def fatal(self) -> BullrushError | None:
        """Why nothing is sent any more."""

    @property
    def idle(self) -> bool:
        """Whether it is open with nothing in flight and nothing to be sent again."""

    @property
    def not_before(self) -> float:
        """The moment before which nothing is sent, after a server that said "later"."""

    def poll(self, now: float) -> bytes | None:
        """Return the next bytes to send, or None. Ask again until it is None."""

    def receive(self, reply: object, now: float) -> None:
        """Take the reply to the oldest call in flight: a value, or a ReplyError."""

    def lost(self) -> None:
        """Say that the socket is gone: what was in flight is of unknown fate until the next `open` tells."""

    def forget(self) -> None:
        """Become new, after a fork."""

    def end(self, error: BullrushError | None = None) -> None:
        """Stop for good: nothing is sent any more."""
