"""A power cut for one server: it is killed, and its files lose what had not been synced.

    power = Power(tmp_path)
    server = private_server("redis", environment=power.environment)
    power.cut(server, chance)  # then server.start(), as a machine that boots again

After SIGKILL alone nothing is lost: the kernel still has what was written. Only what fsync had returned for survives a
power cut, plus as much of the rest as chance will have it. A rename counts from the next sync of a folder on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.faults.shims import build
from tests.servers import Server


class Loss(NamedTuple):
    """What a cut took."""

    bytes: int  # of what the server had written
    renames: int


@dataclass
class _Survivors:
    """What the notes say of a disk: bytes of each file, and renames that may still be undone."""

    synced: dict[str, int] = field(default_factory=dict[str, int])
    pending: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])

    def read(self, line: str) -> None:
        kind, _, rest = line.rstrip("\n").partition(" ")
        if kind in "ST":
            file, _, size = rest.rpartition(" ")
            known = self.synced.get(file, 0)
            self.synced[file] = max(known, int(size)) if kind == "S" else min(known, int(size))
        elif kind == "R":
            old, new, spare = rest.split("\t")
            self.pending.append((old, new, spare))
        elif kind == "D":
            self.pending.clear()


class Power:
    """The power supply of the servers that were started with `environment`."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "synced"
        self._log.touch()
        self.environment = {"LD_PRELOAD": str(build("lossy", folder)), "LOSSY_LOG": str(self._log)}

    def cut(self, server: Server, chance: Random | None = None) -> Loss:
        """Kill the server and take away what a disk would not have; with `chance` the unsynced ends go in part."""
        with server.frozen():  # so that its children stay its children until they are gone
            for child in _children(server.pid):
                os.kill(child, signal.SIGKILL)
            server.kill()
        survivors = _Survivors()
        for line in self._log.read_text().splitlines():
            survivors.read(line)
        lost = sum(_cut(file, survivors, chance) for file in _files(server.folder))
        for old, new, spare in reversed(survivors.pending):
            _undo(server.folder, old, new, spare)
        self._begin_anew(server.folder)
        return Loss(lost, len(survivors.pending))

    def _begin_anew(self, folder: Path) -> None:
        """What has survived is on the disk."""
        for file in folder.rglob("*.spare-*"):
            file.unlink()
        lines = [f"S {_name(file)} {file.stat().st_size}\n" for file in _files(folder)]
        self._log.write_text("".join(lines))


def _children(pid: int) -> list[int]:
    """Processes that save or rewrite in the background."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _cut(file: Path, survivors: _Survivors, chance: Random | None) -> int:
    size = file.stat().st_size
    kept = min(size, survivors.synced.get(_name(file), 0))
    if chance is not None and chance.random() < 0.5:
        kept = chance.randint(kept, size)
    if kept < size:
        with file.open("r+b") as opened:
            opened.truncate(kept)
    return size - kept


def _undo(folder: Path, old: str, new: str, spare: str) -> None:
    """Let a rename not have happened."""
    if not (folder / new).exists():
        return  # removed since, which a disk may have kept or not
    (folder / new).rename(folder / old)
    if spare:
        (folder / spare).rename(folder / new)


def _files(folder: Path) -> Iterator[Path]:
    """The data of the server: the append-only files with their manifest, and snapshots."""
    for file in folder.rglob("*"):
        if file.is_file() and file.name != "server.log":
            yield file


def _name(file: Path) -> str:
    """How the notes call it: a rename doesn't change that."""
    found = file.stat()
    return f"{found.st_dev}:{found.st_ino}"
