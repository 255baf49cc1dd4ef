"""What is wrong is refused with a clear error before anything reaches the server."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
import redis

from bullrush import (
    AddInterrupted,
    BullrushError,
    CodecError,
    InvalidOption,
    InvalidOptionType,
    JobSpec,
    PayloadTooLarge,
    Queue,
    Worker,
)

Call = Callable[[Any], Awaitable[object]]  # gets a Queue, typed Any: type checkers would refuse most of this


def commands(client: redis.Redis) -> dict[str, int]:
    """How often each command ran, those apart that looking itself needs."""
    stats = cast("dict[str, dict[str, int]]", client.info("commandstats"))
    return {name: stat["calls"] for name, stat in stats.items() if name != "cmdstat_info"}


@pytest.fixture
async def queue(url: str, prefix: str, redis_client: redis.Redis) -> Any:
    """A queue that must not have sent anything when the test ends."""
    before = commands(redis_client)
    queue = Queue("q", url, prefix=prefix)
    yield queue
    assert commands(redis_client) == before, "something reached the server"
    assert redis_client.dbsize() == 0
    await queue.close()


async def refused(call: Call, queue: Queue, kind: type[BullrushError], *words: str) -> BullrushError:
    """The call raises exactly this kind of error, which names all these words and says: nothing happened."""
    with pytest.raises(kind) as caught:
        await call(queue)
    assert type(caught.value) is kind
    for word in words:
        assert re.search(word, str(caught.value)), f"{caught.value} does not say {word}"
    assert caught.value.took_effect is False
    return caught.value


BAD_OPTIONS: dict[str, tuple[dict[str, object], type[BullrushError], tuple[str, ...]]] = {
    "unknown": ({"atempts": 3}, InvalidOption, ("atempts=3", "attempts")),
    "BullMQ jobId": ({"jobId": "a"}, InvalidOption, ("jobId='a'", "job_id")),
    "BullMQ removeOnComplete": ({"removeOnComplete": True}, InvalidOption, ("remove_on_complete",)),
    "BullMQ repeat": ({"repeat": {"every": 5}}, InvalidOption, ("repeat", "upsert_job_scheduler")),
    "Celery countdown": ({"countdown": 5}, InvalidOption, ("countdown=5", "delay")),
    "RQ job_timeout": ({"job_timeout": 5}, InvalidOption, ("job_timeout=5", "timeout")),
    "integer id": ({"job_id": "17"}, InvalidOption, ("job_id", "'17'", "order-17")),
    "id with a blank": ({"job_id": "a b"}, InvalidOption, ("job_id", "'a b'")),
    "id that is an int": ({"job_id": 17}, InvalidOptionType, ("job_id", "17", "int")),
    "time in seconds": ({"run_at": 1_700_000_000}, InvalidOption, ("run_at", "1700000000", "ms")),
    "time without zone": ({"run_at": datetime(2030, 1, 1)}, InvalidOption, ("run_at", "time zone")),
    "float delay": ({"delay": 0.5}, InvalidOptionType, ("delay", "0.5", "float")),
    "bool delay": ({"delay": True}, InvalidOptionType, ("delay", "True", "bool")),
    "delay without a unit": ({"delay": "5"}, InvalidOption, ("delay", "'5'", "5s")),
    "negative delay": ({"delay": -1}, InvalidOption, ("delay", "-1")),
    "delay and run_at": (
        {"delay": 1, "run_at": datetime(2030, 1, 1, tzinfo=UTC)},
        InvalidOption,
        ("delay=1", "run_at"),
    ),
    "timeout of 5": ({"timeout": 5}, InvalidOption, ("timeout", "5s")),
    "no attempt": ({"attempts": 0}, InvalidOption, ("attempts", "0")),
    "priority too high": ({"priority": 2_097_152}, InvalidOption, ("priority", "2097152")),
    "backoff of the wrong type": ({"attempts": 2, "backoff": 1.5}, InvalidOptionType, ("backoff", "1.5")),
    "keep of the wrong type": ({"remove_on_fail": "1d"}, InvalidOptionType, ("remove_on_fail", "'1d'")),
    "size_limit": ({"size_limit": 0}, InvalidOption, ("size_limit", "0")),
}


@pytest.mark.parametrize(("options", "kind", "words"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
async def test_options(
    queue: Queue, options: dict[str, object], kind: type[BullrushError], words: tuple[str, ...]
) -> None:
    await refused(lambda queue: queue.add("work", 1, **options), queue, kind, *words)
    await refused(lambda queue: queue.add_bulk([("work", 1)], **options), queue, kind, *words)
    bulk = [("fine", 1), ("work", 1, options)]
    await refused(lambda queue: queue.add_bulk(bulk), queue, kind, *words)
    with pytest.raises(kind):
        JobSpec("work", 1, **cast("Any", options))
    with pytest.raises(kind):
        Queue("q", "redis://127.0.0.1:1", defaults=cast("Any", options))


BAD_NAMES = {"empty": "", "too long": "é" * 128, "NUL": "a\0b", "half of a surrogate": "\ud800"}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
async def test_job_names(queue: Queue, name: str) -> None:
    await refused(lambda queue: queue.add(name, 1), queue, InvalidOption, "job name")


@pytest.mark.parametrize("name", [None, 5, b"bytes", ["list"]])
async def test_job_names_of_another_type(queue: Queue, name: object) -> None:
    await refused(lambda queue: queue.add(name, 1), queue, InvalidOptionType, "job name", type(name).__name__)


class Stranger:
    pass


BAD_DATA: dict[str, tuple[object, str]] = {
    "an object": ({"user": {"picture": Stranger()}}, r"data\.user\.picture.*Stranger"),
    "in a list": ({"users": [1, {"f": print}]}, r"data\.users\[1\]\.f"),
    "a complex number": (1j, r"data.*complex"),
    "half of a surrogate": ({"name": "\ud800"}, r"data\.name"),
    "a key that is a tuple": ({"a": {(1, 2): 3}}, r"data\.a"),
}


@pytest.mark.parametrize(("data", "words"), BAD_DATA.values(), ids=BAD_DATA)
async def test_data_names_the_path(queue: Queue, data: object, words: str) -> None:
    await refused(lambda queue: queue.add("work", data), queue, CodecError, words)
    await refused(lambda queue: queue.add_bulk([("work", 1), ("work", data)]), queue, CodecError, words)


async def test_data_that_contains_itself(queue: Queue) -> None:
    data: list[object] = []
    data.append(data)
    await refused(lambda queue: queue.add("work", data), queue, CodecError, "data")


async def test_a_payload_of_20_mb(queue: Queue) -> None:
    large = "x" * 20_000_000
    await refused(lambda queue: queue.add("work", large), queue, PayloadTooLarge, "20,000,", "16,777,216")
    await refused(lambda queue: queue.add_bulk([("work", large)]), queue, PayloadTooLarge)
    await refused(
        lambda queue: queue.add("work", "x" * 200, size_limit=100), queue, PayloadTooLarge, "limit is 100"
    )


BAD_BULKS: dict[str, object] = {
    "a str": ["work"],
    "a dict": [{"name": "work"}],
    "a tuple of one": [("work",)],
    "a tuple of four": [("work", 1, {}, 2)],
    "options that are no mapping": [("work", 1, 5)],
    "None": [None],
    "one str for all": "work",
}


@pytest.mark.parametrize("jobs", BAD_BULKS.values(), ids=BAD_BULKS)
async def test_what_is_no_job(queue: Queue, jobs: object) -> None:
    await refused(lambda queue: queue.add_bulk(jobs), queue, InvalidOptionType, "job 0")
    interrupted = await refused(lambda queue: queue.add_stream(jobs), queue, AddInterrupted)
    assert isinstance(interrupted, AddInterrupted)
    assert interrupted.added == 0
    assert isinstance(interrupted.__cause__, InvalidOptionType)


async def test_what_is_no_iterable(queue: Queue) -> None:
    await refused(lambda queue: queue.add_bulk(5), queue, InvalidOptionType, "jobs", "int")
    await refused(lambda queue: queue.add_stream(5), queue, InvalidOptionType, "jobs", "int")
    await refused(lambda queue: queue.add_stream([], chunk_size=0), queue, InvalidOption, "chunk_size is 0")
    await refused(lambda queue: queue.add_stream([], chunk_size=2.5), queue, InvalidOptionType, "chunk_size")
    await refused(
        lambda queue: queue.add_stream([], max_waiting="9"), queue, InvalidOptionType, "max_waiting"
    )


def a_generator_that_raises() -> Iterator[tuple[str, int]]:
    yield "work", 1
    raise LookupError("no more input")


async def test_an_iterable_that_raises_in_the_first_chunk(queue: Queue) -> None:
    with pytest.raises(LookupError):
        await queue.add_bulk(a_generator_that_raises())
    with pytest.raises(AddInterrupted) as interrupted:
        await queue.add_stream(a_generator_that_raises())
    assert isinstance(interrupted.value.__cause__, LookupError)
    assert (interrupted.value.added, interrupted.value.took_effect) == (0, False)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a{b}", "é", "a" * 129, "a/b"])
def test_queue_names(name: str) -> None:
    with pytest.raises(InvalidOption, match="queue name"):
        Queue(name, "redis://127.0.0.1:1")
    with pytest.raises(InvalidOption, match="prefix"):
        Queue("q", "redis://127.0.0.1:1", prefix=f"a:{name}")


WAITS: dict[str, Call] = {
    "get_result": lambda queue: queue.get_result("1", timeout=5),
    "call": lambda queue: queue.call("work", 1, wait=5),
    "gather": lambda queue: queue.gather([], timeout=5),
    "close": lambda queue: queue.process(print).close(timeout=5),
    "wait_idle": lambda queue: queue.process(print).wait_idle(timeout=5),
}


@pytest.mark.filterwarnings("ignore:a worker of queue:ResourceWarning")
@pytest.mark.parametrize("call", WAITS.values(), ids=WAITS)
async def test_nobody_waits_5_ms(queue: Queue, call: Call) -> None:
    await refused(call, queue, InvalidOption, "5, which is milliseconds", '"5s"')


@pytest.mark.parametrize("states", [["done"], ["waiting", "stalled"]])
async def test_states(queue: Queue, states: list[str]) -> None:
    await refused(lambda queue: queue.get_jobs(states), queue, InvalidOption, states[-1])
    await refused(lambda queue: queue.get_job_counts(*states), queue, InvalidOption, states[-1])


WORKER_OPTIONS: dict[str, tuple[dict[str, object], str]] = {
    "unknown": ({"concurency": 3}, "concurrency"),
    "BullMQ lockDuration": ({"lockDuration": 30_000}, "lease"),
    "Celery max_tasks_per_child": ({"max_tasks_per_child": 5}, "recycle"),
    "a lease of 30": ({"lease": 30}, "lease"),
    "no concurrency": ({"concurrency": 0}, "concurrency"),
    "concurrency as str": ({"concurrency": "5"}, "concurrency"),
    "an option of jobs": ({"attempts": 3}, "option of the job"),
    "hang_limit below the lease": ({"hang_limit": "10s"}, "hang_limit"),
}


@pytest.mark.parametrize(("options", "words"), WORKER_OPTIONS.values(), ids=WORKER_OPTIONS)
def test_worker_options(options: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidOption, match=words):
        Worker("q", print, "redis://127.0.0.1:1", **cast("Any", options))


@pytest.mark.parametrize("handler", [None, 5, {}, {"name": 5}, {5: print}])
def test_handlers(handler: object) -> None:
    with pytest.raises(InvalidOption, match="handler"):
        Worker("q", cast("Any", handler), "redis://127.0.0.1:1")
