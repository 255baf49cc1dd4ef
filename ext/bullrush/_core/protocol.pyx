"""The asyncio protocol of a data connection: replies go, in order, to the sessions and futures that asked.

hiredis parses; the socket, TLS and the login are redis-py's, whose protocol this one replaces on a connected
transport.
"""

from collections import deque

from bullrush._core.producer cimport monotonic_ns
from bullrush._core.session cimport Session

import hiredis

from bullrush._core.session import ReplyError
from bullrush.errors import ConnectionLost

cdef object NOT_ENOUGH = object()


def make_reader():
    """Return a parser that hands error replies over as ReplyError."""
    return hiredis.Reader(protocolError=ConnectionError, replyError=ReplyError, notEnoughData=NOT_ENOUGH)


def not_enough():
    """Return what the parser answers when a reply is not complete yet."""
    return NOT_ENOUGH


cdef class DataProtocol:
    """Send commands on a transport and match replies to them, first in, first out."""

    def __init__(self, loop, old_protocol, on_lost=None):
        self.loop = loop
        self._old = old_protocol
        self._on_lost = on_lost
        self._reader = make_reader()
        self._pending = deque()
        self._touched = []
        self._waiting_since = 0.0
        self.lost = None

    def connection_made(self, transport):
        """Take the transport; also called by hand when this protocol replaces another."""
        self.transport = transport

    cpdef pump(self, Session session):
        """Send everything that the session has to send now."""
        cdef double now
        if self.lost is not None or self.transport is None:
            return
        now = monotonic_ns() * 1e-9
        frame = session.poll(now)
        while frame is not None:
            self._expect(session, now)
            self.transport.write(frame)
            frame = session.poll(now)

    def send(self, bytes frame):
        """Send one command; returns a future of its reply (an error reply is raised by whoever awaits it)."""
        future = self.loop.create_future()
        if self.lost is not None or self.transport is None:
            future.set_exception(
                ConnectionLost("the connection is closed: nothing was sent", took_effect=False))
            return future
        self._expect(future, monotonic_ns() * 1e-9)
        self.transport.write(frame)
        return future

    cdef _expect(self, who, double now):
        if not self._pending:
            self._waiting_since = now
        self._pending.append(who)

    def overdue(self, double now, double limit):
        """Say whether the oldest command has waited longer than `limit` seconds for its reply."""
        return bool(self._pending) and now - self._waiting_since > limit

    def data_received(self, data):
        """Parse what came and hand it over; then let everyone touched go on and send."""
        cdef double now = monotonic_ns() * 1e-9
        cdef Session session
        self._reader.feed(data)
        try:
            self._hand_over(now)
        except ConnectionError:
            self.abort()
        touched, self._touched = self._touched, []
        for session in touched:
            session.touched = False
            if session.after is not None:
                session.after()
            if session.want_reconnect:
                self.abort()
            else:
                self.pump(session)

    cdef _hand_over(self, double now):
        cdef Session session
        reply = self._reader.gets()
        while reply is not NOT_ENOUGH:
            if not isinstance(reply, hiredis.PushNotification):
                who = self._pending.popleft()
                self._waiting_since = now
                if isinstance(who, Session):
                    session = <Session>who
                    session.receive(reply, now)
                    if not session.touched:
                        session.touched = True
                        self._touched.append(session)
                elif not who.done():
                    if isinstance(reply, ReplyError):
                        who.set_exception(reply)
                    else:
                        who.set_result(reply)
            reply = self._reader.gets()

    def abort(self):
        """Close the socket at once: a connection with an unread reply is never used again."""
        if self.transport is not None:
            self.transport.abort()

    def eof_received(self):
        """The server hung up."""
        return False

    def pause_writing(self):
        """Ignore it: what may be in flight is bounded by the sessions."""

    def resume_writing(self):
        """Ignore it."""

    def connection_lost(self, error):
        """Tell everybody who waits, and the protocol that this one replaced."""
        self.lost = error or ConnectionError("closed")
        pending, self._pending = self._pending, deque()
        for who in pending:
            if not isinstance(who, Session) and not who.done():
                who.set_exception(
                    ConnectionLost("the connection was lost while a reply was awaited", took_effect=None))
        if self._old is not None:
            self._old.connection_lost(error)
        if self._on_lost is not None:
            self._on_lost(error)
