"""Tests for L{burrow.folders}."""

from pathlib import Path

from burrow.folders import config_folder, state_folder


def test_folders(monkeypatch):
    assert config_folder({"XDG_CONFIG_HOME": "/c"}) == Path("/c/burrow")
    assert state_folder({}) == Path.home() / ".local/state/burrow"
    monkeypatch.setattr("sys.platform", "win32")
    assert state_folder({"LOCALAPPDATA": "/local"}) == Path("/local/burrow")
