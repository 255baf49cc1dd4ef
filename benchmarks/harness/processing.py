"""Scenarios of workers at full load."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.harness.case import Case, Result, sized_payload
from benchmarks.harness.contender import Contender, fill, settled
from benchmarks.harness.meter import Meter, both
from benchmarks.harness.processes import Companion, Cue
from benchmarks.harness.work import Hashing, Waiting, Work

CHUNK_BYTES = 4_000_000


async def process_all(
    contender: Contender,
    work: Work,
    meter: Meter,
    case: Case,
    *,
    threads: bool = False,
    begin: Callable[[], None] = lambda: None,
) -> None:
    """Run a worker until all is settled, with the meter on from before it connects."""
    meter.start()
    async with contender.worker(work, concurrency=case.concurrency, threads=threads):
        begin()
        await work.done.wait()
        await settled(contender)
        meter.stop()
        if work.ran != work.count:
            # Its figure would not count the same work.
            raise RuntimeError(f"{work.ran - work.count} jobs ran more than once")


async def process(contender: Contender, case: Case) -> Result:
    """All jobs are there before the worker starts."""
    return await _processed(contender, case, Work(case.count))


async def process_threads(contender: Contender, case: Case) -> Result:
    """The same with `def` handlers in threads."""
    return await _processed(contender, case, Work(case.count), threads=True)


async def wait(contender: Contender, case: Case) -> Result:
    """Handlers that wait; at best `concurrency` / wait of them are done a second."""
    seconds = case.wait_us / 1e6
    result = await _processed(contender, case, Waiting(case.count, seconds=seconds))
    best = case.count / case.concurrency * seconds
    result["extra"]["of_the_possible"] = best / result["seconds"]
    return result


async def compute(contender: Contender, case: Case) -> Result:
    """Handlers that hash 64 KiB, in threads where the library offers both."""
    return await _processed(contender, case, Hashing(case.count), threads=True)


async def _processed(contender: Contender, case: Case, work: Work, *, threads: bool = False) -> Result:
    meter = Meter(case)
    await fill(contender, case.count)
    await process_all(contender, work, meter, case, threads=threads)
    return meter.result(case.count)


async def process_two(contender: Contender, case: Case) -> Result:
    """Two worker processes share the jobs."""
    meter, other = Meter(case), Companion(case, "worker")
    await fill(contender, case.count)
    meter.start()
    async with contender.worker(Work(case.count + 1), concurrency=case.concurrency):
        other.go()
        await settled(contender)
        meter.stop()
    other.stop()
    return meter.result(case.count, others=[other.finish()])


async def work_beside(contender: Contender, case: Case) -> None:
    """The second worker of `process_two`."""
    cue = Cue()
    await cue.ready()
    async with contender.worker(Work(case.count + 1), concurrency=case.concurrency):
        await cue.told()
        # Some count failed jobs only where they ran: raise here, too.
        await contender.pending()
    cue.report()


async def produce_and_process(contender: Contender, case: Case) -> Result:
    """A producer process and a worker process, from the first add until all is settled."""
    meter, producer, work = Meter(case), Companion(case, "producer"), Work(case.count)
    await process_all(contender, work, meter, case, begin=producer.go)
    return meter.result(case.count, others=[producer.finish()])


async def produce(contender: Contender, case: Case) -> None:
    """The producer of `produce_and_process`."""
    cue = Cue()
    await cue.ready()
    await fill(contender, case.count, case.batch)
    cue.report()


async def payloads(contender: Contender, case: Case) -> Result:
    """Jobs of one size, added in bulk and then processed."""
    adding, processing = Meter(case), Meter(case)
    batch = max(1, min(case.batch, CHUNK_BYTES // case.size))
    chunk = [sized_payload(i, case.size) for i in range(batch)]
    adding.start()
    for left in range(case.count, 0, -batch):
        await contender.add_bulk(chunk if left >= batch else chunk[:left])
    adding.stop()
    await process_all(contender, Work(case.count), processing, case)
    return both(adding, processing, case.count, _rates(case.count, adding, processing))


async def priorities(contender: Contender, case: Case) -> Result:
    """Jobs of ten priorities, mixed, added in bulk and then processed."""
    adding, processing = Meter(case), Meter(case)
    chunk = [contender.payload(i) for i in range(case.batch)]
    levels = [1 + i * 7 % 10 for i in range(case.batch)]
    adding.start()
    for left in range(case.count, 0, -case.batch):
        await contender.add_bulk(chunk[:left], priorities=levels[:left])
    adding.stop()
    await process_all(contender, Work(case.count), processing, case)
    return both(adding, processing, case.count, _rates(case.count, adding, processing))


def _rates(jobs: int, adding: Meter, processing: Meter) -> dict[str, float]:
    return {"added_per_s": jobs / adding.seconds, "processed_per_s": jobs / processing.seconds}
