"""Tests for L{burrow.supervisor.pipe}: what parent and worker tell each other, in all releases alike."""

import json

from burrow.supervisor.pipe import INHERITED, Inherited, lines_to_say, ready_line


def test_what_a_worker_inherits():
    inherited = Inherited("0a1b", {"https": [6, 7], "http": [8]}, {20417: 9})
    environment = {"PATH": "/bin", **inherited.variable()}
    assert json.loads(environment[INHERITED]) == {
        "group": "0a1b",
        "ports": {"https": [6, 7], "http": [8]},
        "tcp": {"20417": 9},
    }
    assert Inherited.take(environment) == inherited
    assert environment == {"PATH": "/bin"}
    assert Inherited.take(environment) is None


def test_what_a_worker_says_when_it_serves():
    line = ready_line(["Burrow serves https://localhost"])
    assert line == b'{"ready": true, "say": ["Burrow serves https://localhost"]}\n'
    assert lines_to_say(line) == ["Burrow serves https://localhost"]
