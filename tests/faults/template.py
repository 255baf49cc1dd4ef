"""A warmed process that forks workers and producers in milliseconds, so that a run can afford a thousand kills.

As a program, `python -m tests.faults.template`, it obeys lines on standard input. Whatever it has forked ends with it,
and it ends with whoever started it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import traceback
from dataclasses import asdict
from types import TracebackType
from typing import Self

from tests.faults.roles import Place, ProducerRole, WorkerRole
from tests.faults.steps import StepRole

Role = WorkerRole | ProducerRole | StepRole
PR_SET_PDEATHSIG = 1


class Template:
    """Forks processes with a role, and waits for them. Their ids stay theirs until `ended` or `wait` told of them."""

    def __init__(self) -> None:
        self.alive: set[int] = set()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.faults.template"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        for pid in list(self.alive):
            self.kill(pid)
        self._process.communicate(timeout=20)

    def start(self, role: Role) -> int:
        """Fork a process with this role and return its id."""
        pid = int(self._ask(f"start {type(role).__name__} {json.dumps(asdict(role))}"))
        self.alive.add(pid)
        return pid

    def kill(self, pid: int) -> None:
        """End one as a crash would, and wait until it is gone."""
        os.kill(pid, signal.SIGKILL)
        self.wait(pid)

    def wait(self, pid: int) -> int:
        """Wait until this one has ended; its exit code, negative for a signal."""
        code = int(self._ask(f"wait {pid}"))
        self.alive.discard(pid)
        return code

    def stop(self) -> list[int]:
        """Ask all to close in good order; their exit codes."""
        for pid in self.alive:
            os.kill(pid, signal.SIGTERM)
        return [self.wait(pid) for pid in list(self.alive)]

    def ended(self) -> list[int]:
        """Those that have ended by themselves since it was asked last."""
        found = [int(pid) for pid in self._ask("ended").split()]
        self.alive.difference_update(found)
        return found

    def _ask(self, order: str) -> str:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the template ended with {self._process.wait(10)} at {order[:20]!r}")
        return answer


def obey() -> None:
    """Do what the lines say until they end."""
    gc.freeze()
    logging.getLogger("bullrush").setLevel(logging.CRITICAL)  # what goes wrong is ordered here, and noted
    for line in sys.stdin:
        order, _, argument = line.strip().partition(" ")
        if order == "start":
            answer = str(_fork(_role(*argument.split(" ", 1))))
        elif order == "wait":
            answer = str(os.waitstatus_to_exitcode(os.waitpid(int(argument), 0)[1]))
        else:
            answer = " ".join(map(str, _ended()))
        print(answer, flush=True)


def _role(name: str, text: str) -> Role:
    kind: type[Role] = {each.__name__: each for each in (WorkerRole, ProducerRole, StepRole)}[name]
    values = json.loads(text)
    return kind(**{**values, "place": Place(**values["place"])})


def _ended() -> list[int]:
    found: list[int] = []
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        found.append(pid)


def _fork(role: Role) -> int:
    parent = os.getpid()
    if pid := os.fork():
        return pid
    code = 1
    try:
        _end_with(parent)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        role.run()
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def _end_with(parent: int) -> None:
    """Let the kernel kill this child when the template is gone, however it went."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    obey()
