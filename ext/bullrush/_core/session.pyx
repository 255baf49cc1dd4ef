"""A session: calls with numbers on one socket, so that a lost reply is neither a lost call nor a call twice.

The state machine knows bytes and states only. The owner of a socket asks `poll` for what to send, hands each
reply to `receive` in order, and says `lost` when the socket is gone. Nothing leaves before `open` was
answered; a call applies only if the server has seen exactly the one before it; `open` on a new socket closes
the session before it and tells how far it got.

    CLOSED --poll: open--> OPENING --answer--> READY --lost--> CLOSED
    ENDED: a fatal answer, or closed by the owner

A refused call consumed no number, and the one behind it is refused as well. So after a refusal nothing is
sent until nothing is in flight; then the refused calls go first, numbered anew.
"""

import os
from collections import deque
from operator import attrgetter

from bullrush._core.frames cimport ScriptFrame, WriteBuffer


class ReplyError(Exception):
    """An error reply of the server, as hiredis hands it over."""


# Refusals that say "later": nothing was applied, and the same call may pass after a while.
LATER = frozenset(
    ("LOADING", "TRYAGAIN", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS", "MISCONF", "READONLY",
     "UNBLOCKED", "CROSSSLOT")
)
# Refusals after which another server may be the right one.
ELSEWHERE = frozenset(("READONLY", "MASTERDOWN", "MOVED", "ASK", "CLUSTERDOWN"))
HISTORY = 4096
MAX_PAUSE = 1.0
FOR_EVER = 1e300


def error_code(error):
    """Return the first word of an error reply, which names its kind."""
    return str(error).partition(" ")[0]


cdef list need_list(object part, Py_ssize_t least, str what):
    """A list of that length, or a ConnectionError: whoever answered so is no server that can be talked to.

    Items of lists are read without a look at their bounds, so each list of a reply comes through here.
    """
    if type(part) is not list or len(<list>part) < least:
        raise ConnectionError(
            f"the server's reply to {what} is not one of this version of the scripts ({part!r:.80}): "
            "the connection is closed, and the next one asks what was applied")
    return <list>part


cdef class Call:
    """One call in flight, numbered unless it changes nothing."""

    def __cinit__(self):
        self.number = 0
        self.kind = ""
        self.by_text = False
        self.tries = 0
        self.sent_at = 0.0


cdef class Session:
    """What producer and worker share: opening, numbering, refusals, and going on after a lost socket."""

    def __init__(self, ScriptFrame open_script):
        self._open = open_script
        self._out = WriteBuffer()
        self.state = SessionState.CLOSED
        self.id = b""
        self.previous = b""
        self.epoch = b""
        self.events = "all"
        self.inflight = deque()
        self.resend = []
        self.fatal = None
        self.want_reconnect = False
        self._unknown = deque()
        self._unloaded = set()          # kinds of calls whose script the server does not have
        self._history = deque(maxlen=HISTORY)
        self._draining = False
        self._not_before = 0.0
        self._pause = 0.0
        self.refusal = None             # the last "later" of the server, until it takes a call again
        self._opened_at = 0.0
        self.applied = 0
        self.sent = 0
        self.clock_offset = 0

    @property
    def idle(self):
        """Say whether nothing is in flight, nothing is waiting to be sent again, and the session is open."""
        return (self.state == SessionState.READY and not self.inflight and not self.resend
                and self._unwritten is None)

    @property
    def not_before(self):
        """The moment before which nothing is sent, after a server that said "later"."""
        return self._not_before

    cpdef object poll(self, double now):
        """Return the next bytes to send, or None. Ask again until it is None."""
        cdef Call call
        if self.state == SessionState.CLOSED:
            return self._begin_open(now)
        if self.state != SessionState.READY or now < self._not_before:
            return None
        if self._unwritten is not None:
            return self._send_unwritten(now)
        if self._draining:
            if self.inflight:
                return None
            self._draining = False
            self.sent = self.applied
        while self.resend:
            self._unwritten = call = self.resend.pop(0)
            if self._still_wanted(call):
                return self._send(call, now)
            self._unwritten = None
        call = self._next_call(now)
        return None if call is None else self._send(call, now)

    cdef bytes _send(self, Call call, double now):
        cdef bytes frame
        self._unwritten = call
        self.inflight.append(call)
        call.sent_at = now
        if call.unnumbered:
            self._unwritten = None
            return self._encode(call)
        self.sent += 1
        call.number = self.sent
        call.tries += 1
        call.by_text = call.kind in self._unloaded
        frame = self._encode(call)
        self._unwritten = None
        return frame

    cdef bytes _send_unwritten(self, double now):
        """Write the call that found no memory while it was made or written; nothing of it has left."""
        cdef Call call = self._unwritten
        cdef bytes frame
        if self._stray():
            if self._still_wanted(call):
                return self._send(call, now)
            self._unwritten = None
            return self.poll(now)
        frame = self._encode(call)
        self._unwritten = None
        return frame

    cdef list _stray(self):
        """The call that found no memory before it was in flight, if there is one."""
        if self._unwritten is None or (
                self.inflight and self.inflight[len(self.inflight) - 1] is self._unwritten):
            return []
        return [self._unwritten]

    cdef bytes _begin_open(self, double now):
        cdef Call call = Call()
        cdef bytes id, previous, frame
        if now < self._not_before:
            return None
        # What may find no memory comes first: a session that was never asked for must not become `previous`.
        id = os.urandom(8).hex().encode()
        previous = self.id or self.previous
        frame = self._open.call(id, previous, *self._open_arguments(), by_text=True)
        call.kind = "open"
        call.by_text = True
        call.sent_at = now
        self.inflight.append(call)
        self.id, self.previous = id, previous
        self._opened_at = now
        self.state = SessionState.OPENING
        return frame

    cpdef receive(self, object reply, double now):
        """Take the reply to the oldest call in flight: a value, or a ReplyError."""
        cdef Call call = self.inflight[0]
        if call.kind == "open":
            self.inflight.popleft()
            self._receive_open(reply, now)
            return
        # It stays in flight until its reply is worked in: if that fails half-way (no memory), it is a call of
        # unknown fate like any other, and `open` tells.
        if call.unnumbered:
            self._answered(call, reply, now)
        elif isinstance(reply, ReplyError):
            self._receive_error(call, reply, now)
        else:
            self._applied(call, reply, now)
            self.applied = call.number
            self._pause = 0.0
            self.refusal = None
            self._unloaded.discard(call.kind)
        if self.inflight:
            self.inflight.popleft()

    cdef _receive_open(self, object reply, double now):
        cdef Call call
        cdef str code
        if isinstance(reply, ReplyError):
            code = error_code(reply)
            self.id = self.previous
            self.state = SessionState.CLOSED
            if code in LATER or code in ELSEWHERE or code == "OOM":
                self._later(code, str(reply), now)
            else:
                self._failed_to_open(code, str(reply))
            return
        need_list(reply, 8, "open")
        known = -1 if reply[2] is None else int(reply[2])
        if self.previous:
            self._lost_after_failover(known)
        self.epoch = reply[1]
        self.events = reply[5].decode()
        self.clock_offset = reply[0] - <long long>(now * 1000)
        self.applied = self.sent = 0
        self._history.clear()
        self._draining = False
        self.want_reconnect = False
        self._pause = 0.0
        self.refusal = None
        # Nothing is forgotten, and the session is not used, before all is done: if this fails half-way (no
        # memory), the socket is closed, and another `open` asks the same.
        again = []
        for call in self._unknown:
            if call.number <= known:
                self._applied_unseen(call, reply[3] if call.number == known else None)
            elif self._still_wanted(call):
                again.append(call)
        again += self.resend
        # As they were sent: a call of unknown fate may stand before or behind one that was refused.
        again.sort(key=attrgetter("number"))
        self.resend = again
        self._unknown.clear()
        self._opened(reply)
        self.state = SessionState.READY

    cdef _receive_error(self, Call call, object reply, double now):
        cdef str code = error_code(reply)
        cdef Verdict verdict
        if code == "NOSCRIPT":
            self._unloaded.add(call.kind)
        elif code == "ORDER" and self._draining:
            pass
        elif code in LATER or code in ELSEWHERE:
            self._later(code, str(reply), now)
        else:
            verdict = Verdict.UNKNOWN
            if code != "SESSION" and code != "ORDER":
                verdict = self._refused(call, code, str(reply))
            if verdict == Verdict.UNKNOWN:
                call.failures += code != "SESSION" and code != "ORDER"
                self._reopen(call)
                return
            if verdict == Verdict.DROP:
                self._draining = True
                return
        self._draining = True
        self.resend.append(call)

    cdef _later(self, str code, str message, double now):
        """Pause; the owner looks for another server where that may help."""
        self.refusal = message
        self._back_off(now)
        if code in ELSEWHERE:
            self.want_reconnect = True

    cdef _back_off(self, double now):
        """Send nothing for a while: 50 ms, doubling to a second until a call is applied."""
        self._pause = min(MAX_PAUSE, self._pause * 2 or 0.05)
        self._not_before = now + self._pause

    cdef _reopen(self, Call call):
        """The server does not know this session (obliterate, flush, a failover behind a proxy): open anew.

        Replies of calls behind this one are still to come; they are refused as well, so the owner is asked
        for a new socket.
        """
        self._unknown.append(call)
        self.want_reconnect = True
        self._draining = True
        self._not_before = FOR_EVER

    cpdef lost(self):
        """Say that the socket is gone: what was in flight is of unknown fate until the next `open` tells."""
        cdef Call call
        if self.state == SessionState.ENDED:
            return
        self.resend += self._stray()
        self._unwritten = None
        if self.state == SessionState.OPENING:
            # A late copy of this open may still run; it fences nothing that is needed, and its session is
            # never used.
            self.id = self.previous
        else:
            for call in self.inflight:
                if not call.unnumbered:
                    self._unknown.append(call)
        self.inflight.clear()
        self.state = SessionState.CLOSED
        # A pause that the server asked for goes on: a demoted one lets everybody in and refuses them again.
        if self._not_before == FOR_EVER:
            self._not_before = 0.0
        self.want_reconnect = False

    def forget(self):
        """Become new: after a fork the socket, the session and what is in flight belong to the parent."""
        self.id = self.previous = b""
        self.state = SessionState.CLOSED
        self.inflight.clear()
        self.resend.clear()
        self._unwritten = None
        self._unknown.clear()
        self._history.clear()
        self._not_before = 0.0
        self.want_reconnect = False

    def end(self, error=None):
        """Stop for good: nothing is sent any more."""
        self.state = SessionState.ENDED
        self.fatal = error
        self._unwritten = None
        self.inflight.clear()

    cdef _lost_after_failover(self, long long known):
        """Count what was acknowledged and is missing on the server that answers now."""

    # What a subclass does.

    cdef tuple _open_arguments(self):
        raise NotImplementedError

    cdef _opened(self, list reply):
        pass

    cdef _answered(self, Call call, object reply, double now):
        """Take the reply, a value or a ReplyError, to a call without a number."""

    cdef bytes _encode(self, Call call):
        raise NotImplementedError

    cdef Call _next_call(self, double now):
        return None

    cdef _applied(self, Call call, object reply, double now):
        pass

    cdef _applied_unseen(self, Call call, object answer):
        pass

    cdef Verdict _refused(self, Call call, str code, str message):
        """Judge an error that is not one of the common refusals.

        Unknown is the safe answer: `open` tells what was applied.
        """
        return Verdict.UNKNOWN

    cdef bint _still_wanted(self, Call call):
        return True

    cdef _failed_to_open(self, str code, str message):
        self.end(RuntimeError(message))
