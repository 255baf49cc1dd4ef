"""Bill forty customers and report; the exit code is 1 if an invoice was lost or charged twice."""

from __future__ import annotations

import sys

from rich.console import Console

from examples.billing.report import print_report, problems
from examples.billing.run import run_billing
from examples.start import run_example

INVOICES = 40


def run(url: str, console: Console) -> list[str]:
    """Run the billing and judge it."""
    result = run_billing(url, INVOICES, console)
    print_report(console, result)
    return problems(result)


if __name__ == "__main__":
    sys.exit(run_example("billing", __doc__ or "", run))
