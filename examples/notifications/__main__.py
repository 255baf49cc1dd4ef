"""Run one evening of a notification service; the exit code is 1 if it did not go as it should."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

from rich.console import Console

from examples.notifications.evening import READERS, Evening, run_evening
from examples.start import run_example


def problems(evening: Evening) -> list[str]:
    """Say what went wrong; an empty list is a good evening."""
    doubled = [d for d, times in Counter(evening.delivered).items() if times > 1]
    expected = READERS + 5  # and two passwords, a code, a push for the edits, a reminder
    found = {
        f"messages that did not arrive: {expected - len(evening.delivered)}": len(evening.delivered)
        < expected,
        f"messages that arrived twice: {len(doubled)}": bool(doubled),
        f"jobs left behind: {evening.left}": evening.left > 0,
        f"failures: {evening.failed}": len(evening.failed) != 1,
    }
    return [text for text, wrong in found.items() if wrong]


def notify(url: str, console: Console) -> list[str]:
    """Run the evening and judge it."""
    evening = asyncio.run(run_evening(url, console))
    found = problems(evening)
    if not found:
        console.print(f"  [bold green]✓ {len(evening.delivered)} messages arrived, each of them once[/]")
    return found


if __name__ == "__main__":
    sys.exit(run_example("notifications", __doc__ or "", notify))
