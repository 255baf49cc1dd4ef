"""The headline figures: every campaign at full size, with a report. `python -m tests.faults.full --help`."""
