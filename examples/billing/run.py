"""The billing run, in order: bill, bill again by mistake, look at the dead jobs, repair, retry."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bullrush.sync import Job, Queue
from examples.billing.bank import Bank, open_bank
from examples.billing.invoices import Invoice, invent_invoices
from examples.billing.producer import PREFIX, bill, dead_jobs, retry_dead_jobs, wait_for
from examples.billing.report import print_dead_jobs

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of the invoices. A dead job is (invoice, attempts, error, reason)."""

    invoices: list[Invoice]
    added: int
    added_by_mistake: int
    dead: list[Dead]
    retried: int
    still_dead: list[Dead]
    charges: dict[str, Decimal]
    requests: int
    repeats: int


@dataclass(frozen=True)
class Dead:
    """A job that failed for good."""

    id: str
    attempts: int
    error: str
    reason: str


@contextmanager
def running_worker(queue: str, url: str, bank: str) -> Generator[None]:
    """Run worker.py in a process of its own; SIGTERM ends it gracefully."""
    command = [sys.executable, "-m", "examples.billing.worker", queue, url, bank]
    # A session of its own: Ctrl-C is for this program, which then ends the worker.
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait()  # here: on Ctrl-C the end of `with` would not wait for long


def run_billing(url: str, count: int, console: Console) -> Result:
    """Bill so many customers, and leave nothing behind in Redis."""
    name = f"billing-{os.getpid()}"
    with open_bank() as bank, Queue[Invoice, str](name, url, prefix=PREFIX) as queue:
        queue.ping()
        try:
            with running_worker(name, url, bank.url):
                return _bill_all(queue, bank, invent_invoices(count), console)
        finally:
            queue.obliterate(force=True)


def _bill_all(queue: Queue[Invoice, str], bank: Bank, invoices: list[Invoice], console: Console) -> Result:
    jobs = bill(queue, invoices)
    console.print(f"[bold]•[/] {len(jobs)} invoices are billed")
    again = bill(queue, invoices)
    doubled = sum(job.duplicate == "id" for job in again)
    console.print(
        f"[bold]•[/] the run is started again by mistake: {doubled} of {len(again)} are there already"
    )
    _follow(queue, jobs, "charging", console)
    dead = dead_jobs(queue)
    console.print(f"[bold]•[/] {len(dead)} jobs are dead, and kept:")
    print_dead_jobs(console, dead)
    described = _described(dead)  # waiting for their retry fills them with its outcome

    bank.northern_is_down = False
    bank.renewed.update(invoice["card"] for invoice in invoices if invoice["number"] == 13)
    retried = retry_dead_jobs(queue)
    console.print(
        f"[bold]•[/] the bank is repaired, one customer has a new card: {retried} dead jobs are tried again"
    )
    _follow(queue, dead, "retrying", console)
    left = dead_jobs(queue)
    return Result(
        invoices=invoices,
        added=sum(1 for job in jobs if not job.duplicate),
        added_by_mistake=sum(1 for job in again if not job.duplicate),
        dead=described,
        retried=retried,
        still_dead=_described(left),
        charges=dict(bank.charges),
        requests=bank.requests,
        repeats=bank.repeats,
    )


def _follow(
    queue: Queue[Invoice, str], jobs: Sequence[Job[Invoice, str]], what: str, console: Console
) -> None:
    columns = (TextColumn("  {task.description:<10}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:
        for _ in progress.track(wait_for(queue, jobs), total=len(jobs), description=what):
            pass


def _described(jobs: Sequence[Job[Invoice, str]]) -> list[Dead]:
    return [Dead(job.id, job.attempts_made, str(job.error_type), str(job.failed_reason)) for job in jobs]
