"""Tests for L{burrow.twistd}: the first signal stops the service, the second cancels what it waits for."""

import signal

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from burrow.twistd import Stoppable


class Reactor(MemoryReactorClock):
    """Stops its services once, as Twisted's does at shutdown."""

    def __init__(self):
        super().__init__()
        self.stopped = False

    def callFromThread(self, function, *arguments):
        function(*arguments)

    def stop(self):
        if self.stopped:
            raise ReactorNotRunning
        self.stopped = True


class Inner:
    """A service that takes long to stop."""

    def __init__(self):
        self.called = []
        self.stopping = Deferred()

    def startService(self):
        self.called.append("start")

    def stopService(self):
        self.called.append("stop")
        return self.stopping


class Signals(SynchronousTestCase):
    def setUp(self):
        for name in ("SIGTERM", "SIGINT"):
            number = getattr(signal, name)
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.reactor, self.inner = Reactor(), Inner()
        self.service = Stoppable(self.reactor, self.inner)
        self.service.startService()
        for hook, arguments, options in self.reactor.whenRunningHooks:
            hook(*arguments, **options)

    def test_first_signal_stops_and_the_second_cancels(self):
        signal.raise_signal(signal.SIGTERM)
        self.assertTrue(self.reactor.stopped)
        stopping = self.service.stopService()
        self.assertEqual(self.inner.called, ["start", "stop"])
        self.assertNoResult(stopping)
        self.reactor.advance(1)
        signal.raise_signal(signal.SIGINT)
        self.failureResultOf(stopping, CancelledError)

    def test_signal_while_the_reactor_stops_for_another_reason_cancels(self):
        self.reactor.stop()
        stopping = self.service.stopService()
        signal.raise_signal(signal.SIGTERM)
        self.failureResultOf(stopping, CancelledError)

    def test_signals_before_the_service_stops(self):
        signal.raise_signal(signal.SIGTERM)
        self.reactor.advance(1)
        signal.raise_signal(signal.SIGTERM)
        self.assertEqual(self.inner.called, ["start"])
