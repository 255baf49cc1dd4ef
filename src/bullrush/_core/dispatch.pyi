"""The dispatcher: from a claimed job to a running handler to its outcome."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, final

from bullrush._core.exchange import Exchange
from bullrush._core.histogram import Histogram
from bullrush._core.job import JobBase
from bullrush._core.protocol import DataProtocol
from bullrush.errors import BullrushError

class _Policy(Protocol):
    """What becomes of a job that did not simply complete, and of what a reply said of the queue."""

    def failed(self, job: Any, error: BaseException, cancel_reason: str | None, /) -> None: ...
    def broken(self, job: Any, error: BullrushError, /) -> None: ...
    def unhandled(self, job: Any, /) -> None: ...
    def started(self, job: Any, /) -> None: ...
    def ended(self, job: Any, /) -> None: ...
    def awaitable(self, job: Any, value: Awaitable[object], /) -> None: ...
    def replied(self) -> None: ...
    def notice(self) -> None: ...

@final
class Route:
    """Where jobs of a name go."""

    def __init__(self, handler: Callable[..., object], threaded: bool, blocking: bool = False) -> None: ...
    @property
    def handler(self) -> Callable[..., object]:
        """The function that takes the job."""

    @property
    def threaded(self) -> bool:
        """Whether it runs in a thread."""

    @property
    def blocking(self) -> bool:
        """Whether its jobs are of the blocking class."""

class Dispatcher:
    """Start jobs, collect their ends. One per worker, on its loop."""

    protocol: DataProtocol | None
    context: object

    @property
    def keeps_claims(self) -> bool:
        """False: what cannot start soon goes back."""
    on_active: Callable[[Any], object] | None
    on_completed: Callable[[Any, Any], object] | None

    def __init__(
        self,
        exchange: Exchange,
        policy: _Policy,
        route: Route | None,
        routes: Mapping[str, Route] | None,
        loop: asyncio.AbstractEventLoop,
        *,
        context: object = None,
    ) -> None: ...
    @property
    def exchange(self) -> Exchange:
        """The exchange whose jobs it runs."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop it lives on."""

    @property
    def waits(self) -> Histogram:
        """µs from added, or due, to started; first attempts only."""

    @property
    def runs(self) -> Histogram:
        """µs that completed jobs ran."""

    @property
    def threads(self) -> list[threading.Thread]:
        """The threads of `def` handlers."""

    def after_replies(self) -> None:
        """Go on after a batch of replies; the caller pumps the exchange afterwards."""

    def start_ready(self) -> None:
        """Start claimed jobs while slots are free."""

    def flush(self) -> None:
        """Let the exchange send what it has to send."""

    def settle(self, job: JobBase[Any, Any], value: object) -> None:
        """Settle a job as completed by hand."""

    def stop_threads(self) -> None:
        """Let idle threads end, and busy ones after their job."""
