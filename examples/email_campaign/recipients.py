"""Invents the recipients: the same file for the same number."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import TypedDict

FIRST = (
    "Ada",
    "Bram",
    "Chiara",
    "Dmitri",
    "Elif",
    "Fatou",
    "Goran",
    "Hana",
    "Kofi",
    "Lena",
    "Mei",
    "Olga",
    "Priya",
)
LAST = (
    "Adeyemi",
    "Bauer",
    "Costa",
    "Dubois",
    "Eriksen",
    "Fischer",
    "Haddad",
    "Ito",
    "Kowalski",
    "Moreau",
    "Novak",
)
CITIES = ("Accra", "Berlin", "Ciudad de México", "Kraków", "Lyon", "Nairobi", "Osaka", "São Paulo", "Zürich")
DOMAINS = ("example.com", "example.net", "example.org", "mail.example.com", "post.example.org")
PLANS = ("free", "free", "free", "team", "pro")


class Recipient(TypedDict):
    """One line of the file, and the data of one job."""

    email: str
    name: str
    city: str
    plan: str


def write_recipients(path: Path, number: int) -> None:
    """Write a CSV file of so many recipients, each with an address of its own."""
    chance = random.Random(2026)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, Recipient.__annotations__)
        writer.writeheader()
        for n in range(1, number + 1):
            first, last = chance.choice(FIRST), chance.choice(LAST)
            email = f"{first}.{last}{n}@{chance.choice(DOMAINS)}".lower()
            city, plan = chance.choice(CITIES), chance.choice(PLANS)
            writer.writerow(Recipient(email=email, name=f"{first} {last}", city=city, plan=plan))
