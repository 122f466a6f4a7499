"""Twisted's own tests of TCP transports and endpoints, run on L{burrow.reactor.epoll.BurrowReactor}."""

import sys

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("the reactor is for Linux", allow_module_level=True)

from twisted.internet.test import test_tcp, test_tls

for module in (test_tcp, test_tls):
    for name, builder in list(vars(module).items()):
        if f"{name}_EPollReactorTests" in vars(module):  # those that Twisted runs on its own reactors
            ours = type(name, (builder,), {"_reactors": ["burrow.reactor.epoll.BurrowReactor"]})
            ours.test_logPrefix = None  # there is no log context around an event: see BurrowReactor.doPoll
            globals().update(ours.makeTestCaseClasses())
