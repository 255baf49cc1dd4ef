"""The report: what was sent, how fast, and whether a message is missing or came twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from bullrush import FsckReport
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
    examined: FsckReport


def problems(result: Result) -> list[str]:
    """Say what is wrong, in the words of the mail server's figures; an empty list is a good campaign."""
    mail, expected = result.mail, result.recipients
    found = {
        "recipients that did not become a job": expected - result.added,
        "jobs that failed for good": result.failed,
        "recipients without a message": expected - mail.addresses,
        "messages that arrived twice": mail.messages - mail.different,
        "messages too many for the recipients": mail.different - mail.addresses,
        "problems in the data of the queue": len(result.examined.problems),
    }
    return [f"{what}: {number:,}" for what, number in found.items() if number]


def print_report(console: Console, result: Result) -> None:
    """Print the figures, then the verdict."""
    for name, figure in _rows(result):
        console.print(f"  [bold]{name:<10}[/] {figure}", soft_wrap=True)
    found = problems(result)
    for problem in found:
        console.print(f"  [bold red]✗ {problem}[/]")
    if not found:
        console.print("  [bold green]✓ every recipient has exactly one message[/]")


def _rows(result: Result) -> list[tuple[str, str]]:
    mail = result.mail
    return [
        ("delivered", f"{mail.messages:,} messages for {result.recipients:,} recipients"),
        ("retries", f"{result.retries:,}, after {mail.refused:,} temporary errors of the mail server"),
        ("adding", f"{_rate(result.added, result.adding)} from a CSV file"),
        ("sending", f"{_rate(mail.messages, result.sending)}, as fast as SMTP goes here"),
        ("wait", f"{_quantiles(result.wait)} in the queue, behind the jobs added before"),
        ("run", f"{_quantiles(result.run)} for one message over SMTP"),
        ("memory", f"{result.bytes_per_job:,.0f} bytes on the server per waiting job, its data included"),
        ("fsck", f"{result.examined.checked.get('jobs', 0):,} jobs examined, {_problems(result.examined)}"),
    ]


def _problems(examined: FsckReport) -> str:
    return "nothing is wrong" if not examined.problems else f"{len(examined.problems):,} problems"


def _rate(jobs: int, seconds: float) -> str:
    return f"{jobs / seconds:,.0f} jobs/s, {seconds:.2f} s"


def _quantiles(histogram: Histogram) -> str:
    return ", ".join(f"p{100 * q:.0f} {_duration(histogram.quantile(q))}" for q in (0.5, 0.99))


def _duration(microseconds: float) -> str:
    if microseconds >= 1_000_000:
        return f"{microseconds / 1_000_000:.1f} s"
    return f"{microseconds / 1_000:.1f} ms"
