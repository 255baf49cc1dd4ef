"""`python -m bullrush`."""

from bullrush.cli.main import run

run()
