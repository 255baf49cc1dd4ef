"""The value types that options take, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias, get_args

from bullrush.errors import InvalidOption, InvalidOptionType
from bullrush.options.durations import Duration, duration_ms, format_duration
from bullrush.options.texts import check_bool, check_choice, check_int, check_name, check_str, check_text

DeduplicationMode: TypeAlias = Literal["simple", "throttle", "debounce", "replace", "keep-last"]


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Keep:
    """How many finished jobs stay (``count``) and how long (``age``); both count, None is no limit.

    ``Keep()`` keeps all for ever, ``Keep(count=0)`` none. ``age`` takes no number, because BullMQ's is in
    seconds; read back it is in ms. Raises InvalidOption or InvalidOptionType.
    """

    count: int | None
    age: int | None

    def __init__(self, count: int | None = None, age: timedelta | str | None = None) -> None:
        if isinstance(age, int | float):
            raise InvalidOptionType(f'age is {age!r}, a number without a unit; say "1d" or a timedelta')
        object.__setattr__(self, "count", None if count is None else check_int(count, "count", 0))
        object.__setattr__(self, "age", None if age is None else duration_ms(age, "age", least=1))

    def __repr__(self) -> str:
        age = None if self.age is None else format_duration(self.age)
        return f"Keep(count={self.count!r}, age={age!r})"


@dataclass(frozen=True, slots=True)
class Replicas:
    """A durability: so many replicas must have a job before its add is done.

    Raises InvalidOption or InvalidOptionType.
    """

    count: int = 1

    def __post_init__(self) -> None:
        check_int(self.count, "count of Replicas", 1, 100)


@dataclass(frozen=True, slots=True, init=False)
class RateLimit:
    """At most ``max`` jobs in any ``duration`` (ms once read back), counted over all workers.

    Without ``burst`` it is a sliding window, with ``burst`` a token bucket that holds that many.
    Raises InvalidOption or InvalidOptionType.
    """

    max: int
    duration: int
    burst: int | None

    def __init__(self, max: int, duration: Duration, burst: int | None = None) -> None:
        object.__setattr__(self, "max", check_int(max, "max", 1))
        object.__setattr__(self, "duration", duration_ms(duration, "duration", least=1))
        object.__setattr__(self, "burst", None if burst is None else check_int(burst, "burst", 1))

    @property
    def wire(self) -> bytes:
        """What is stored, and what scripts read: max, duration and, for a bucket, burst."""
        text = f"{self.max} {self.duration}" + ("" if self.burst is None else f" {self.burst}")
        return text.encode()


@dataclass(frozen=True, slots=True, init=False)
class Deduplication:
    """Store one job of an id at a time. ``ttl`` is in ms once read back.

    simple      the others are refused until the first one is finished
    throttle    the others are refused for ``ttl``
    debounce    the last one counts, ``ttl`` starts anew with each; the job must have a delay
    replace     the last one counts as long as the first is delayed
    keep-last   one runs, the last of the others runs after it

    Raises InvalidOption or InvalidOptionType.
    """

    id: str
    ttl: int | None
    mode: DeduplicationMode

    def __init__(self, id: str, ttl: Duration | None = None, mode: DeduplicationMode = "simple") -> None:
        check_choice(mode, "mode of Deduplication", get_args(DeduplicationMode))
        if ttl is None and mode in ("throttle", "debounce"):
            raise InvalidOption(f"Deduplication with mode {mode!r} needs a ttl")
        object.__setattr__(self, "id", check_text(id, "id of Deduplication"))
        object.__setattr__(self, "ttl", None if ttl is None else duration_ms(ttl, "ttl", least=1))
        object.__setattr__(self, "mode", mode)


@dataclass(frozen=True, slots=True, init=False)
class Batch:
    """Give a handler up to ``size`` jobs at once.

    It waits for ``min_size`` jobs, at most ``timeout`` (ms once read back) from the first one on; None waits
    as long as it takes. ``by_group`` never mixes groups. Raises InvalidOption or InvalidOptionType.
    """

    size: int
    timeout: int | None
    min_size: int
    by_group: bool

    def __init__(
        self, size: int, timeout: Duration | None = None, min_size: int = 1, by_group: bool = False
    ) -> None:
        object.__setattr__(self, "size", check_int(size, "size", 1))
        object.__setattr__(self, "timeout", None if timeout is None else duration_ms(timeout, "timeout"))
        object.__setattr__(self, "min_size", check_int(min_size, "min_size", 1, self.size))
        object.__setattr__(self, "by_group", check_bool(by_group, "by_group"))


@dataclass(frozen=True, slots=True, init=False)
class Recycle:
    """When a child process is replaced by a fresh one: after ``jobs``, at ``age`` (ms once read back), or
    above ``rss`` bytes of memory. None never. Raises InvalidOption or InvalidOptionType.
    """

    jobs: int | None
    age: int | None
    rss: int | None

    def __init__(self, jobs: int | None = None, age: Duration | None = None, rss: int | None = None) -> None:
        object.__setattr__(self, "jobs", None if jobs is None else check_int(jobs, "jobs", 1))
        object.__setattr__(self, "age", None if age is None else duration_ms(age, "age", least=1))
        object.__setattr__(self, "rss", None if rss is None else check_int(rss, "rss", 1))


@dataclass(frozen=True, slots=True)
class JobRef:
    """Names one job: its queue and its id. Raises InvalidOption for a queue name or id that cannot be."""

    queue: str
    id: str

    def __post_init__(self) -> None:
        check_name(self.queue, "queue")
        if not check_str(self.id, "id"):
            raise InvalidOption("id is empty; it must be the id of a job")
