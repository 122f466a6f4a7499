"""Tests for L{burrow.server.nodes.lifetimes}: who has ended."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

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
lifetimes = Lifetimes(Path(sys.argv[1]), **{"boot": Path(word) for word in sys.argv[2:]})
lifetimes.begin("other")
print("begun", flush=True)
time.sleep(60)
"""


@contextmanager
def a_node(*arguments):
    """Another process that is one."""
    with subprocess.Popen([sys.executable, "-c", NODE, *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"begun\n"
        yield process
        process.kill()


@pytest.fixture
def other(tmp_path):
    """The same."""
    with a_node(tmp_path) as process:
        yield process


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


def test_what_is_no_nodes_file_hides_no_node(tmp_path):
    """Whatever order the folder is read in: a folder, and links to nothing, are before and behind."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name in ("0", "9"):
        (folder / f"{name}-folder").mkdir()
        (folder / f"{name}-link").symlink_to(tmp_path / "nothing")
        (folder / f".new-{name}").symlink_to(tmp_path / "nothing")
    for name in ("1", "2", "3"):
        node = Lifetimes(tmp_path)
        node.begin(name)
        os.close(node._held)  # as the system does for one that was killed
    assert sorted(Lifetimes(tmp_path).ended()) == ["1", "2", "3"]


def test_a_node_that_never_had_a_note_is_forgotten(tmp_path):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "x").touch()
    ours = Lifetimes(tmp_path)
    assert Deferred.fromCoroutine(ours.clear(MemoryStore(lambda: 0.0))).called
    assert names(tmp_path) == []


def nodes_of_a_copy(store, folder, **options):
    """The nodes that have a note after a server has begun with a copy of a state folder."""
    ours = Lifetimes(folder, **options)
    assert Deferred.fromCoroutine(ours.clear(store)).called
    assert names(folder) == []
    return store.notes(NODES).result


def test_a_copy_of_the_folder_says_nothing_of_nodes_that_live(tmp_path, other):
    """A second server of one Redis, with the first's CA: or a backup, or a machine's image."""
    store = MemoryStore(lambda: 0.0)
    store.put_note(NODES, "other", "{}")
    shutil.copytree(tmp_path / FOLDER, tmp_path / "copy" / FOLDER)  # nobody has that file locked
    assert nodes_of_a_copy(store, tmp_path / "copy") == {"other": "{}"}
    assert names(tmp_path) == ["other"]


def test_an_image_of_the_machine_says_nothing_of_its_nodes(tmp_path, other):
    """All is as it was, the inodes too; but the system was started another time."""
    other.kill()
    other.wait()
    store = MemoryStore(lambda: 0.0)
    store.put_note(NODES, "other", "{}")
    (tmp_path / "boot").write_text("another\n")
    assert nodes_of_a_copy(store, tmp_path, boot=tmp_path / "boot") == {"other": "{}"}


def test_without_a_word_of_the_boot_a_copy_is_told_by_its_inode(tmp_path):
    boot = tmp_path / "none"
    store = MemoryStore(lambda: 0.0)
    store.put_note(NODES, "other", "{}")
    with a_node(tmp_path, boot):
        shutil.copytree(tmp_path / FOLDER, tmp_path / "copy" / FOLDER)
        assert nodes_of_a_copy(store, tmp_path / "copy", boot=boot) == {"other": "{}"}
    assert nodes_of_a_copy(store, tmp_path, boot=boot) == {}


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
