"""Tests for L{burrow.shown}, and that logs and tables use it."""

import pytest
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from burrow.cli.run import _line, complain
from burrow.cli.table import show_table
from burrow.shown import escaped

BAD = "up\x1b[2J\r\n2026-01-01 info fake\x00\x07\x7f\x9b1m\u2028\u202e\ud800"


def test_what_moves_a_terminal_is_escaped():
    assert escaped("http://müller.example:3000 → 中") == "http://müller.example:3000 → 中"
    shown = escaped(BAD)
    assert shown.isprintable()
    assert shown.startswith(r"up\x1b[2J\r\n2026-01-01 info fake\x00\x07\x7f\x9b1m\u2028\u202e\ud800")


@pytest.mark.parametrize("level", [LogLevel.info, LogLevel.error])
def test_log_line_is_one_line(level):
    event = {"log_format": "{url} is open, for {upstream}", "url": "https://x", "upstream": BAD}
    line = _line({**event, "log_level": level, "log_time": 0.0})
    assert line.isprintable()


def test_traceback_cannot_look_like_lines_of_the_log():
    try:
        raise ValueError(BAD)
    except ValueError:
        failure = Failure()
    line = _line({"log_format": "it failed", "log_failure": failure, "log_time": 0.0})
    first, *others = line.split("\n")
    assert first.endswith("it failed")
    assert all(other.startswith("    ") and other.isprintable() for other in others)
    assert "ValueError" in line


def test_table_and_complaint(capsys):
    show_table([("NAME", "UPSTREAM"), ("blog", BAD)])
    complain(BAD)
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 2
    assert len(shown.err.splitlines()) == 1
    assert "\x1b" not in shown.out + shown.err
