"""The commands that docs/security.md grants are enough for everything, and each of them is needed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
import redis

from bullrush import Bullrush, Completed, Deduplication, Finding, Job, Queue
from bullrush.operations.permissions import BY_CLIENTS, BY_SCRIPTS, BY_TOOLS, NEEDED
from bullrush.scripts import load

ROOT = Path(__file__).parents[2]
TOOLS = {"survey", "inspect", "balance", "mend", "allowed"}
SUBCOMMANDS = {"INFO", "CONFIG|GET"}
CALL = re.compile(r'(?:redis\.call|scan)\("(\w+)"')


def commands_of(names: set[str]) -> set[str]:
    return {command for name in names for command in CALL.findall(load(name).source.decode())}


def test_the_list_has_what_the_scripts_run() -> None:
    folder = files("bullrush").joinpath("lua")
    scripts = {path.name.removesuffix(".lua") for path in folder.iterdir() if path.name.endswith(".lua")}
    assert set(BY_SCRIPTS) == commands_of(scripts - TOOLS)
    assert commands_of(TOOLS) <= {*BY_SCRIPTS, *BY_CLIENTS, *BY_TOOLS}


def test_a_queue_asks_for_no_command_that_nobody_runs() -> None:
    asked = re.search(r"COMMANDS = \{(.*?)\}", load("open").source.decode(), re.DOTALL)
    assert asked is not None
    assert set(re.findall(r'"(\w+)"', asked[1])) <= set(BY_SCRIPTS)


def test_the_page_grants_exactly_that() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    users = dict(
        re.findall(r"^ACL SETUSER (\w+) .*?~\{bullrush:\*(.*?)\n```", page, re.MULTILINE | re.DOTALL)
    )
    granted = {
        name: {word[1:].upper() for word in re.findall(r"\+[\w|]+", text)} for name, text in users.items()
    }
    assert granted["bullrush"] == set(NEEDED)
    assert granted["keeper"] == {*NEEDED, *BY_TOOLS, *SUBCOMMANDS, "WAITAOF"}


class Grant:
    """Give a user a list of commands, on the keys of one prefix."""

    def __init__(self, client: redis.Redis, url: str, prefix: str) -> None:
        self.client, self.url, self.prefix = client, url, prefix

    def __call__(self, commands: set[str]) -> str:
        self.client.execute_command(
            "ACL", "SETUSER", "narrow", "reset", "on", "nopass", f"~{{{self.prefix}:*",
            *(f"+{name.lower()}" for name in sorted(commands)),
        )  # fmt: skip
        return self.url.replace("redis://", "redis://narrow:any@")


@pytest.fixture
def grant(redis_client: redis.Redis, url: str, prefix: str) -> Iterator[Grant]:
    yield Grant(redis_client, url, prefix)
    redis_client.acl_deluser("narrow")


async def whole_life(url: str, prefix: str) -> None:
    """Producer, worker, management and events, all under one user."""

    async def work(job: Job) -> int:
        await job.log("line")
        await job.update_progress(1)
        if job.name == "bad":
            raise ValueError("no")
        return 1

    async with Queue("q", url, prefix=prefix) as queue, queue.events() as events:
        await queue.set_global_concurrency(50)
        await queue.add_bulk([("a", n) for n in range(20)])
        jobs = [
            await queue.add("a", priority=2),
            await queue.add("bad"),
            await queue.add("a", delay=1),
        ]
        await queue.add("a", deduplication=Deduplication("k", mode="keep-last"))
        await queue.add("a", delay="1h", job_id="later")
        removed = await queue.add("a", lifo=True, remove_on_complete=1)
        await queue.remove(removed.id)
        async with queue.process(work, concurrency=5) as worker:
            await jobs[0].result("20s")
            await worker.wait_idle("20s")
            assert await queue.get_workers_count() == 1 and len(await queue.get_workers()) == 1
        async with asyncio.timeout(20):
            async for event in events:
                if isinstance(event, Completed):
                    break
        assert await queue.retry_jobs() == 1, await queue.get_job_counts()
        assert (await queue.get_job_counts())["completed"] >= 20
        await queue.get_jobs()
        await queue.get_metrics("completed")
        await queue.get_job_logs(jobs[0].id)
        await queue.get_counts_per_priority([0, 2])
        await queue.promote_jobs()
        await queue.clean(0)
        await queue.drain(delayed=True)
        await queue.trim_events(1)
        await queue.publish_event("mine", 1)
        await queue.pause()
        await queue.obliterate(force=True)


async def test_the_list_is_enough_for_a_whole_life(grant: Grant) -> None:
    await whole_life(grant(set(NEEDED)), grant.prefix)


async def test_the_keepers_list_is_enough_for_fsck_and_doctor(
    grant: Grant, redis_client: redis.Redis
) -> None:
    url = grant({*NEEDED, *BY_TOOLS, *SUBCOMMANDS})
    async with Bullrush(url, prefix=grant.prefix) as app:
        queue = app.queue("q")
        await queue.add_bulk([("a", n) for n in range(20)])
        redis_client.unlink(queue.keys["waiting"])
        assert (await queue.fsck(repair=True)).repaired == 20
        assert app.list_queues() == ["q"]
        diagnosis = await app.doctor()
    permission = [finding for finding in diagnosis.findings if finding.check == "permission"]
    assert [finding.level for finding in permission] == ["ok"], diagnosis


@pytest.mark.parametrize("missing", NEEDED)
async def test_the_doctor_names_what_is_missing(grant: Grant, missing: str) -> None:
    url = grant({*NEEDED, *BY_TOOLS, *SUBCOMMANDS} - {missing})
    async with Bullrush(url, prefix=grant.prefix) as app:
        found: list[Finding] = [f for f in (await app.doctor()).findings if f.check == "permission"]
    assert [finding.level for finding in found] == ["bad"]
    assert f"may not run {missing}" in found[0].what
