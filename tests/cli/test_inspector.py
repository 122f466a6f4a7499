"""Tests for L{burrow.cli.inspector}: which inspector a command asks."""

import json
import os
import subprocess
import sys

import pytest

from burrow.cli import inspector
from burrow.client.inspect.service import NOTES

HERE, THERE = "http://127.0.0.1:4040", "http://127.0.0.1:4041"


@pytest.fixture
def note(monkeypatch, tmp_path):
    """Leaves a note of a process. Every inspector answers."""
    monkeypatch.setattr(inspector, "state_folder", lambda: tmp_path)
    monkeypatch.setattr(inspector, "_is_inspector", lambda url: True)
    (tmp_path / NOTES).mkdir()

    def leave(pid, url):
        path = tmp_path / NOTES / f"{pid}-{url.rpartition(':')[2]}.json"
        path.write_text(json.dumps({"pid": pid, "url": url}))
        return path

    return leave


@pytest.fixture
def gone():
    """The id of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_a_killed_agents_note_goes_though_another_has_its_port(note, gone):
    lives, left = note(os.getpid(), HERE), note(gone, HERE)
    assert inspector.noted() == [HERE]
    assert lives.exists()
    assert not left.exists()
    assert inspector.choose(None)


def test_one_inspector_is_told_once(note):
    note(os.getpid(), HERE)
    note(os.getppid(), HERE)
    assert inspector.noted() == [HERE]
    note(1, THERE)
    assert sorted(inspector.noted()) == [HERE, THERE]
