"""One seed for everything that a run does by chance; it is printed, and BULLRUSH_SEED plays the run again."""

from __future__ import annotations

import os
import random

VARIABLE = "BULLRUSH_SEED"

# What a short run plays, so that it is the same for everybody; long ones and the full one take new chances.
repeatable: int | None = None


def new_seed() -> int:
    """The seed from the environment, the one of a short test, or a fresh one."""
    given = os.environ.get(VARIABLE)
    if given:
        return int(given)
    return random.SystemRandom().randrange(1_000_000_000) if repeatable is None else repeatable


def chance(seed: int, purpose: str) -> random.Random:
    """A source of chance of its own for each purpose, so that one more draw here changes nothing there."""
    return random.Random(f"{seed} {purpose}")


def fresh(purpose: str) -> random.Random:
    """Draw a seed, say it (pytest shows it when the test fails), and return its source of chance."""
    seed = new_seed()
    print(f"{VARIABLE}={seed} plays {purpose} again")
    return chance(seed, purpose)
