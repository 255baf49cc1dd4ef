"""The asyncio protocol of a data connection: replies go, in order, to the sessions and futures that asked."""

import asyncio
from collections.abc import Callable

import hiredis

from bullrush._core.session import Session

def make_reader() -> hiredis.Reader:
    """Return a parser that hands error replies over as ReplyError."""

def not_enough() -> object:
    """Return what the parser answers when a reply is not complete yet."""

class DataProtocol(asyncio.Protocol):
    """Send commands on a transport and match replies to them, first in, first out.

    It has the methods of an asyncio.Protocol and is none by inheritance.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        old_protocol: asyncio.BaseProtocol | None,
        on_lost: Callable[[Exception | None], object] | None = None,
    ) -> None: ...
    @property
    def transport(self) -> asyncio.Transport:
        """The transport it sends on; None before `connection_made`."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop it lives on."""

    @property
    def lost(self) -> Exception | None:
        """Why the connection is gone, or None."""

    def pump(self, session: Session) -> None:
        """Send everything that the session has to send now."""

    def send(self, frame: bytes) -> asyncio.Future[object]:
        """Send one command; returns a future of its reply (an error reply is raised by whoever awaits it)."""

    def overdue(self, now: float, limit: float) -> bool:
        """Say whether the oldest command has waited longer than `limit` seconds for its reply."""

    def abort(self) -> None:
        """Close the socket at once."""
