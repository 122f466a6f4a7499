"""Tests for L{burrow.server.nodes.lifetimes}: who has ended."""

import os
import signal
import subprocess
import sys

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from burrow.server.nodes.lifetimes import FOLDER, Lifetimes
from burrow.server.nodes.records import NODES
from burrow.store.memory import MemoryStore

NODE = """
import sys, time
from pathlib import Path
from burrow.server.nodes.lifetimes import Lifetimes
lifetimes = Lifetimes(Path(sys.argv[1]))
lifetimes.begin("other")
print("begun", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that is a node."""
    with subprocess.Popen([sys.executable, "-c", NODE, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"begun\n"
        yield process
        process.kill()


def names(tmp_path):
    return sorted(os.listdir(tmp_path / FOLDER))


def test_a_node_that_lives_has_not_ended_and_one_that_was_killed_has(tmp_path, other):
    ours = Lifetimes(tmp_path)
    ours.begin("ours")
    assert ours.ended() == []
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert ours.ended() == ["other"]
    store = MemoryStore(lambda: 0.0)
    for node in ("other", "another"):
        store.put_note(NODES, node, "{}")
    assert ours.ended() == ["other"]  # until its note is removed
    assert Deferred.fromCoroutine(ours.clear(store)).called
    assert store.notes(NODES).result == {"another": "{}"}
    assert (ours.ended(), names(tmp_path)) == ([], ["ours"])
    assert Deferred.fromCoroutine(ours.clear(store)).called


def test_a_node_that_never_had_a_note_is_forgotten(tmp_path):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "x").touch()
    ours = Lifetimes(tmp_path)
    assert Deferred.fromCoroutine(ours.clear(MemoryStore(lambda: 0.0))).called
    assert names(tmp_path) == []


def test_one_that_ends_by_itself_leaves_nothing(tmp_path):
    one, two = Lifetimes(tmp_path), Lifetimes(tmp_path)
    one.begin("one")
    two.begin("two")
    assert two.ended() == []
    one.end()
    one.end()
    assert (two.ended(), names(tmp_path)) == ([], ["two"])


def test_files_that_never_got_their_name_are_removed_later(tmp_path):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / ".new-x").touch()
    began = (tmp_path / FOLDER / ".new-x").stat().st_mtime
    time = [began]
    ours = Lifetimes(tmp_path, now=lambda: time[0])
    assert (ours.ended(), names(tmp_path)) == ([], [".new-x"])
    time[0] += 61
    assert (ours.ended(), names(tmp_path)) == ([], [])


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / FOLDER).touch()
    ours = Lifetimes(tmp_path)
    with capturedLogs() as events:
        ours.begin("ours")
    assert [event["log_level"].name for event in events] == ["warn"]
    assert ours.ended() == []
    ours.end()


def test_without_notes_that_outlive_a_node_nothing_is_written(tmp_path):
    ours = Lifetimes(None)
    ours.begin("ours")
    assert ours.ended() == []
    assert Deferred.fromCoroutine(ours.clear(MemoryStore(lambda: 0.0))).called
    ours.end()
