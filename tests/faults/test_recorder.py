"""What was said is written down, whatever becomes of who said it; forked processes end with their template."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.recorder import Notes, Recorder
from tests.faults.roles import Place, ProducerRole, WorkerRole
from tests.faults.template import Template
from tests.waiting import wait_until

SAYS_AND_DIES = """
import os, signal, sys
from tests.faults.recorder import Notes
notes = Notes(sys.argv[1])
for key in range(5_000):
    notes.started(key, "id", 1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_notes_survive_the_end_of_their_sender(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        died = subprocess.run(
            [sys.executable, "-c", SAYS_AND_DIES, recorder.address], check=False, timeout=60
        )
    assert died.returncode == -signal.SIGKILL
    assert [note.key for note in recorder.read()] == list(range(5_000))


def test_each_note_says_who_when_and_what(tmp_path: Path) -> None:
    before = time.monotonic()
    with Recorder(tmp_path) as recorder:
        notes = Notes(recorder.address)
        notes.acknowledged(7, "an id")
        notes.error(ValueError("two\nlines\tand a tab"))
    first, second = recorder.read()
    assert first[:1] + first[2:] == ("acknowledged", os.getpid(), 7, "an id", 0)
    assert before - 1 < first.at <= time.monotonic()
    assert second.id == "ValueError: two lines and a tab"


def test_notes_can_be_followed(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        notes = Notes(recorder.address)
        notes.tried(1)
        wait_until(lambda: recorder.path.read_bytes(), what="the first note")
        follower = recorder.follow()
        notes.tried(2)
        assert [note.key for note in wait_until(follower.new, what="the second note")] == [2]
        assert follower.new() == []
        follower.close()


def test_forked_processes_work_are_killed_and_end_with_their_template(url: str, tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder, Template() as template:
        place = Place(url=url, queue="q", notes=recorder.address)
        worker = template.start(WorkerRole(place=place))
        producer = template.start(ProducerRole(place=place, first=5, count=3))
        assert template.wait(producer) == 0
        wait_until(
            lambda: [note.kind for note in recorder.read()].count("done") == 3, what="three to be done"
        )
        assert {note.pid for note in recorder.read() if note.kind == "done"} == {worker}
        template.kill(worker)
        other = template.start(WorkerRole(place=place))
        assert template.alive == {other}
        assert template.ended() == []
    assert not is_running(other)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
