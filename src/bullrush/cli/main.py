"""The command `bullrush`: its options, and its subcommands, which are imported when they are asked for.

Exit codes: 0 all is well, 1 something failed or is wrong, 2 usage, 3 not found, 4 the server refused, 5 done
in part.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from typing import cast

import click

from bullrush.errors import BullrushError, InvalidOption, NotConfigured, ServerError, UnsupportedServer

FAILED, USAGE, NOT_FOUND, REFUSED, PARTIAL = 1, 2, 3, 4, 5
COMMANDS = {
    "doctor": "Examine the server: is it one on which jobs are safe?",
    "fsck": "Examine the data of queues, at work too.",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the queues are."""

    url: str | None
    prefix: str


class Commands(click.Group):
    """Subcommands by name; each lies in a module of its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name them all."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the one that is asked for."""
        if cmd_name not in COMMANDS:
            return None
        return cast("click.Command", import_module(f"bullrush.cli.{cmd_name}").command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List them without an import."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands)
@click.option("--url", help="Of the server; else BULLRUSH_URL, then REDIS_URL.")
@click.option("--prefix", default="bullrush", show_default=True, help="Of the keys.")
@click.pass_context
def main(context: click.Context, url: str | None, prefix: str) -> None:
    """A job queue on Redis and Valkey."""
    context.obj = Place(url, prefix)


def run() -> None:
    """Run the command line of this process, and end it with an exit code."""
    try:
        main.main(prog_name="bullrush", standalone_mode=True)
    except (InvalidOption, NotConfigured) as error:
        _say(error)
        sys.exit(USAGE)
    except (UnsupportedServer, ServerError) as error:
        _say(error)
        sys.exit(REFUSED)
    except BullrushError as error:
        _say(error)
        sys.exit(FAILED)


def _say(error: BullrushError) -> None:
    click.echo(f"bullrush: {error}", err=True)
