"""The events of a worker and the shapes of their listeners, for type checkers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    from bullrush.job import Job

JobListener: TypeAlias = "Callable[[Job[Any, Any]], object]"
JobValueListener: TypeAlias = "Callable[[Job[Any, Any], Any], object]"
JobErrorListener: TypeAlias = "Callable[[Job[Any, Any], Exception], object]"
TextListener: TypeAlias = Callable[[str], object]
ErrorListener: TypeAlias = Callable[[Exception], object]
PlainListener: TypeAlias = Callable[[], object]

# For the decorator form, which must give back exactly the function it got.
JobListenerT = TypeVar("JobListenerT", bound=JobListener)
JobValueListenerT = TypeVar("JobValueListenerT", bound=JobValueListener)
JobErrorListenerT = TypeVar("JobErrorListenerT", bound=JobErrorListener)
TextListenerT = TypeVar("TextListenerT", bound=TextListener)
ErrorListenerT = TypeVar("ErrorListenerT", bound=ErrorListener)
PlainListenerT = TypeVar("PlainListenerT", bound=PlainListener)

JobEvent: TypeAlias = Literal["active"]
JobValueEvent: TypeAlias = Literal["completed", "progress"]
JobErrorEvent: TypeAlias = Literal["failed", "retrying"]
TextEvent: TypeAlias = Literal["stalled", "unhandled"]
ErrorEvent: TypeAlias = Literal["error"]
PlainEvent: TypeAlias = Literal["drained", "paused", "resumed", "closed"]
WorkerEvent: TypeAlias = JobEvent | JobValueEvent | JobErrorEvent | TextEvent | ErrorEvent | PlainEvent
