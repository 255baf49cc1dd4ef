"""The notification service: the urgent first, everything once, and what was taken back never."""

from __future__ import annotations

import dataclasses
from collections import Counter

import redis
from rich.console import Console

from examples.notifications.__main__ import problems
from examples.notifications.evening import READERS, STORIES, Evening, run_evening
from examples.notifications.providers import Delivery
from tests.integration.example_runs import job_keys


async def test_an_evening(url: str, redis_client: redis.Redis) -> None:
    evening = await run_evening(url, Console(quiet=True))

    assert problems(evening) == []
    check_deliveries(evening)
    check_deduplication(evening)
    check_failures(evening)
    assert evening.progress == 100
    assert evening.log == [f"rendered {story!r}" for story in STORIES]
    assert job_keys(redis_client) == []


def check_deliveries(evening: Evening) -> None:
    """Everything arrived once; the passwords, added last, before the first of the digests."""
    kinds = [delivery.text.split(" ")[-1] for delivery in evening.delivered]
    assert Counter(kinds) == {"password": 2, "4711": 1, "edits": 1, "hour": 1, "stories": READERS}
    assert max(at for at, kind in enumerate(kinds) if kind == "password") < kinds.index("stories")
    assert set(Counter(evening.delivered).values()) == {1}


def check_deduplication(evening: Evening) -> None:
    """Three clicks are one job, and all three got its result; of five edits the last one counts."""
    first, *others = evening.clicks
    assert first.duplicate is False
    assert [(job.id, job.duplicate) for job in others] == [(first.id, "deduplication")] * 2
    assert evening.sent[first.id] == "texted to +49 151 55501"
    assert len({job.id for job in evening.edits}) == 5
    assert [d.text for d in evening.delivered if d.channel == "push"] == [
        "menu.txt: 5 edits",
        "cinema in an hour",
    ]


def check_failures(evening: Evening) -> None:
    """A busy provider is asked again; a number that does not exist is not. The cancelled reminder never came."""
    assert evening.failed == {"+0 000 000": "+0 000 000 is not in service"}
    assert evening.refusals == evening.retries == 2
    assert evening.cancelled
    assert not [delivery for delivery in evening.delivered if "dentist" in delivery.text]


def test_a_bad_evening_is_noticed() -> None:
    delivered = [Delivery("email", f"reader{n}", "digest") for n in range(READERS + 5)]
    good = Evening(delivered, 0, failed={"+0": "not in service"})
    assert problems(good) == []
    for change, problem in [
        ({"delivered": delivered[1:]}, "did not arrive: 1"),
        ({"delivered": [*delivered, delivered[0]]}, "arrived twice: 1"),
        ({"left": 1}, "left behind: 1"),
        ({"failed": {}}, "failures"),
    ]:
        (found,) = problems(dataclasses.replace(good, **change))  # type: ignore[arg-type]
        assert problem in found
