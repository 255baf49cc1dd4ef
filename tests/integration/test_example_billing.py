"""The billing run: every invoice charged once; dead jobs are kept, and paid once the bank is repaired."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import redis
from rich.console import Console

from examples.billing.invoices import invent_invoices
from examples.billing.report import problems
from examples.billing.run import Dead, Result, run_billing
from tests.integration.example_runs import job_keys

DOWN = ("BankUnavailable", "Northern bank is down")
EXPIRED = ("CardDeclined", "card has expired")


def test_a_billing_run(url: str, redis_client: redis.Redis) -> None:
    result = run_billing(url, 40, Console(quiet=True))

    assert problems(result) == []
    assert (result.added, result.added_by_mistake) == (40, 0)
    check_dead_jobs(result)
    check_charges(result)
    assert job_keys(redis_client) == []


def check_dead_jobs(result: Result) -> None:
    """A bank that is down gets all three tries, a declined card one; both are retried by hand."""
    dead = {job.id: (job.attempts, job.error, job.reason) for job in result.dead}
    assert dead == {
        **{f"invoice-{n}": (3, *DOWN) for n in (8, 16, 24, 32, 40)},
        **{f"invoice-{n}": (1, *EXPIRED) for n in (13, 26, 39)},
    }
    assert result.retried == 8
    assert {job.id: (job.error, job.reason) for job in result.still_dead} == {
        f"invoice-{n}": EXPIRED for n in (26, 39)
    }


def check_charges(result: Result) -> None:
    """All others were charged once, the amount that was billed, also where the answer was lost."""
    unpaid = {job.id for job in result.still_dead}
    assert result.charges == {
        f"invoice-{invoice['number']}": invoice["amount"]
        for invoice in invent_invoices(40)
        if f"invoice-{invoice['number']}" not in unpaid
    }
    assert result.repeats == 4
    # 40 first tries, 2 more for each of 5 of the Northern bank, 4 lost answers, 8 by hand.
    assert result.requests == 40 + 10 + 4 + 8


def test_a_bad_run_is_noticed() -> None:
    invoices = invent_invoices(2)
    charges = {f"invoice-{invoice['number']}": invoice["amount"] for invoice in invoices}
    good = Result(
        invoices=invoices,
        added=2,
        added_by_mistake=0,
        dead=[],
        retried=0,
        still_dead=[],
        charges=charges,
        requests=2,
        repeats=0,
    )
    assert problems(good) == []
    for change, problem in [
        ({"added_by_mistake": 1}, "added twice: 1"),
        ({"charges": {"invoice-1": charges["invoice-1"]}}, "vanished: ['invoice-2']"),
        ({"charges": {**charges, "invoice-2": Decimal(1)}}, "something else"),
        ({"dead": [Dead("invoice-2", 3, *DOWN)]}, "retried 0 of 1"),
    ]:
        (found,) = problems(dataclasses.replace(good, **change))  # type: ignore[arg-type]
        assert problem in found
