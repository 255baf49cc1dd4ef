"""Run an e-mail campaign and report; the exit code is 1 if a message is missing or arrived twice."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bullrush.errors import BullrushError
from examples.email_campaign.campaign import run_campaign
from examples.email_campaign.mail_server import MailServer
from examples.email_campaign.recipients import write_recipients
from examples.email_campaign.report import Result, print_report, problems
from examples.start import running_server


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
