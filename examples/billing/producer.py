"""The producer, blocking code without asyncio: adds the invoices, and looks after those that failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bullrush import Backoff, JobSpec
from bullrush.sync import Job, Queue
from examples.billing.invoices import Invoice

PREFIX = "bullrush-demo"
# Three tries, 50 ms and 100 ms apart. In earnest: Backoff.exponential("1m", jitter=0.5), and more tries.
RETRIES = Backoff.exponential("50ms")


def bill(queue: Queue[Invoice, str], invoices: Iterable[Invoice]) -> list[Job[Invoice, str]]:
    """Add a job for each invoice. One that has its job already is not added again: `duplicate` says so."""
    return queue.add_bulk(
        (JobSpec("charge", invoice, job_id=f"invoice-{invoice['number']}") for invoice in invoices),
        attempts=3,
        backoff=RETRIES,
        remove_on_complete=False,  # the ids of paid invoices are what keeps them from being charged again
        remove_on_fail=False,
    )


def dead_jobs(queue: Queue[Invoice, str]) -> list[Job[Invoice, str]]:
    """Return all jobs that failed for good, in the order of their invoices."""
    return sorted(queue.get_jobs("failed", 0, -1), key=lambda job: job.data["number"])


def retry_dead_jobs(queue: Queue[Invoice, str]) -> int:
    """Put them all back into the line, after whatever was wrong has been put right; returns how many."""
    return queue.retry_jobs(state="failed")


def wait_for(queue: Queue[Invoice, str], jobs: Sequence[Job[Invoice, str]]) -> Iterable[Job[Invoice, str]]:
    """Yield jobs as they end, paid or failed."""
    return queue.as_completed(jobs, timeout="30s")
