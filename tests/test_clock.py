"""Tests for L{burrow.clock}: a process whose machine's clock is set back."""

import subprocess
import sys
import textwrap

import pytest
from twisted.internet.task import Clock

from burrow.clock import cancel


@pytest.mark.slow
def test_timers_fire_when_the_clock_was_set_back():
    code = """
        import time
        now, real = 0.0, time.time
        time.time = lambda: real() - now
        from twisted.internet.task import deferLater
        from burrow.cli.run import run

        async def main(reactor):
            global now
            waiting = deferLater(reactor, 0.2)
            now = 3600.0
            await waiting
            await deferLater(reactor, 0.01)

        raise SystemExit(run(main, log_level="info"))
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=60)
    assert ended.returncode == 0


def test_delayed_calls_are_cancelled_once():
    clock, called = Clock(), []
    call, other = clock.callLater(1, called.append, 1), clock.callLater(2, called.append, 2)
    for one in (call, call, None):
        cancel(one)
    clock.advance(2)
    cancel(other)
    assert called == [2]
