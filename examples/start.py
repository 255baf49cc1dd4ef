"""What the examples share and a program of yours does not need: a server to run on, and the exit code."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from rich.console import Console

from bullrush import embedded
from bullrush.errors import BullrushError


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


@contextmanager
def some_server(url: str | None) -> Generator[str]:
    """Give the URL of a server: the one named, that of BULLRUSH_URL, else an embedded one for this run."""
    with TemporaryDirectory(prefix="bullrush-demo-", ignore_cleanup_errors=True) as folder:
        chosen = url or os.environ.get("BULLRUSH_URL") or f"embedded://{folder}/server"
        with running_server(chosen) as running:
            yield running


def run_example(name: str, about: str, example: Callable[[str, Console], list[str]]) -> int:
    """Run an example, which returns what went wrong, and return the exit code of the program."""
    parser = argparse.ArgumentParser(prog=f"python -m examples.{name}", description=about)
    parser.add_argument("--url", help="of Redis or Valkey (default: BULLRUSH_URL, else an embedded server)")
    arguments, console = parser.parse_args(), Console(highlight=False, soft_wrap=True)
    try:
        with some_server(arguments.url) as url:
            problems = example(url, console)
    except KeyboardInterrupt:
        console.print("interrupted: what was running has been finished, the rest was thrown away")
        return 130
    except BullrushError as error:
        console.print(f"[red]{type(error).__name__}[/]: {error}")
        return 1
    for problem in problems:
        console.print(f"  [bold red]✗ {problem}[/]")
    return 1 if problems else 0
