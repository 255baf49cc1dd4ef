"""What a server says of itself: the answers to INFO and CONFIG GET, as text by name."""

from __future__ import annotations

from typing import cast


def read_info(reply: object) -> dict[str, str]:
    """Take an answer to INFO apart; anything else says nothing."""
    if not isinstance(reply, bytes):
        return {}
    lines = (line.partition(":") for line in reply.decode("utf-8", "replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def read_config(reply: object) -> dict[str, str]:
    """Take an answer to CONFIG GET apart, a map (RESP3) or a flat list; anything else says nothing."""
    if isinstance(reply, list):
        flat = cast("list[object]", reply)
        reply = dict(zip(flat[::2], flat[1::2], strict=False))
    if not isinstance(reply, dict):
        return {}
    items = cast("dict[object, object]", reply).items()
    return {_text(name): _text(value) for name, value in items}


def _text(part: object) -> str:
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part)
