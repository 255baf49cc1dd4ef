"""Run an e-mail campaign and report; the exit code is 1 if a message is missing or arrived twice."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bullrush import embedded
from bullrush.errors import BullrushError
from examples.email_campaign.campaign import run_campaign
from examples.email_campaign.mail_server import MailServer
from examples.email_campaign.recipients import write_recipients
from examples.email_campaign.report import Result, print_report, problems


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.email_campaign", description=__doc__)
    parser.add_argument("--recipients", type=int, default=20_000, help="how many (default: 20000)")
    parser.add_argument("--url", help="of a Redis or Valkey server (default: an embedded one for this run)")
    parser.add_argument(
        "--lose", type=int, default=0, help=argparse.SUPPRESS
    )  # by the mail server, for a test
    arguments = parser.parse_args()
    if arguments.recipients < 1:
        parser.error(f"--recipients {arguments.recipients}: there must be at least one")
    return arguments


@contextmanager
def running_server(url: str) -> Generator[str]:
    """Start the server of an embedded:// URL, and give the URL that other clients understand too."""
    if not url.startswith("embedded://"):
        yield url
        return
    with embedded.start(url.removeprefix("embedded://")) as server:
        yield server.url
    # The folder is removed next: let the server, whose last user we were, save and go first.
    deadline = monotonic() + 5
    while Path(server.socket_path).exists() and monotonic() < deadline:
        sleep(0.01)


def send(arguments: argparse.Namespace, folder: Path, console: Console) -> Result:
    """Prepare the file and the servers, then run the campaign."""
    file, number = folder / "recipients.csv", arguments.recipients
    write_recipients(file, number)
    columns = (TextColumn("{task.description:<25}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        running_server(arguments.url or f"embedded://{folder}/server") as url,
        MailServer(lose=arguments.lose) as mail,
        Progress(*columns, console=console) as progress,
    ):
        return asyncio.run(run_campaign(url, file, number, mail, progress))


def main() -> int:
    """Return the exit code: 0 when every recipient has exactly one message."""
    arguments, console = parse_arguments(), Console(highlight=False)
    try:
        with TemporaryDirectory(prefix="bullrush-demo-", ignore_cleanup_errors=True) as folder:
            result = send(arguments, Path(folder), console)
    except KeyboardInterrupt:
        console.print("interrupted: what was running has been finished, the rest was thrown away")
        return 130
    except BullrushError as error:
        console.print(f"[red]{type(error).__name__}[/]: {error}")
        return 1
    print_report(console, result)
    return 1 if problems(result) else 0


if __name__ == "__main__":
    sys.exit(main())
