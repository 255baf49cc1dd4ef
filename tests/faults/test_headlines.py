"""Every campaign of `make test-faults-full`, at a size that fits in here; the full one has the figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.full.campaigns import CAMPAIGNS
from tests.faults.full.lab import lab
from tests.faults.full.report import Report
from tests.faults.seed import VARIABLE, new_seed
from tests.faults.shims import ShimMissing
from tests.servers import KINDS, Kind, ServerMissing

SMALL = 0.004
# Each on one kind of server here, on both in the long run.
CASES = [(name, KINDS[number % 2]) for number, name in enumerate(CAMPAIGNS)]


async def hold(campaign: str, kind: Kind, scale: float, folder: Path) -> None:
    report = Report(new_seed(), scale)
    print(f"{VARIABLE}={report.seed} plays the same chances again")
    with lab(campaign, kind, report.seed, scale) as bench:
        try:
            await CAMPAIGNS[campaign].run(bench)
        except (ServerMissing, ShimMissing) as missing:
            pytest.skip(str(missing))
        report.add(bench.result)
    report.write(folder)
    assert report.holds, (folder / "report.md").read_text()


@pytest.mark.parametrize(("campaign", "kind"), CASES)
async def test_a_small_one_holds(campaign: str, kind: Kind, tmp_path: Path) -> None:
    await hold(campaign, kind, SMALL, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("campaign", CAMPAIGNS)
async def test_a_tenth_of_it_holds(campaign: str, kind: Kind, tmp_path: Path) -> None:
    await hold(campaign, kind, 0.1, tmp_path)
