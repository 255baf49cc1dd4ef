"""One measurement: what is asked of a contender, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

PAYLOADS = 100_000


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario, its size, and the server to use. `size` is in bytes, `rate` in jobs a second."""

    scenario: str
    count: int
    port: int
    host: str = "127.0.0.1"
    concurrency: int = 1
    batch: int = 1_000
    size: int = 0
    rate: int = 0
    wait_us: int = 0
    role: str = "main"

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    @property
    def share(self) -> int:
        """Jobs of each of `concurrency` callers."""
        return self.count // self.concurrency


class Result(TypedDict):
    """What a contender prints: one JSON line."""

    jobs: int
    seconds: float
    redis_s: float
    client_s: list[float]
    commands: int
    reads: int
    extra: dict[str, float]


def payload(i: int) -> dict[str, object]:
    """The data of job `i`: 41 bytes in msgpack, 49 in JSON, the same length for every job."""
    n = i % PAYLOADS
    return {"to": f"user{n:06d}@mail.example.com", "uid": PAYLOADS + n}


def sized_payload(i: int, size: int) -> dict[str, object]:
    """Data of about `size` bytes: what `payload` has, and a text that does not compress to nothing."""
    data = payload(i)
    missing = size - 49
    return {**data, "body": (f"{i:08x}" * (missing // 8 + 1))[:missing]} if missing > 0 else data


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 99th and 99.9th percentile and true maximum in ms."""
    ordered = sorted(seconds)
    at = len(ordered) - 1
    return {
        "p50_ms": ordered[at // 2] * 1e3,
        "p99_ms": ordered[int(at * 0.99)] * 1e3,
        "p999_ms": ordered[int(at * 0.999)] * 1e3,
        "max_ms": ordered[-1] * 1e3,
    }
