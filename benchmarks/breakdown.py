"""``python -m benchmarks.breakdown``: where the time of a job goes, stage by stage, next to what each costs at least.

Two plain runs at full load, `add_bulk` of 1,000 and a worker at concurrency 100, give the totals: CPU of the client from
the operating system, CPU of the server from INFO, and of each command inside the scripts from `INFO commandstats`. The client's
stages are then timed alone, on the compiled core without a socket; what the totals have beyond them is the event loop, the
interpreter's memory and the kernel. The floors are the least that the same step costs: hiredis alone, an empty task, an empty script.
Written to benchmarks/results/breakdown.json, from which the page is made.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import hiredis
import redis

import bullrush
from benchmarks import server
from benchmarks.harness.case import Case, payload
from benchmarks.harness.meter import Meter
from benchmarks.machine import Cores, Machine
from benchmarks.micro.test_micro_exchange import IDS, JOBS, RECORD, make_exchange, reply
from bullrush._core.frames import encode_command

RESULT = Path(__file__).parent / "results" / "breakdown.json"
TOTAL = 400_000
ROUNDS = 30
CHUNK: list[Any] = [("noop", payload(i)) for i in range(1_000)]
COMMANDS_SHOWN = 0.02


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of a job's way: what it takes (µs), and the least that it can take, None where nothing is known."""

    stage: str
    side: str
    us_per_job: float
    floor_us: float | None
    note: str


def main() -> int:
    """Measure, print, and write the file."""
    cores = Cores.of_this_machine(pin=True)
    if cores.client is not None:
        os.sched_setaffinity(0, {cores.client})
    binary = server.find("redis")
    with server.running(binary, cores) as port:
        gc.collect()
        gc.freeze()
        case, control = Case("breakdown", TOTAL, port), redis.Redis(port=port)
        adding, processing = asyncio.run(_run(case, control))
        empty = _empty_script_us(control)
    stages = [
        *_adding_stages(adding.meter),
        *_server_stages("add", adding, empty),
        *_worker_stages(processing.meter),
        *_server_stages("exchange", processing, empty),
    ]
    for stage in stages:
        floor = "" if stage.floor_us is None else f"{stage.floor_us:6.3f}"
        print(f"{stage.side:7} {stage.us_per_job:6.3f} {floor:6}  {stage.stage}: {stage.note}")
    machine = Machine.now(server.describe(binary), cores)
    RESULT.write_text(
        json.dumps(
            {
                "title": "A plain job, added 1,000 at a time and processed at concurrency 100",
                "commit": machine.commit,
                "stages": [asdict(stage) for stage in stages],
                "machine": asdict(machine),
            },
            indent=1,
        )
        + "\n"
    )
    return 0


@dataclass(frozen=True, slots=True)
class Load:
    """A run at full load: CPU of both sides, and what the server says of its commands."""

    meter: Meter
    commands: dict[str, Any]


async def _run(case: Case, control: redis.Redis) -> tuple[Load, Load]:
    async with bullrush.Queue("bench", case.url) as queue:
        await queue.add_bulk(CHUNK)
        return await _added(queue, case, control), await _processed(queue, case, control)


async def _added(queue: bullrush.Queue[Any, Any], case: Case, control: redis.Redis) -> Load:
    meter = Meter(case)
    control.config_resetstat()
    meter.start()
    for _ in range(TOTAL // len(CHUNK)):
        await queue.add_bulk(CHUNK)
    meter.stop()
    return Load(meter, control.info("commandstats"))


async def _processed(queue: bullrush.Queue[Any, Any], case: Case, control: redis.Redis) -> Load:
    meter, left, done = Meter(case), TOTAL + len(CHUNK), asyncio.Event()

    async def handler(_job: bullrush.Job[Any, Any]) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done.set()

    worker = bullrush.Worker(queue, handler, concurrency=100)
    control.config_resetstat()
    meter.start()
    async with worker:
        await done.wait()
        meter.stop()
        return Load(meter, control.info("commandstats"))


# The server.


def _server_stages(script: str, load: Load, empty_us: float) -> list[Stage]:
    """Commands as the server timed them, the script around them, and the rest: sockets, parsing, replies."""
    total, stats = load.meter.redis_s / TOTAL * 1e6, load.commands
    inside = {
        name.removeprefix("cmdstat_"): entry["usec"] / TOTAL
        for name, entry in stats.items()
        if name not in ("cmdstat_evalsha", "cmdstat_info", "cmdstat_config|resetstat")
    }
    calls = stats["cmdstat_evalsha"]
    in_scripts = calls["usec"] / TOTAL
    shown = {name: us for name, us in inside.items() if us >= COMMANDS_SHOWN}
    stages = [
        Stage(f"{script}: {name.upper()}", "server", us, us, "the command itself")
        for name, us in sorted(shown.items(), key=lambda item: -item[1])
    ]
    small = sum(inside.values()) - sum(shown.values())
    around = in_scripts - sum(inside.values())
    each = empty_us * calls["calls"] / TOTAL
    return [
        *stages,
        Stage(f"{script}: other commands", "server", small, None, "less than 0.02 µs each"),
        Stage(
            f"{script}: Lua",
            "server",
            around,
            each,
            "arguments in and out; the floor is a script that does nothing",
        ),
        Stage(
            f"{script}: sockets and protocol",
            "server",
            max(0.0, total - in_scripts),
            None,
            "reading, parsing, writing",
        ),
    ]


def _empty_script_us(control: redis.Redis) -> float:
    """What a script call costs that has 22 keys and does nothing."""
    sha, keys = control.script_load("return 1"), [f"key{i}" for i in range(22)]
    control.config_resetstat()
    for _ in range(2_000):
        control.evalsha(sha, len(keys), *keys)
    usec: float = control.info("commandstats")["cmdstat_evalsha"]["usec_per_call"]
    return usec


# The client.


def _adding_stages(meter: Meter) -> list[Stage]:
    queue: bullrush.Queue[Any, Any] = bullrush.Queue("alone", "redis://127.0.0.1:1/0")
    make = _best(lambda: queue._factory.make_all(CHUNK, {}, 1_795_000_000_000), len(CHUNK))
    total = meter.client_s / TOTAL * 1e6
    return [
        Stage("make the job, pack its record", "client", make, None, "check, encode, one copy"),
        Stage(
            "number, frame, send, settle",
            "client",
            max(0.0, total - make),
            None,
            "the call, the socket, the loop, freeing the job",
        ),
    ]


def _worker_stages(meter: Meter) -> list[Stage]:
    total = meter.client_s / TOTAL * 1e6
    parse = _best(_parse_reply, JOBS)
    claim = _claim_us()
    settle = _settle_us()
    task = asyncio.run(_empty_tasks_us())
    rest = max(0.0, total - parse - claim - settle - task)
    return [
        Stage("parse the reply", "client", parse, parse, "hiredis alone"),
        Stage(
            "make the claimed jobs",
            "client",
            claim,
            None,
            "prove the record well-formed; data is decoded when it is looked at",
        ),
        Stage(
            "a task for the handler",
            "client",
            task,
            task,
            "an asyncio task around a coroutine that ends at once",
        ),
        Stage("pack outcomes and the call", "client", settle, None, "outcome, event, frame"),
        Stage(
            "the rest of the client",
            "client",
            rest,
            None,
            "start and end of a run, the handler, sockets, the loop, the collector",
        ),
    ]


def _best(step: Callable[[], object], jobs: int) -> float:
    """The least of some rounds: what it costs when nothing disturbs. µs a job."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return min(times) / jobs * 1e6


def _parse_reply() -> object:
    reader = hiredis.Reader()
    reader.feed(_REPLY)
    return reader.gets()


_REPLY = b"*2\r\n$%d\r\n%b\r\n" % (len(" ".join(IDS)), " ".join(IDS).encode()) + encode_command(
    *[RECORD] * JOBS
)


def _claim_us() -> float:
    times = []
    for _ in range(ROUNDS):
        exchange, answer = make_exchange(), reply()
        began = time.perf_counter()
        exchange.receive(answer, time.monotonic())
        times.append(time.perf_counter() - began)
    return min(times) / JOBS * 1e6


def _settle_us() -> float:
    times = []
    for _ in range(ROUNDS):
        exchange = make_exchange()
        exchange.receive(reply(), time.monotonic())
        jobs = exchange.take_ready(JOBS)
        began = time.perf_counter()
        for job in jobs:
            exchange.complete_with(job, None)
        exchange.poll(time.monotonic())
        times.append(time.perf_counter() - began)
    return min(times) / JOBS * 1e6


async def _empty_tasks_us() -> float:
    async def nothing() -> None:
        return

    loop, times = asyncio.get_running_loop(), []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        tasks = [asyncio.Task(nothing(), loop=loop, name="1") for _ in range(100)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del tasks
        times.append(time.perf_counter() - began)
    return statistics.median(times) / 100 * 1e6


if __name__ == "__main__":
    sys.exit(main())
