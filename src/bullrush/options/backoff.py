"""How long a failed job waits before its next attempt."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from bullrush.errors import InvalidOption
from bullrush.options.durations import MAX_DURATION, Duration, duration_ms
from bullrush.options.texts import check_number, check_text

BackoffKind: TypeAlias = Literal["fixed", "exponential", "steps", "custom"]

KINDS: Final[tuple[BackoffKind, ...]] = get_args(BackoffKind)
MAX_STEPS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Backoff:
    """The waits between attempts, made by one of the four class methods; ``n`` failed attempts came before.

    fixed         delay
    exponential   delay · factor ** (n - 1), at most max_delay
    steps         the n-th of the delays, after the last one always the last
    custom        whatever the function of that name in ``Worker(backoffs=...)`` returns

    ``jitter`` is the fraction of the wait, 0 to 1, that chance may take off: the wait is spread evenly over
    wait · (1 - jitter) to wait, so jobs that failed together do not come back together.
    """

    kind: BackoffKind
    delays: tuple[int, ...] = ()
    factor: float = 2.0
    jitter: float = 0.0
    max_delay: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if (self.kind == "custom") is not (self.name is not None) or (self.name is None) is not bool(
            self.delays
        ):
            raise InvalidOption(f"no such backoff: {self!r}; make it with Backoff.fixed and its like")

    @classmethod
    def fixed(cls, delay: Duration, *, jitter: float = 0) -> Backoff:
        """Wait the same time before each attempt; 0 is at once. Raises InvalidOption for a wrong value."""
        return cls("fixed", (duration_ms(delay, "delay"),), jitter=_jitter(jitter))

    @classmethod
    def exponential(
        cls, delay: Duration, *, factor: float = 2, jitter: float = 0, max_delay: Duration | None = None
    ) -> Backoff:
        """Wait ``delay``, then ``factor`` times as long each time, never above ``max_delay``.

        Raises InvalidOption for a wrong value; factor is 1 or more.
        """
        return cls(
            "exponential",
            (duration_ms(delay, "delay"),),
            factor=check_number(factor, "factor", 1, 1_000),
            jitter=_jitter(jitter),
            max_delay=None if max_delay is None else duration_ms(max_delay, "max_delay"),
        )

    @classmethod
    def steps(cls, *delays: Duration, jitter: float = 0) -> Backoff:
        """Wait the delays one after the other, and the last one from then on.

        Raises InvalidOption for a wrong value, no delay, or more than 1,000.
        """
        if not 1 <= len(delays) <= MAX_STEPS:
            raise InvalidOption(f"Backoff.steps has {len(delays)} delays; give 1 to {MAX_STEPS:,}")
        return cls("steps", tuple(duration_ms(delay, "delay") for delay in delays), jitter=_jitter(jitter))

    @classmethod
    def custom(cls, name: str) -> Backoff:
        """Ask the function of this name in ``Worker(backoffs=...)``. Raises InvalidOption."""
        return cls("custom", name=check_text(name, "name of a custom backoff"))

    def delay_ms(self, attempt: int, rng: random.Random) -> int:
        """Return the wait in ms after ``attempt`` failed attempts (1 after the first one).

        Raises InvalidOption for a custom backoff, which only its worker can compute.
        """
        if self.kind == "custom":
            raise InvalidOption(f"backoff {self.name!r} is custom; only Worker(backoffs=...) can compute it")
        delay = self._base(max(attempt, 1))
        return delay - int(delay * self.jitter * rng.random()) if self.jitter else delay

    def _base(self, attempt: int) -> int:
        if self.kind == "exponential":
            return self._grown(attempt - 1)
        return self.delays[min(attempt, len(self.delays)) - 1]

    def _grown(self, times: int) -> int:
        limit = MAX_DURATION if self.max_delay is None else self.max_delay
        try:
            return round(min(self.delays[0] * math.pow(self.factor, times), limit))
        except OverflowError:  # the factor alone left the range of floats
            return limit if self.delays[0] else 0


def _jitter(value: object) -> float:
    return check_number(value, "jitter", 0, 1)


DEFAULT_BACKOFF: Final = Backoff.exponential("1s", jitter=0.5, max_delay="5m")
