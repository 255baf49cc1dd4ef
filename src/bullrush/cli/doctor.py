"""`bullrush doctor`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from bullrush.app import Bullrush
from bullrush.cli.main import FAILED, Place


@click.command("doctor")
@click.option("--strict", is_flag=True, help="A warning fails, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def command(place: Place, strict: bool, as_json: bool) -> None:
    """Examine the server: is it one on which jobs are safe?"""
    diagnosis = Bullrush(place.url, prefix=place.prefix, request_timeout="5s").doctor_sync()
    if as_json:
        findings = [asdict(finding) for finding in diagnosis.findings]
        click.echo(json.dumps({"server": diagnosis.server, "level": diagnosis.level, "findings": findings}))
    else:
        click.echo(str(diagnosis))
    sys.exit(FAILED if diagnosis.level == "bad" or (strict and diagnosis.level != "ok") else 0)
