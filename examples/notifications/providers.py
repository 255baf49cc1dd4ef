"""The world outside: providers for e-mail, texts and pushes, as moody as real ones.

They remember what they delivered.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Channel: TypeAlias = Literal["email", "sms", "push"]

NETWORK = 0.005  # seconds that a call takes


class ProviderBusy(Exception):
    """The provider wants to be asked again later."""


class NoSuchNumber(Exception):
    """Nobody has this number, and nobody will have it at the next try."""


@dataclass(frozen=True)
class Delivery:
    """One message that arrived."""

    channel: Channel
    to: str
    text: str


def nobody(_: Delivery) -> None:
    """Watch nothing."""


@dataclass
class Providers:
    """All three of them. `watch` is told of every delivery."""

    watch: Callable[[Delivery], object] = nobody
    delivered: list[Delivery] = field(default_factory=list[Delivery])
    refusals: int = 0
    _tries: Counter[str] = field(default_factory=Counter[str])

    async def deliver(self, channel: Channel, to: str, text: str) -> None:
        """Deliver one message. Raises ProviderBusy at the first two tries of a text, NoSuchNumber for +0…"""
        await asyncio.sleep(NETWORK)
        if channel == "sms":
            self._text(to)
        delivery = Delivery(channel, to, text)
        self.delivered.append(delivery)
        self.watch(delivery)

    def _text(self, to: str) -> None:
        if to.startswith("+0"):
            raise NoSuchNumber(f"{to} is not in service")
        self._tries[to] += 1
        if self._tries[to] <= 2:
            self.refusals += 1
            raise ProviderBusy("too many texts at the moment, try again")
