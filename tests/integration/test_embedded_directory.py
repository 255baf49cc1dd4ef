"""Where an embedded server keeps its data: any name will do, others must not get in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bullrush import embedded
from bullrush.errors import InvalidOption
from tests.embedded_users import client, is_alive, needs_server, pid_of
from tests.waiting import wait_until

pytestmark = needs_server


@pytest.mark.parametrize("name", ["with space", "quote'\"$HOME`x`", "ünïcode"])
def test_any_name_of_a_directory(tmp_path: Path, name: str) -> None:
    with embedded.start(str(tmp_path / name)) as server, client(server.socket_path) as connection:
        assert connection.config_get("dir")["dir"] == str(tmp_path / name)
        pid = pid_of(server.socket_path)
    wait_until(lambda: not is_alive(pid))


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o770])
def test_a_directory_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    with pytest.raises(InvalidOption, match=rf"mode {mode:04o}.*chmod 700"):
        embedded.start(str(tmp_path / "open"))
    assert not any((tmp_path / "open").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 12345, 12345)
    with pytest.raises(InvalidOption, match="belongs to user id 12345"):
        embedded.start(str(tmp_path / "theirs"))


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidOption, match="no directory"):
        embedded.start(str(tmp_path / "file"))


def test_a_long_path_gets_a_short_private_socket(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 20) / ("path" * 20)
    with embedded.start(str(long)) as server, client(server.socket_path) as connection:
        assert connection.ping()
        pid = pid_of(server.socket_path)
        assert len(server.socket_path) <= embedded.LONGEST_SOCKET_PATH
        assert Path(server.socket_path).parent.stat().st_mode & 0o777 == 0o700
    wait_until(lambda: not is_alive(pid))


def test_a_link_in_place_of_the_short_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setattr(embedded, "SHORT_DIRECTORY", str(tmp_path / "link"))
    with pytest.raises(InvalidOption, match="link"):
        embedded.start(str(tmp_path / ("long" * 20) / ("path" * 20)))


def test_without_a_path_it_is_the_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with embedded.start() as server:
        assert server.directory == tmp_path / "bullrush"
        pid = pid_of(server.socket_path)
    wait_until(lambda: not is_alive(pid))
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", "/home/me")
    assert embedded.default_directory() == Path("/home/me/.local/state/bullrush")
