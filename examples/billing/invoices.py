"""Invents the invoices: the same ones each time."""

from __future__ import annotations

from decimal import Decimal
from typing import TypedDict

NAMES = ("Adeyemi", "Bauer", "Costa", "Dubois", "Eriksen", "Fischer", "Haddad", "Ito", "Kowalski", "Moreau")


class Invoice(TypedDict):
    """One invoice, and the data of one job: a Decimal travels as it is."""

    number: int
    customer: str
    card: str
    amount: Decimal


def invent_invoices(count: int) -> list[Invoice]:
    """Return so many invoices."""
    return [
        Invoice(
            number=number,
            customer=f"{NAMES[number % len(NAMES)]} {number}",
            card=_card(number),
            amount=Decimal(1990 + 37 * number) / 100,
        )
        for number in range(1, count + 1)
    ]


def _card(number: int) -> str:
    """Every 8th card is of the Northern bank, every 13th has expired."""
    bank = "northern" if number % 8 == 0 else "southern"
    return f"{bank}-{'expired' if number % 13 == 0 else 'valid'}-{number}"
