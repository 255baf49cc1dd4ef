"""The list of campaigns, each with what it promises in a sentence."""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.faults.full.kills import kills
from tests.faults.full.lab import Campaign
from tests.faults.full.lost_adds import lost_adds
from tests.faults.full.lost_exchanges import lost_exchanges
from tests.faults.full.plain import plain
from tests.faults.full.poison import poison
from tests.faults.full.power import power_always, power_everysec
from tests.faults.full.restarts import restarts


class Entry(NamedTuple):
    run: Campaign
    promise: str
    tries: tuple[str, ...] = ()  # the figures that say how often it could have gone wrong


CAMPAIGNS: Final[dict[str, Entry]] = {
    "kills": Entry(
        kills,
        "Workers are killed (SIGKILL) at random while they work: no job is lost.",
        ("jobs acknowledged", "kills"),
    ),
    "lost-adds": Entry(
        lost_adds,
        "One reply to an add in ten is lost: every job is stored exactly once.",
        ("adds", "replies lost"),
    ),
    "lost-exchanges": Entry(
        lost_exchanges,
        "Replies of exchanges (claims and outcomes) are lost: no job fails, runs twice or is charged.",
        ("jobs acknowledged", "replies lost"),
    ),
    "restarts": Entry(
        restarts,
        "The server is killed and started again, with the queue idle, with delayed jobs only, and full: "
        "every worker goes on by itself, and soon.",
        ("restarts",),
    ),
    "power-always": Entry(
        power_always,
        "The power is cut while jobs are added and done, with durability='fsync' on a server with appendfsync "
        "always: nothing acknowledged is lost.",
        ("acknowledged", "power cuts"),
    ),
    "power-everysec": Entry(
        power_everysec,
        "The same with appendfsync everysec, where the last second may go (about half of everything here, since "
        "the power goes twice a second): what is missing is from that second, and the rest fits together.",
    ),
    "poison": Entry(
        poison,
        "Jobs that kill their worker process fail with JobCrashed; no other job is charged for them.",
        ("poison jobs", "others completed"),
    ),
    "plain": Entry(plain, "Without faults no job runs twice.", ("jobs acknowledged",)),
}
