"""The mail server, a process of its own: real SMTP, moody like real ones, and it counts what arrives.

It prints its port, serves until its standard input ends (so it goes when its parent does), then prints what
it counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Self
from zlib import crc32

from aiosmtpd.smtp import SMTP, Envelope, Session

MESSAGE_ID = re.compile(rb"^Message-ID: <(.+)>", re.MULTILINE)
GREYLISTED = "451 4.7.1 greylisted, try again later"
OVERLOADED = "421 4.3.2 too busy, closing the connection"


@dataclass(frozen=True)
class Figures:
    """What the server saw: messages taken, how many different ones, for how many addresses, and refusals."""

    messages: int
    different: int
    addresses: int
    refused: int


class Mailbox:
    """Takes every message, some after one or two tries. It loses the first `lose`, as a test wants it to."""

    def __init__(self, lose: int) -> None:
        self._lose = lose
        self._tries: Counter[str] = Counter()
        self._messages: Counter[bytes] = Counter()
        self._addresses: set[str] = set()
        self._refused = 0

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Refuse one address in 20 at its first try, and one in 100 at its second, too."""
        number = crc32(address.encode())
        self._tries[address] += 1
        if self._tries[address] <= (number % 20 == 0) + (number % 100 == 0):
            self._refused += 1
            return OVERLOADED if number % 200 == 0 else GREYLISTED
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Count the message by its id and its address."""
        if self._lose > 0:
            self._lose -= 1
            return "250 OK"
        assert isinstance(envelope.content, bytes)
        found = MESSAGE_ID.search(envelope.content)
        self._messages[found[1] if found else b""] += 1
        self._addresses.update(envelope.rcpt_tos)
        return "250 OK"

    def figures(self) -> Figures:
        """Sum up."""
        messages = self._messages
        return Figures(messages.total(), len(messages), len(self._addresses), self._refused)


async def serve(lose: int) -> None:
    """Serve on a free port of the loopback interface until the standard input ends."""
    mailbox = Mailbox(lose)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, hostname="localhost"), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()
    print(json.dumps(asdict(mailbox.figures())), flush=True)


class MailServer:
    """The process, as its parent sees it: `port` while it runs, `stop` for what it counted."""

    def __init__(self, *, lose: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--lose", str(lose)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the campaign, which needs its mail server until the end
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self.port = int(self._stdout.readline())

    def stop(self) -> Figures:
        """End the process and return its figures."""
        self._stdin.close()
        return Figures(**json.loads(self._stdout.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes the pipes and waits
            self._stdin.close()
            self._stdout.read()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lose", type=int, default=0)
    asyncio.run(serve(parser.parse_args().lose))
