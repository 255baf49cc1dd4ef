"""A histogram of durations in buckets that grow with the value."""

from typing import final

@final
class Histogram:
    """Counts durations in microseconds; quantiles are off by 3 % at most, and exact below 32 µs."""

    @property
    def count(self) -> int:
        """How many durations were recorded."""

    @property
    def max(self) -> int:
        """The largest one in microseconds; 0 when empty."""

    @property
    def mean(self) -> float:
        """The mean in microseconds, exact; 0.0 when empty."""

    def record(self, microseconds: int) -> None:
        """Count one duration in microseconds; a negative one counts as 0."""

    def quantile(self, q: float) -> float:
        """The duration in microseconds that a share `q` of all does not exceed; ValueError outside 0 to 1."""

    def merge(self, other: Histogram) -> None:
        """Add all that another histogram has counted."""

    def reset(self) -> None:
        """Forget everything."""

    def used(self) -> dict[int, int]:
        """How many were counted in each bucket in use, by its number."""

    @staticmethod
    def bounds(bucket: int) -> tuple[int, int]:
        """The smallest and the largest value that fall into a bucket; ValueError where there is none."""

    def to_bytes(self) -> bytes:
        """Save it; only buckets in use take room."""

    @staticmethod
    def from_bytes(data: bytes | bytearray | memoryview) -> Histogram:
        """Make a histogram from what `to_bytes` saved; CodecError if it is anything else."""
