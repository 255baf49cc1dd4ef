"""The worker, a program of its own: `python -m examples.billing.worker QUEUE REDIS BANK`.

Ctrl-C and SIGTERM end it gracefully.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from contextlib import nullcontext

from bullrush import UnrecoverableError, Worker
from bullrush.sync import Job
from examples.billing.invoices import Invoice
from examples.billing.producer import PREFIX

THREADS = 8


class CardDeclined(UnrecoverableError):
    """The bank said no: the job fails at once, whatever attempts it has left."""


class BankUnavailable(Exception):
    """The bank has a problem of its own: worth another attempt."""


def charge(job: Job[Invoice]) -> str:
    """Charge one invoice and return the receipt. It blocks, in one of the worker's threads.

    The job's id is the idempotency key: when the bank has charged and its answer was lost, the next attempt
    gets the receipt of the first.
    """
    bank: str = job.context
    invoice = job.data
    body = json.dumps({"key": job.id, "card": invoice["card"], "amount": str(invoice["amount"])}).encode()
    try:
        with urllib.request.urlopen(bank, body, timeout=5) as response:
            return str(response.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            reason = error.read().decode()
        if error.code == 402:
            raise CardDeclined(reason) from error
        raise BankUnavailable(reason) from error


def main(queue: str, url: str, bank: str) -> None:
    """Work until SIGTERM or Ctrl-C."""
    worker = Worker(
        queue, charge, url, prefix=PREFIX, concurrency=THREADS, lifespan=lambda: nullcontext(bank)
    )
    worker.run_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
