"""All transitions of jobs against a plain model, on each kind of server."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.wire import wired
from tests.servers import KINDS, Kind
from tests.state.managing import QueueMachine

UNHURRIED = list(HealthCheck)


def run(kind: Kind, config: settings) -> None:
    with wired(kind) as wire:
        machine = type("Machine", (QueueMachine,), {"wire": wire})
        run_state_machine_as_test(machine, settings=config)


@pytest.mark.parametrize("kind", KINDS)
def test_a_queue_does_what_its_model_does(kind: Kind) -> None:
    run(
        kind,
        settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=UNHURRIED,
        ),
    )


@pytest.mark.long
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("kind", KINDS)
def test_a_queue_does_what_its_model_does_in_thousands_of_lives(kind: Kind) -> None:
    run(
        kind,
        settings(
            max_examples=int(os.environ.get("BULLRUSH_EXAMPLES", "5000")),
            stateful_step_count=100,
            deadline=None,
            print_blob=True,
            database=None,
            suppress_health_check=UNHURRIED,
        ),
    )
