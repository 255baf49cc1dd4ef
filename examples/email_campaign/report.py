"""The report: what was sent, how fast, and whether a message is missing or came twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from examples.email_campaign.mail_server import Figures

if TYPE_CHECKING:
    from bullrush._core.histogram import Histogram


@dataclass(frozen=True, kw_only=True)
class Result:
    """All that was measured; times in seconds."""

    recipients: int
    added: int
    adding: float
    sending: float
    bytes_per_job: float
    retries: int
    failed: int
    wait: Histogram
    run: Histogram
    mail: Figures


def problems(result: Result) -> list[str]:
    """Say what is wrong, in the words of the mail server's figures; an empty list is a good campaign."""
    mail, expected = result.mail, result.recipients
    found = {
        f"{expected - result.added:,} recipients did not become a job": result.added != expected,
        f"{result.failed:,} jobs failed for good": result.failed > 0,
        f"{expected - mail.different:,} messages are missing": mail.different != expected,
        f"{expected - mail.addresses:,} recipients got nothing": mail.addresses != expected,
        f"{mail.messages - mail.different:,} messages arrived twice": mail.messages != mail.different,
    }
    return [text for text, is_true in found.items() if is_true]


def print_report(console: Console, result: Result) -> None:
    """Print the figures, then the verdict."""
    table = Table.grid(padding=(0, 3))
    for name, figure in _rows(result):
        table.add_row(f"  [bold]{name}[/]", figure)
    console.print(table)
    for problem in problems(result) or ["every recipient has exactly one message"]:
        console.print("\n  [red]✗[/]" if problems(result) else "\n  [green]✓[/]", problem)


def _rows(result: Result) -> list[tuple[str, str]]:
    mail = result.mail
    return [
        ("delivered", f"{mail.messages:,} messages to {mail.addresses:,} of {result.recipients:,} recipients"),
        ("retries", f"{result.retries:,}, after {mail.refused:,} temporary errors of the mail server"),
        ("added", f"{result.added / result.adding:,.0f} jobs/s, in {result.adding:.2f} s"),
        ("sent", f"{mail.messages / result.sending:,.0f} jobs/s, in {result.sending:.1f} s: the mail server is the limit"),
        ("wait", f"{_quantiles(result.wait)}: from due to started, behind those added before"),
        ("run", f"{_quantiles(result.run)}: one message over SMTP"),
        ("memory", f"{result.bytes_per_job:,.0f} bytes of Redis memory per waiting job, its line of the file included"),
    ]  # fmt: skip


def _quantiles(histogram: Histogram) -> str:
    return "  ".join(f"p{100 * q:.0f} {_duration(histogram.quantile(q))}" for q in (0.5, 0.99))


def _duration(microseconds: float) -> str:
    if microseconds >= 1_000_000:
        return f"{microseconds / 1_000_000:.1f} s"
    return f"{microseconds / 1_000:.1f} ms"
