"""What a program must know of a server before it relies on it: asked once, beside the first connect.

A replica takes no job, and a server that evicts keys loses whole queues without a word. The question travels
with the first call, so it costs no round trip; only a strict app waits for the answer.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

from bullrush._core.frames import encode_command
from bullrush._core.protocol import DataProtocol
from bullrush._core.session import ReplyError
from bullrush.connection.wire import Wire
from bullrush.errors import UnsupportedServer
from bullrush.operations.doctor import trouble_of
from bullrush.operations.replies import read_info

logger = logging.getLogger("bullrush")
QUESTION = encode_command("INFO", "replication", "memory")


class StartCheck:
    """One app's look at its server; all its connections share it."""

    def __init__(self, label: str, *, strict: bool) -> None:
        self.label = label
        self.strict = strict
        self.done = False
        self.refusal: UnsupportedServer | None = None

    @property
    def holds_up(self) -> bool:
        """Say whether a connection may not be used before the answer has come."""
        return self.strict and not self.done

    def receive(self, reply: object, _now: float = 0, /) -> None:
        """Judge the answer: warn once for each finding, or refuse."""
        if self.done:
            return
        self.done = True
        if isinstance(reply, ReplyError):
            if self.strict:
                self._refuse(f"it does not tell what it is ({reply}): grant INFO, or leave out strict=True")
            return
        for finding in trouble_of(read_info(reply)):
            if self.strict and finding.level == "bad":
                self._refuse(f"{finding.what}, {finding.why}: {finding.advice}")
            else:
                logger.warning("%s: %s; %s: %s", self.label, finding.what, finding.why, finding.advice)

    def _refuse(self, text: str) -> None:
        # A connection that is made later asks again.
        self.done = False
        self.refusal = UnsupportedServer(f"{self.label}: {text}; nothing was sent", took_effect=False)

    # Asking.

    def ask(self, protocol: DataProtocol) -> None:
        """Ask on a connection that is in use; the answer is judged when it comes."""
        if not self.done:
            protocol.send(QUESTION).add_done_callback(self._hear)

    def _hear(self, answer: asyncio.Future[object]) -> None:
        if answer.cancelled():
            return
        error = answer.exception()
        if error is None or isinstance(error, ReplyError):
            self.receive(error if error is not None else answer.result())

    async def admit(self, protocol: DataProtocol, limit: float) -> None:
        """Wait for the answer; raises UnsupportedServer, TimeoutError or what ends the connection."""
        self.refusal = None
        try:
            async with asyncio.timeout(limit):
                self.receive(await protocol.send(QUESTION))
        except ReplyError as error:
            self.receive(error)
        if self.refusal is not None:
            raise self.refusal

    def admit_wire(self, wire: Wire, limit: float) -> None:
        """Do the same on a blocking wire; raises OSError or TimeoutError where it ends."""
        deadline = monotonic() + limit
        answers: list[object] = []
        self.refusal = None
        wire.expect(self, QUESTION, monotonic())
        wire.flush(limit)
        while not answers:
            data = wire.receive(max(0.001, deadline - monotonic()))
            if data is None:
                raise TimeoutError(f"{self.label} did not tell what it is within {limit:g} s")
            answers += [reply for _, reply in wire.replies(data, monotonic())]
        self.receive(answers[0])
        if self.refusal is not None:
            raise self.refusal
