"""What services ask of whatever starts claimed jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from bullrush.job import JobBase

if TYPE_CHECKING:
    from bullrush._core.histogram import Histogram
    from bullrush._core.protocol import DataProtocol


class Starter(Protocol):
    """Whatever starts claimed jobs: the compiled dispatcher, or the hands of a consumer."""

    protocol: DataProtocol | None
    context: object
    on_active: Callable[[JobBase], object] | None
    on_completed: Callable[[JobBase, object], object] | None

    @property
    def keeps_claims(self) -> bool:
        """Say whether claimed jobs wait here until somebody takes them, however long that is."""
        ...

    @property
    def waits(self) -> Histogram:
        """µs from due to started."""
        ...

    @property
    def runs(self) -> Histogram:
        """µs that completed jobs ran."""
        ...

    def after_replies(self) -> None:
        """Go on after a batch of replies."""
        ...

    def flush(self) -> None:
        """Let the exchange send."""
        ...

    def stop_threads(self) -> None:
        """End what belongs to it."""
        ...
