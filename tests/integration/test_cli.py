"""The command line, as a process of its own: what it prints, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import redis

from bullrush.sync import Queue


def bullrush(*words: str, code: int = 0) -> str:
    """Run the command and return what it printed."""
    run = subprocess.run(
        [sys.executable, "-m", "bullrush", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == code, f"{run.returncode}\n{run.stdout}\n{run.stderr}"
    return run.stdout + run.stderr


@pytest.fixture
def words(url: str, prefix: str) -> list[str]:
    return ["--url", url, "--prefix", prefix]


@pytest.fixture
def queue(url: str, prefix: str) -> Queue:
    with Queue("mail", url, prefix=prefix) as queue:
        queue.add_bulk([("a", n) for n in range(5)])
    return queue


def test_help_names_the_commands() -> None:
    text = bullrush("--help")
    assert "doctor" in text and "fsck" in text
    assert "--repair" in bullrush("fsck", "--help")


def test_a_sound_queue(words: list[str], queue: Queue) -> None:
    text = bullrush(*words, "fsck", "mail")
    assert "5 jobs, 5 waiting: nothing is wrong" in text


def test_all_queues_are_found(words: list[str], queue: Queue, url: str, prefix: str) -> None:
    with Queue("other.one", url, prefix=prefix) as other:
        other.add("a")
    lines = [json.loads(line) for line in bullrush(*words, "fsck", "--json").splitlines()]
    assert [line["queue"] for line in lines] == ["mail", "other.one"]
    assert all(line["ok"] and line["problems"] == [] for line in lines)


def test_a_prefix_with_braces(url: str) -> None:
    with Queue("mail", url, prefix="{shop}") as queue:
        queue.add("a")
    assert "queue 'mail'" in bullrush("--url", url, "--prefix", "{shop}", "fsck")


def test_problems_fail_until_they_are_repaired(
    words: list[str], queue: Queue, redis_client: redis.Redis
) -> None:
    redis_client.unlink(queue.keys["waiting"])
    text = bullrush(*words, "fsck", "mail", code=1)
    assert "5 problems" in text and "lost 1: a job that stands nowhere" in text
    assert "5 problems, 5 repaired" in bullrush(*words, "fsck", "--repair")
    bullrush(*words, "fsck", "mail")


def test_what_is_repaired_in_part(words: list[str], queue: Queue, redis_client: redis.Redis) -> None:
    redis_client.hset(queue.keys["meta"].decode(), "held", 7)
    redis_client.set(queue.keys["strange"], "x")
    report = json.loads(bullrush(*words, "fsck", "--repair", "--json", code=5))
    assert {p["kind"]: p["repaired"] for p in report["problems"]} == {"unknown": False, "count": True}


def test_a_queue_that_is_not_there(words: list[str], queue: Queue) -> None:
    assert "there is no queue 'none'" in bullrush(*words, "fsck", "none", code=3)


def test_usage() -> None:
    bullrush("fsck", "--nonsense", code=2)
    bullrush("nonsense", code=2)
    assert "ftp" in bullrush("--url", "ftp://x", "fsck", code=2)


def test_another_layout_is_refused_with_a_reason(
    words: list[str], queue: Queue, redis_client: redis.Redis
) -> None:
    redis_client.hset(queue.keys["meta"].decode(), "layout", "9")
    assert "layout meta: the data has another layout (9)" in bullrush(*words, "fsck", code=1)


def test_the_doctor_prints_what_it_sees(words: list[str]) -> None:
    text = bullrush(*words, "doctor")
    assert "ok   role: primary" in text
    report = json.loads(bullrush(*words, "doctor", "--json"))
    assert {"latency", "clock", "version", "role", "eviction", "permission"} <= {
        finding["check"] for finding in report["findings"]
    }


def test_a_strict_doctor_fails_for_a_warning(words: list[str]) -> None:
    assert "persistence: none" in bullrush(*words, "doctor", "--strict", code=1)


def test_nobody_answers() -> None:
    assert "took_effect" not in bullrush("--url", "redis://localhost:1", "doctor", code=1)
