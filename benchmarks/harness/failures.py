"""Failed jobs of a library that keeps no count of them: it writes each to its log."""

from __future__ import annotations

import logging


class LoggedErrors(logging.Handler):
    """Counts what is logged as an error, which costs nothing while all is well."""

    def __init__(self, logger: str) -> None:
        super().__init__(logging.ERROR)
        self._logger = logging.getLogger(logger)
        self._logger.addHandler(self)
        self._count = 0
        self._first = ""

    def emit(self, record: logging.LogRecord) -> None:
        self._first = self._first or self.format(record)
        self._count += 1

    def check(self) -> None:
        """Raise RuntimeError if there was any."""
        if self._count:
            raise RuntimeError(
                f"{self._count} errors in the log of {self._logger.name}, first: {self._first}"
            )

    def close(self) -> None:
        self._logger.removeHandler(self)
        super().close()
