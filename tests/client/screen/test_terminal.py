"""
Tests for L{burrow.client.screen.terminal} on a real pseudo-terminal: C{burrow http} without a server, which
it tries to reach all the time. However it ends, the terminal is as it was.
"""

import contextlib
import os
import signal
import sys
import time

import pytest

from tests.terminals import Terminal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "tcgetpgrp"), reason="there are no terminals here"),
]

COMMAND = "http 3000 --server https://127.0.0.1:1 --token t"
BROKEN = """
import sys
from burrow.cli.main import main
from burrow.client.agent import Agent
{}
sys.exit(main())
"""
FAILS = """
async def live(self):
    raise RuntimeError('planted')
Agent._live = live
"""
HANGS = """
from twisted.internet.defer import Deferred
Agent.stopService = lambda self: Deferred(lambda cancelled: cancelled.callback(Deferred()))
"""
LOGS = """
from twisted.logger import Logger
start = Agent.startService
def startService(self):
    self.reactor.callLater(0.5, Logger('burrow.test').warn, 'planted warning')
    start(self)
Agent.startService = startService
"""


@pytest.fixture
def start(request):
    """Starts C{burrow http}, or another command, on a terminal."""

    def run(*command, **options):
        program = [sys.executable, "-m", "burrow.cli.main", *COMMAND.split()]
        terminal = Terminal(list(command) or program, **options)
        request.addfinalizer(terminal.close)
        return terminal

    return run


def in_shell(start, **options):
    shell = start("bash", "--norc", "--noprofile", "-i", **options)
    shell.shows("ready>")
    shell.burrow = f"{sys.executable} -m burrow.cli.main {COMMAND}"
    return shell


@pytest.mark.parametrize("size", [(80, 24), (200, 60), (40, 20)], ids=str)
def test_it_fills_the_screen_and_ctrl_c_leaves_all_as_it_was(start, size):
    terminal = start(size=size)
    terminal.shows("x quit")
    assert "connecting" in terminal.screen.display[0]
    assert "x quit" in terminal.screen.display[size[1] - 1]
    assert terminal.mode() != terminal.before
    terminal.child.send("\x03")
    assert terminal.wait() == 0
    assert terminal.is_clean()


def test_resize(start):
    terminal = start()
    terminal.shows("x quit")
    terminal.child.setwinsize(20, 40)
    terminal.screen.resize(20, 40)
    terminal.shows("? help  p pause  / filter  x quit")
    assert "x quit" in terminal.screen.display[19]
    terminal.child.send("x")
    assert terminal.wait() == 0
    assert terminal.is_clean()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGHUP, 0), (signal.SIGQUIT, -signal.SIGQUIT)],
)
def test_signals_leave_all_as_it_was(start, number, code):
    terminal = start()
    terminal.shows("x quit")
    terminal.child.kill(number)
    assert terminal.wait() == code
    assert terminal.is_clean()


def test_an_exception_leaves_all_as_it_was_and_is_told(start):
    terminal = start(sys.executable, "-c", BROKEN.format(FAILS), *COMMAND.split())
    assert terminal.wait() == 1
    assert terminal.is_clean()
    assert b"RuntimeError: planted" in terminal.output


def test_an_end_that_hangs_leaves_all_as_it_was_when_asked_twice(start):
    terminal = start(sys.executable, "-c", BROKEN.format(HANGS), *COMMAND.split())
    terminal.shows("x quit")
    deadline = time.monotonic() + 30
    while terminal.child.isalive():  # two signals that it sees within a moment count as one
        with contextlib.suppress(OSError):  # it ended meanwhile
            terminal.child.send("\x03")
        time.sleep(0.5)
        assert time.monotonic() < deadline, terminal.text
    assert terminal.wait() == 0
    assert terminal.is_clean()


def test_ctrl_z_and_fg(start):
    shell = in_shell(start)
    at_prompt = shell.mode()
    shell.child.sendline(shell.burrow)
    shell.shows("x quit")
    shell.child.send("\x1a")
    shell.shows("Stopped")
    shell.shows("ready>")
    assert shell.output.rfind(b"\x1b[?1049l") > shell.output.rfind(b"\x1b[?1049h")
    assert shell.mode() == at_prompt
    shell.screen.reset()
    shell.child.sendline("fg")
    shell.shows("x quit")
    assert "connecting" in shell.screen.display[0]
    shell.child.send("?")
    shell.shows("choose the tunnel")
    shell.child.send("\x03")
    shell.child.sendline("echo code $?")
    shell.shows("code 0")
    assert shell.mode() == at_prompt


def test_in_the_background_there_is_no_screen_until_fg(start):
    shell = in_shell(start)
    shell.child.sendline(shell.burrow)
    shell.shows("x quit")
    shell.child.send("\x1a")
    shell.shows("Stopped")
    shell.screen.reset()
    taken = shell.output.count(b"\x1b[?1049h")
    shell.child.sendline("bg; sleep 1.5; echo still-$((1 + 1))-here")
    shell.shows("still-2-here")
    assert shell.output.count(b"\x1b[?1049h") == taken
    assert "x quit" not in shell.text
    shell.child.sendline("fg")
    shell.shows("x quit")
    shell.child.send("x")
    shell.child.sendline("echo code $?")
    shell.shows("code 0")


def test_started_in_the_background_it_writes_lines(start):
    shell = in_shell(start)
    shell.child.sendline(f"{shell.burrow} &")
    shell.shows("cannot reach https://127.0.0.1:1")
    assert b"\x1b[?1049h" not in shell.output
    shell.child.sendline("kill %1; wait %1; echo code $?")
    shell.shows("code 0")


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_knows_no_sequences_gets_lines(start, term):
    terminal = start(env={"TERM": term})
    terminal.shows("burrow: cannot reach https://127.0.0.1:1")
    terminal.child.send("\x03")
    assert terminal.wait() == 0
    assert b"\x1b" not in terminal.output


def test_no_color(start):
    terminal = start(env={"NO_COLOR": "1"})
    terminal.shows("x quit")
    terminal.shows("cannot reach")
    assert {cell.fg for line in terminal.screen.buffer.values() for cell in line.values()} == {"default"}
    terminal.child.send("\x03")
    assert terminal.wait() == 0
    colours = start()
    colours.shows("cannot reach")
    assert len({cell.fg for line in colours.screen.buffer.values() for cell in line.values()}) > 1


def test_keys_come_from_the_terminal_whatever_standard_input_is(start):
    terminal = start("sh", "-c", f"{sys.executable} -m burrow.cli.main {COMMAND} < /dev/null")
    terminal.shows("x quit")
    terminal.child.send("?")
    terminal.shows("choose the tunnel")
    terminal.child.send("x")
    assert terminal.wait() == 0
    assert terminal.is_clean()


def test_output_that_is_no_terminal_gets_lines(start):
    terminal = start("sh", "-c", f"{sys.executable} -m burrow.cli.main {COMMAND} | cat")
    terminal.shows("burrow: cannot reach https://127.0.0.1:1")
    terminal.child.send("\x03")
    terminal.wait()
    assert b"\x1b" not in terminal.output


def test_quiet_shows_no_screen(start):
    terminal = start(sys.executable, "-m", "burrow.cli.main", *COMMAND.split(), "--quiet")
    terminal.shows("burrow: cannot reach https://127.0.0.1:1")
    terminal.child.send("\x03")
    assert terminal.wait() == 0
    assert b"\x1b" not in terminal.output


def test_a_terminal_that_is_closed_ends_it(start):
    terminal = start()
    terminal.shows("x quit")
    pid = terminal.child.pid
    terminal.child.ptyproc.fileobj.close()
    deadline = time.monotonic() + 30
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_terminal_that_takes_no_output_is_not_waited_for(start):
    terminal = start(size=(200, 60))
    terminal.shows("x quit")
    for columns in range(199, 150, -1):  # more frames than the terminal takes, since nobody reads
        terminal.child.setwinsize(60, columns)
        time.sleep(0.03)
    terminal.child.kill(signal.SIGTERM)
    time.sleep(0.1)
    assert terminal.wait() == 0
    assert terminal.is_clean()


def test_ctrl_s_does_not_stop_it(start):
    terminal = start()
    terminal.shows("x quit")
    terminal.child.send("\x13?")
    terminal.shows("choose the tunnel")
    terminal.child.send("x")
    assert terminal.wait() == 0
    assert terminal.is_clean()


def test_logs_do_not_tear_the_screen_and_are_written_at_the_end(start):
    terminal = start(sys.executable, "-c", BROKEN.format(LOGS), *COMMAND.split())
    terminal.shows("planted warning")
    assert terminal.text.count("planted warning") == 1
    assert "connecting" in terminal.screen.display[0]
    terminal.child.send("x")
    assert terminal.wait() == 0
    assert b"warn  planted warning" in terminal.output
