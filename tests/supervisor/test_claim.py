"""Tests for L{burrow.supervisor.claim}: who has a state folder, and which process is taken for a server."""

import errno
import json
import os
import subprocess
import sys

import pytest
from twisted.logger import capturedLogs

from burrow.errors import ConfigError
from burrow.supervisor.claim import LOCK_FILE, STATE_FILE, Claim, server_state, servers_here

HOLDER = """
import sys
from pathlib import Path
from burrow.supervisor.claim import Claim
claim = Claim(Path(sys.argv[1]), needed=True)
claim.write(reloaded=3, failed=1)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_server_that_runs_is_found(holder, tmp_path):
    assert server_state(tmp_path) == {"pid": holder.pid, "reloaded": 3, "failed": 1}


def test_servers_of_this_machine_are_found(holder, tmp_path):
    assert tmp_path in servers_here()
    holder.kill()
    holder.wait()
    assert tmp_path not in servers_here()
    assert servers_here(tmp_path) == []  # a system without /proc


def test_second_server_is_refused_and_leaves_what_is_the_firsts(holder, tmp_path):
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=r"another `burrow server` runs with .* --state DIR"):
        Claim(tmp_path, needed=True)
    with pytest.raises(ConfigError, match="another"):
        Claim(tmp_path, needed=False)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert server_state(tmp_path)["pid"] == holder.pid


def test_killed_server_is_found_no_more_and_the_folder_is_free(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert (tmp_path / STATE_FILE).exists()
    with pytest.raises(ConfigError, match="no `burrow server` runs"):
        server_state(tmp_path)
    claim = Claim(tmp_path, needed=True)
    with pytest.raises(ConfigError, match="no `burrow server` runs"):  # it does not serve yet
        server_state(tmp_path)
    claim.write(reloaded=0, failed=0)
    assert server_state(tmp_path)["pid"] == os.getpid()
    claim.release()
    assert not (tmp_path / STATE_FILE).exists()


@pytest.mark.parametrize(
    "pid", [os.getpid(), os.getppid(), 1, 0, -1, "x", None], ids=["own", "parent", "init", *"abcd"]
)
def test_id_of_a_process_that_is_no_server_is_never_used(tmp_path, pid):
    (tmp_path / STATE_FILE).write_text(json.dumps({"pid": pid, "reloaded": 0, "failed": 0}))
    with pytest.raises(ConfigError, match="no `burrow server` runs"):
        server_state(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "\0" * 2000])
def test_state_file_that_is_damaged(tmp_path, text):
    (tmp_path / STATE_FILE).write_text(text)
    with pytest.raises(ConfigError, match="no `burrow server` runs"):
        server_state(tmp_path)


def test_state_is_read_while_it_is_written(tmp_path):
    claim = Claim(tmp_path, needed=True)
    claim.write(reloaded=0, failed=0)
    code = (
        "import sys; from pathlib import Path; from burrow.supervisor.claim import server_state\n"
        "print([server_state(Path(sys.argv[1]))['failed'] for _ in range(300)].count(0))"
    )
    reader = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    number = 0
    while reader.poll() is None:
        number += 1
        claim.write(reloaded=number, failed=0)
    claim.release()
    assert reader.communicate()[0] == b"300\n"


def test_file_that_another_put_in_its_place_stays(tmp_path):
    claim = Claim(tmp_path, needed=True)
    claim.write(reloaded=0, failed=0)
    (tmp_path / STATE_FILE).unlink()
    (tmp_path / STATE_FILE).write_text("{}")
    claim.release()
    assert (tmp_path / STATE_FILE).exists()


def test_folder_that_cannot_be_written(tmp_path):
    """A folder in the lock's place stands for missing rights, which root does not lack."""
    (tmp_path / LOCK_FILE).mkdir()
    with pytest.raises(ConfigError, match=r"cannot write in the state folder .* --state DIR"):
        Claim(tmp_path, needed=True)
    claim = Claim(tmp_path, needed=False)
    claim.write(reloaded=0, failed=0)
    claim.release()


def test_full_disk(tmp_path, monkeypatch):
    """Whoever asked for a reload is answered there, too: the file is written over."""

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    claim = Claim(tmp_path, needed=True)
    claim.write(reloaded=9, failed=0)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        claim.write(reloaded=10, failed=1)
        claim.write(reloaded=10, failed=2)
    assert server_state(tmp_path) == {"pid": os.getpid(), "reloaded": 10, "failed": 2}
    claim.write(reloaded=11, failed=2)
    assert server_state(tmp_path)["reloaded"] == 11
    claim.release()
    assert not (tmp_path / STATE_FILE).exists()


def test_disk_that_is_full_at_the_start_and_has_room_later(tmp_path, monkeypatch):
    """The next reload, by a signal, is the one that writes the file."""

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    claim = Claim(tmp_path, needed=True)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with capturedLogs() as events:
            claim.write(reloaded=0, failed=0)
    assert [event["log_level"].name for event in events] == ["warn"]
    with pytest.raises(ConfigError, match="no `burrow server` runs"):
        server_state(tmp_path)
    claim.write(reloaded=1, failed=0)
    assert server_state(tmp_path) == {"pid": os.getpid(), "reloaded": 1, "failed": 0}
    claim.release()
    assert not (tmp_path / STATE_FILE).exists()
