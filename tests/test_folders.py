"""Tests for L{burrow.folders}."""

import stat
from pathlib import Path

import pytest

from burrow.folders import config_folder, state_folder, write_whole


def test_folders(monkeypatch):
    assert config_folder({"XDG_CONFIG_HOME": "/c"}) == Path("/c/burrow")
    assert state_folder({}) == Path.home() / ".local/state/burrow"
    monkeypatch.setattr("sys.platform", "win32")
    assert state_folder({"LOCALAPPDATA": "/local"}) == Path("/local/burrow")


def test_file_is_whole_and_for_its_user_alone(tmp_path):
    path = tmp_path / "deep" / "secret"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["secret"]


def test_of_several_who_write_the_first_counts(tmp_path):
    path = tmp_path / "key"
    write_whole(path, b"one", first=True)
    write_whole(path, b"two", first=True)
    assert path.read_bytes() == b"one"
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_file_system_without_links(tmp_path, monkeypatch):
    def no_links(*paths):
        raise PermissionError

    monkeypatch.setattr("os.link", no_links)
    write_whole(tmp_path / "key", b"one", first=True)
    assert (tmp_path / "key").read_bytes() == b"one"
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_file_that_cannot_be_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", b"one")
