"""One seed for everything that a run does by chance; it is printed, and BULLRUSH_SEED plays the run again."""

from __future__ import annotations

import os
import random

VARIABLE = "BULLRUSH_SEED"


def new_seed() -> int:
    """The seed from the environment, or a fresh one."""
    given = os.environ.get(VARIABLE)
    return int(given) if given else random.SystemRandom().randrange(1_000_000_000)


def chance(seed: int, purpose: str) -> random.Random:
    """A source of chance of its own for each purpose, so that one more draw here changes nothing there."""
    return random.Random(f"{seed} {purpose}")


def fresh(purpose: str) -> random.Random:
    """Draw a seed, say it (pytest shows it when the test fails), and return its source of chance."""
    seed = new_seed()
    print(f"{VARIABLE}={seed} plays {purpose} again")
    return chance(seed, purpose)
