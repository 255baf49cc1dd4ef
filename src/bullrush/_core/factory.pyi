"""Makes the jobs that are to be added; nothing is sent."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bullrush._core.job import JobBase
from bullrush.codec import AnyCodec
from bullrush.options import JobLike, JobSettings

class JobFactory:
    """Make jobs for one queue; nothing is sent."""

    def __init__(
        self,
        kind: type[JobBase[Any, Any]],
        owner: object,
        codec: AnyCodec | None,
        name_check: Callable[[object, str], object],
        settings_of: Callable[[Mapping[str, object]], JobSettings | None],
        size_limit: int,
    ) -> None: ...
    def make(self, name: str, data: object, settings: JobSettings | None, now_ms: int) -> JobBase[Any, Any]:
        """Make one job. Raises InvalidOption, CodecError or PayloadTooLarge."""

    def named(self, id: str) -> JobBase[Any, Any]:
        """Make a job that is only known by its id."""

    def make_all(
        self, jobs: Iterable[JobLike], options: Mapping[str, object], now_ms: int
    ) -> list[JobBase[Any, Any]]:
        """Make the jobs of a chunk; `options` hold for all, those of a job win."""
