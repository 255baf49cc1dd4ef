"""What a blocking caller waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast


class Waiter:
    """What became of a request: a value, or an error to raise.

    Sessions settle it through methods that are a list's own. They run no Python code, so no signal handler,
    KeyboardInterrupt or other thread gets into the middle of a session: each call of one is done as a whole.
    (A Future of the standard library would not do: its methods are Python, and it takes ten times as long to
    make.)
    """

    __slots__ = ("_outcome", "done", "set_exception", "set_result")

    def __init__(self) -> None:
        self._outcome: list[object] = []
        self.done = cast("Callable[[], bool]", self._outcome.__len__)
        self.set_result: Callable[[object], None] = self._outcome.append
        self.set_exception: Callable[[BaseException], None] = self._outcome.append

    def value(self) -> object:
        """Return the value or raise the error; the first one counts. It must be done."""
        value = self._outcome[0]
        if isinstance(value, BaseException):
            raise value
        return value
