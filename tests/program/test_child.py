"""Tests for L{burrow.program.child} and L{burrow.program.sockets_of}."""

import os
import socket

import pytest
from twisted.internet.task import Clock

from burrow.errors import ConfigError
from burrow.program.child import LATER, SOON, PortWatch, program_path
from burrow.program.sockets_of import family, listening


@pytest.mark.parametrize(
    ("host", "shown"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("127.0.0.2", "127.0.0.2")],
)
def test_where_this_process_listens(host, shown):
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=kind) as server:
        port = server.getsockname()[1]
        assert f"{shown}:{port}" in listening(os.getpid())
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            assert f"127.0.0.1:{bound.getsockname()[1]}" not in listening(os.getpid())
    assert f"{shown}:{port}" not in listening(os.getpid())


def test_a_process_that_is_not_there():
    assert family(2**30) == [2**30]
    assert listening(2**30) == []


def test_a_process_and_its_descendants(tmp_path):
    for pid, children in ((10, "11 12 "), (11, "13 "), (12, ""), (13, "10 ")):
        task = tmp_path / str(pid) / "task" / str(pid)
        task.mkdir(parents=True)
        (task / "children").write_text(children)
    assert family(10, tmp_path) == [10, 11, 12, 13]


def test_there_is_no_such_program():
    with pytest.raises(ConfigError, match="no program 'no-such'"):
        program_path(["no-such"])


def watch(looks, words=("serve",)):
    clock, told = Clock(), []
    one = PortWatch(clock, lambda: 1, words, told.append, lambda pid: looks[0])
    one.start()
    return clock, told, one


def test_the_port_is_told_once_and_when_it_is_another():
    looks = [[]]
    clock, told, one = watch(looks)
    clock.advance(SOON)
    assert told == []
    looks[0] = ["127.0.0.1:8000"]
    clock.advance(SOON)
    clock.advance(LATER)
    assert told == ["127.0.0.1:8000"]
    looks[0] = ["127.0.0.1:7000", "127.0.0.1:8000"]
    clock.advance(LATER)
    looks[0] = []  # it starts anew
    clock.advance(LATER)
    assert told == ["127.0.0.1:8000"]
    looks[0] = ["127.0.0.1:8001"]
    clock.advance(LATER)
    assert told == ["127.0.0.1:8000", "127.0.0.1:8001"]
    one.stop()
    assert clock.getDelayedCalls() == []


def test_a_port_in_the_command_is_the_one():
    _, told, one = watch([["127.0.0.1:5678", "127.0.0.1:8000"]], ("serve", "--debug", "0.0.0.0:8000"))
    assert told == ["127.0.0.1:8000"]
    one.stop()
