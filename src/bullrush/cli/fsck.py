"""`bullrush fsck`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

import click

from bullrush.app import Bullrush
from bullrush.cli.main import FAILED, NOT_FOUND, PARTIAL, Place
from bullrush.operations.fsck_report import FsckReport


@click.command("fsck")
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
@click.option("--repair", is_flag=True, help="Put right what can be; no job is deleted.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each queue, a line each.")
@click.pass_obj
def command(place: Place, queues: Sequence[str], repair: bool, as_json: bool) -> None:
    """Examine the data of queues, at work too; of all under the prefix when none is named."""
    app = Bullrush(place.url, prefix=place.prefix)
    try:
        codes = {_examine(app, name, repair, as_json) for name in queues or app.list_queues()}
    finally:
        app.close_sync()
    sys.exit(next((code for code in (FAILED, PARTIAL, NOT_FOUND) if code in codes), 0))


def _examine(app: Bullrush, name: str, repair: bool, as_json: bool) -> int:
    report = app.sync_queue(name).fsck(repair=repair)
    if not report.checked.get("keys"):
        click.echo(f"there is no queue {name!r} under the prefix {app.prefix!r}", err=True)
        return NOT_FOUND
    click.echo(_as_json(report) if as_json else str(report))
    if report.ok:
        return 0
    return PARTIAL if report.repaired else FAILED


def _as_json(report: FsckReport) -> str:
    problems = [asdict(problem) for problem in report.problems]
    whole = {"queue": report.queue, "ok": report.ok, "repaired": report.repaired, "checked": report.checked}
    return json.dumps({**whole, "problems": problems})
