"""T8: a request is cut after some of its bytes. Nothing of it was applied, and it is made once all the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from bullrush import Queue
from tests.conftest import MakeProxy
from tests.faults.proxy import FaultProxy
from tests.faults.tour import SCRIPTS, Picture, picture, tour
from tests.servers import Server


class Undisturbed(NamedTuple):
    """What a tour without a fault answers and leaves, and the bytes of the request of each script."""

    answers: list[object]
    picture: Picture
    sizes: dict[str, int]


@pytest.fixture
def proxy(server: Server, make_proxy: MakeProxy) -> FaultProxy:
    return make_proxy(server)


@pytest.fixture
async def undisturbed(server: Server, proxy: FaultProxy, prefix: str) -> Undisturbed:
    async with Queue("plain", proxy.url, prefix=prefix) as queue:
        answers = await tour(queue)
        return Undisturbed(answers, await picture(queue), proxy.request_sizes())


def places(size: int, pieces: int) -> Iterator[int]:
    """Spread over the request; with one piece the middle, with more both ends, too."""
    if pieces == 1:
        yield size // 2
        return
    yield from (size * i // (pieces - 1) for i in range(pieces))


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("pieces", [1, pytest.param(25, marks=pytest.mark.long)])
async def test_a_request_that_is_cut_is_made_once(
    server: Server, proxy: FaultProxy, prefix: str, undisturbed: Undisturbed, script: str, pieces: int
) -> None:
    for after in places(undisturbed.sizes[script], pieces):
        cut = proxy.drop_request(script, call=1, after=after)
        async with Queue(f"cut{after}", proxy.url, prefix=prefix) as queue:
            answers = await tour(queue)
        assert cut.happened, after
        assert answers == undisturbed.answers, after
        async with Queue(f"cut{after}", server.url, prefix=prefix) as queue:
            assert await picture(queue) == undisturbed.picture, after
