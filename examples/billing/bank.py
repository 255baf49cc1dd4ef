"""The bank, an HTTP service in a thread of its own: it declines cards, breaks down, and loses answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Bank:
    """What it has charged, by idempotency key, and in what state it is."""

    northern_is_down: bool = True
    renewed: set[str] = field(default_factory=set[str])
    charges: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    requests: int = 0
    repeats: int = 0
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def charge(self, key: str, card: str, amount: Decimal) -> tuple[HTTPStatus, str] | None:
        """Charge a card once for each key. None: it was charged, but the line breaks before the answer."""
        with self._lock:
            self.requests += 1
            if key in self.charges:
                self.repeats += 1
                return HTTPStatus.OK, f"receipt-{key}"
            if card.startswith("northern") and self.northern_is_down:
                return HTTPStatus.SERVICE_UNAVAILABLE, "Northern bank is down"
            if "expired" in card and card not in self.renewed:
                return HTTPStatus.PAYMENT_REQUIRED, "card has expired"
            self.charges[key] = amount
            return None if key.endswith("5") else (HTTPStatus.CREATED, f"receipt-{key}")


def _handler_of(bank: Bank) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """POST with the JSON of one charge."""

        def do_POST(self) -> None:
            asked: dict[str, str] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = bank.charge(asked["key"], asked["card"], Decimal(asked["amount"]))
            if answer is not None:
                status, text = answer
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    return Handler


@contextmanager
def open_bank() -> Generator[Bank]:
    """Serve on a free port of the loopback interface until the end of the block."""
    bank = Bank()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(bank))
    bank.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="bank")
    thread.start()
    try:
        yield bank
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
