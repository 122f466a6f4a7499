"""What all tests share: hypothesis's settings, and the signals that they and their programs begin with."""

import signal

import pytest
from hypothesis import HealthCheck, Phase, settings

# A test of behaviour says nothing of time: a busy machine is no failure. scripts/test ends one that hangs.
settings.register_profile(
    "burrow", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("burrow")

# For scripts/mutation.py, which asks only whether a test fails: neither by which smallest example, which
# takes most of the time, nor by the examples of other mutations.
settings.register_profile(
    "mutation", settings.get_profile("burrow"), database=None, phases=[Phase.explicit, Phase.generate]
)

# Programs inherit what is ignored: under nohup agents would go on at a hangup, and in the background of a
# shell at Ctrl-C, as they should.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def signals_as_before():
    """Twisted's reactor leaves its handlers in the process: Ctrl-C in a later test would end nothing."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    yield
    for each, handler in before.items():
        if signal.getsignal(each) is not handler:
            signal.signal(each, handler)


# They need what scripts/dev-servers installs, which takes minutes: it runs them.
collect_ignore = ["devservers"]
