"""Finds leaks by their slope: what is repeated must not leave more behind the more often it is done."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

BATCHES: Final = 5
# Whatever holds one small object back in each round takes more than this.
BYTES_PER_ROUND: Final = 12
SHARED: Final[tuple[object, ...]] = (None, True, False, (), "", b"")

DESCRIPTORS: Final = Path("/proc/self/fd")

Measures = dict[str, float]


def no_growth(
    step: Callable[[], object],
    rounds: int,
    *,
    also: Callable[[], Mapping[str, int]] = dict,
    unit: int = BYTES_PER_ROUND,
) -> None:
    """Repeat a step; fails if memory, objects of a type, references or what `also` counts grow with every batch."""
    for _ in range(rounds):
        step()
    with _only_new_objects():
        seen = [_counts(also())]
        for _ in range(BATCHES):
            tracemalloc.start()
            try:
                for _ in range(rounds):
                    step()
                kept = _kept_bytes()
            finally:
                tracemalloc.stop()
            seen.append(_counts(also()) | {"bytes": seen[-1].get("bytes", 0) + kept / unit})
    _judge(seen, rounds, unit)


async def no_growth_async(
    step: Callable[[], Awaitable[object]],
    rounds: int,
    *,
    also: Callable[[], Awaitable[Mapping[str, int]]],
    unit: int = BYTES_PER_ROUND,
) -> None:
    """The same for what is awaited."""
    for _ in range(rounds):
        await step()
    with _only_new_objects():
        seen = [_counts(await also())]
        for _ in range(BATCHES):
            tracemalloc.start()
            try:
                for _ in range(rounds):
                    await step()
                more = await also()
                kept = _kept_bytes()
            finally:
                tracemalloc.stop()
            seen.append(_counts(more) | {"bytes": seen[-1].get("bytes", 0) + kept / unit})
    _judge(seen, rounds, unit)


@contextmanager
def _only_new_objects() -> Iterator[None]:
    """Leave what is there already out of collections and counts; there is much of it in a test run."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _kept_bytes() -> int:
    """What was allocated since the batch began and is still there."""
    gc.collect()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _counts(more: Mapping[str, int]) -> Measures:
    gc.collect()
    found: Measures = {f"references to {item!r}": sys.getrefcount(item) for item in SHARED}
    found.update({f"objects of {kind}": count for kind, count in _types().items()})
    found["file descriptors"] = len(list(DESCRIPTORS.iterdir())) if DESCRIPTORS.is_dir() else 0
    found["threads"] = threading.active_count()
    found.update(more)
    return found


def _types() -> Counter[str]:
    return Counter(f"{type(item).__module__}.{type(item).__qualname__}" for item in gc.get_objects())


def _judge(seen: list[Measures], rounds: int, unit: int) -> None:
    """One batch that does not grow is enough: a leak shows in each, a cache that fills does not."""
    growing: dict[str, float] = {}
    for name in set[str]().union(*seen):
        values = [measures.get(name, 0) for measures in seen]
        least = min(later - earlier for earlier, later in pairwise(values))
        if least >= rounds * 0.9:
            growing[name] = least / rounds
    assert not growing, f"each round leaves behind: {growing} (bytes in units of {unit})"
