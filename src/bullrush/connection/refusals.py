"""What a server's refusal means for whoever asked: one table from code to error."""

from __future__ import annotations

from bullrush.errors import BullrushError, InvalidOption, NotConfigured, ServerError, UnsupportedServer


def open_error(code: str, message: str) -> BullrushError:
    """Return the error for an `open` that was refused for good; nothing has taken effect."""
    rest = message.partition(" ")[2]
    if code == "LAYOUT":
        return UnsupportedServer(
            f"this queue has data of layout {rest}, this version of bullrush writes layout 1: "
            "use a version that knows it",
            took_effect=False,
        )
    if code == "NOAUTH":
        return NotConfigured(
            "the server wants a password and none was given: put it into the URL (redis://user:password@host)",
            took_effect=False,
        )
    if code == "TYPE":
        return UnsupportedServer(
            f"the key {rest}: another program uses this name; choose another prefix", took_effect=False
        )
    if code in ("DENIED", "NOPERM"):
        return UnsupportedServer(
            f"the Redis user may not run {rest}: grant it on the queue's keys (ACL SETUSER)",
            took_effect=False,
        )
    if code == "CODEC":
        return InvalidOption(
            f"this queue holds jobs of the codec {rest!r}: give the same codec to every producer and worker",
            took_effect=False,
        )
    return ServerError(f"the server refused to open the queue: {message}", took_effect=False)
