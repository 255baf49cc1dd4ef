"""What the library logs: one line a message, whatever the values in it are."""

from __future__ import annotations

import logging
import re
from typing import Final

# Control characters, line ends of Unicode, and the marks that turn the direction of writing.
UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
# Longer values are cut: an error of the server or of a handler may quote what it was given.
MOST: Final = 1000


class OneLine(logging.Filter):
    """Escapes what could forge another line, or colour or turn the text of a terminal, in the values."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the arguments of a record; never refuse one."""
        if isinstance(record.args, tuple):
            record.args = tuple(_safe(value) for value in record.args)
        return True


def _safe(value: object) -> object:
    if isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else str(value)
    if len(text) > MOST:
        text = f"{text[:MOST]}… ({len(text):,} characters)"
    return UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def install() -> None:
    """Let the library's logger escape; once more changes nothing."""
    logger = logging.getLogger("bullrush")
    if not any(isinstance(found, OneLine) for found in logger.filters):
        logger.addFilter(OneLine())
