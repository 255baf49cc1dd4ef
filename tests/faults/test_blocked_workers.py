"""Handlers that stop the loop or keep the interpreter's lock for three leases: their worker is healthy."""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

import pytest

from bullrush import Job, Queue
from bullrush.options import JobOptions
from tests.conftest import PrivateServer
from tests.faults.crew import Crew, Settings, Style, crew
from tests.servers import KINDS, Kind, Server, free_port
from tests.waiting import wait_until_async

LEASE = 1.0
KEPT: JobOptions = {"remove_on_complete": False}
BLOCKING: tuple[Style, ...] = tuple(style for style in get_args(Style) if style not in ("async", "thread"))


class Second:
    """The handler of a second worker, and the leases that it found dead."""

    def __init__(self) -> None:
        self.runs = Counter[str]()
        self.stalled = list[str]()

    async def __call__(self, job: Job) -> str:
        self.runs[job.id] += 1
        return "second"


def settings_for(
    server: Server, prefix: str, folder: Path, style: Style, leases: float, hang_limit: float | None = None
) -> Settings:
    return Settings(
        url=server.url,
        prefix=prefix,
        queue=style,
        log=str(folder / style),
        concurrency=1,
        seconds=leases * LEASE,
        style=style,
        hang_limit_ms=None if hang_limit is None else int(hang_limit * 1000),
    )


async def start_one(workers: Crew, queue: Queue, name: str = "work") -> Job:
    """Add a job and wait until the crew has begun it; the second worker claims nothing meanwhile."""
    job = await queue.add(name, None)
    await wait_until_async(lambda: job.id in {start.job_id for start in workers.starts()}, 30)
    return job


async def keeps_its_jobs(settings: Settings, runs: int) -> None:
    second = Second()
    async with Queue(settings.queue, settings.url, prefix=settings.prefix, defaults=KEPT) as queue:
        with crew(settings) as workers:
            workers.add()
            other = queue.process(second, lease=int(LEASE * 1000))
            other.on("stalled", second.stalled.append)
            async with other:
                jobs = list[Job]()
                for _ in range(runs):
                    await other.pause()
                    jobs.append(await start_one(workers, queue))
                    await other.resume()
                    await other.wait_idle("60s")
            assert workers.stop() == [0]
        starts = Counter(start.job_id for start in workers.starts())
        assert second.stalled == []
        assert second.runs == {}
        assert starts == dict.fromkeys((job.id for job in jobs), 1)
        for job in jobs:
            await job.refresh()
            assert (job.state, job.returnvalue, job.attempts_started) == ("completed", job.id, 1)


@pytest.mark.parametrize("runs", [1, pytest.param(13, marks=pytest.mark.long)])
async def test_a_handler_that_stops_its_process_for_three_leases_is_not_run_again(
    server: Server, url: str, prefix: str, tmp_path: Path, runs: int
) -> None:
    """All kinds at the same time, each with a second worker that looks for dead ones."""
    await asyncio.gather(
        *(keeps_its_jobs(settings_for(server, prefix, tmp_path, style, 3), runs) for style in BLOCKING)
    )


async def is_taken_over(settings: Settings) -> None:
    second = Second()
    async with Queue(settings.queue, settings.url, prefix=settings.prefix, defaults=KEPT) as queue:
        with crew(settings) as workers:
            workers.add()
            job = await start_one(workers, queue)
            other = queue.process(second, lease=int(LEASE * 1000))
            other.on("stalled", second.stalled.append)
            async with other:
                await wait_until_async(lambda: second.runs, 20, what="the job to be taken over")
                await other.wait_idle("20s")
            before = await job.refresh()
            assert (before.state, before.returnvalue, before.attempts_started) == ("completed", "second", 2)
            assert second.stalled == [job.id]
            # Once it turns again it registers anew and works; its own outcome is refused.
            late = await start_one(workers, queue, "quick")
            assert workers.stop(40) == [0]
        await late.refresh()
        after = await job.refresh()
        assert (late.state, late.returnvalue) == ("completed", late.id)
        assert (after.state, after.returnvalue, after.attempts_started) == ("completed", "second", 2)
        assert Counter(start.job_id for start in workers.starts()) == {job.id: 1, late.id: 1}


@pytest.mark.parametrize(
    "kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.long) for kind in KINDS[1:])]
)
async def test_past_the_hang_limit_others_take_the_job_and_the_late_end_is_refused(
    private_server: PrivateServer, prefix: str, tmp_path: Path, kind: Kind, capfd: pytest.CaptureFixture[str]
) -> None:
    """And the process says so, when it hangs or as soon as it can."""
    server = private_server(kind)
    await asyncio.gather(
        *(is_taken_over(settings_for(server, prefix, tmp_path, style, 6, 1)) for style in BLOCKING)
    )
    said = capfd.readouterr().err
    assert said.count("(hang_limit): the lease is not renewed") == len(BLOCKING)
    assert said.count("its jobs run elsewhere, their outcomes here are dropped") == len(BLOCKING)


def tls_options(folder: Path, port: int) -> tuple[str, ...]:
    """What makes a server speak TLS, with a certificate made for it."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    command += " -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    certificate, key = str(folder / "cert.pem"), str(folder / "key.pem")
    options = {"port": str(port), "cert-file": certificate, "key-file": key, "ca-cert-file": certificate}
    options["auth-clients"] = "no"
    return tuple(word for name, value in options.items() for word in (f"--tls-{name}", value))


@pytest.mark.parametrize("hangs", [False, pytest.param(True, marks=pytest.mark.long)])
async def test_it_holds_through_a_unix_socket_and_for_a_blocked_loop_through_tls(
    private_server: PrivateServer, prefix: str, tmp_path: Path, hangs: bool
) -> None:
    port = free_port()
    server = private_server(extra=tls_options(tmp_path, port))
    urls = {
        "block": f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path}/cert.pem",
        "hold": server.unix_url,
    }
    assert set(urls) < set(BLOCKING)
    leases, hang_limit = (6, 1) if hangs else (3, None)
    settings = [
        replace(settings_for(server, prefix, tmp_path, cast("Style", style), leases, hang_limit), url=url)
        for style, url in urls.items()
    ]
    await asyncio.gather(*(is_taken_over(each) if hangs else keeps_its_jobs(each, 1) for each in settings))
