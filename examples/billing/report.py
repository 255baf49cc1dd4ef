"""The tables and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bullrush.sync import Job
from examples.billing.invoices import Invoice

if TYPE_CHECKING:
    from examples.billing.run import Result


def print_dead_jobs(console: Console, jobs: Sequence[Job[Invoice, str]]) -> None:
    """Print a line for each, with what somebody who looks after them has to know."""
    table = Table("job", "customer", "amount", "tries", "why", box=None, pad_edge=False)
    for job in jobs:
        invoice = job.data
        table.add_row(
            job.id,
            invoice["customer"],
            f"{invoice['amount']:.2f}",
            f"{job.attempts_made} of {job.attempts}",
            f"{job.error_type}: {job.failed_reason}",
        )
    console.print(table)


def problems(result: Result) -> list[str]:
    """Say what went wrong; an empty list is a good billing run."""
    amounts = {f"invoice-{invoice['number']}": invoice["amount"] for invoice in result.invoices}
    unpaid = amounts.keys() - result.charges.keys()
    found = {
        f"invoices added twice: {result.added_by_mistake}": result.added_by_mistake,
        f"invoices that vanished: {sorted(unpaid)}": unpaid != {dead.id for dead in result.still_dead},
        "charged something else than was billed": any(
            amounts.get(key) != amount for key, amount in result.charges.items()
        ),
        f"retried {result.retried} of {len(result.dead)} dead jobs": result.retried != len(result.dead),
    }
    return [text for text, wrong in found.items() if wrong]


def print_report(console: Console, result: Result) -> None:
    """Print the figures; the verdict if there is nothing to complain of."""
    charges, billed = sum(result.charges.values()), sum(invoice["amount"] for invoice in result.invoices)
    rows = [
        (
            "charged",
            f"{_money(charges)} of {_money(billed)}, {len(result.charges)} of {len(result.invoices)} jobs",
        ),
        (
            "requests",
            f"{result.requests} to the bank; {result.repeats} asked again because an answer was lost",
        ),
        ("unpaid", "; ".join(f"{dead.id}: {dead.reason}" for dead in result.still_dead) or "nothing"),
    ]
    for name, figure in rows:
        console.print(f"  [bold]{name:<10}[/] {figure}")
    if not problems(result):
        console.print("  [bold green]✓ no invoice was lost, and none was charged twice[/]")


def _money(amount: Decimal | int) -> str:
    return f"€ {amount:,.2f}"
