"""Tests for L{burrow.client.screen.upstreams}: who is asked, and how often."""

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from burrow.client.screen import upstreams
from burrow.client.screen.upstreams import FIRST, LATER, Upstreams
from burrow.protocols.http import HttpProtocol
from burrow.protocols.udp.kind import UdpProtocol
from burrow.protocols.upstream import UpstreamFailed


class End:
    """A connection; counts how often it is closed."""

    def __init__(self):
        self.transport = self
        self.closed = 0

    def loseConnection(self):
        self.closed += 1


class Asked(SynchronousTestCase):
    """Upstreams whose connections succeed or fail as the test says."""

    def setUp(self):
        self.clock = MemoryReactorClock()
        self.changes = 0
        self.connected = []
        self.failure = None
        test = self

        class Connector:
            def __init__(self, reactor, upstream):
                test.upstream = upstream

            async def connect(self):
                if test.failure is not None:
                    test.connected.append(None)
                    raise test.failure
                test.connected.append(End())
                return test.connected[-1]

        self.patch(upstreams, "Connector", Connector)
        self.wanted = HttpProtocol().parse_upstream("https://localhost:3000")
        self.asking = Upstreams(self.clock, self.changed)

    def changed(self):
        self.changes += 1

    def ask(self):
        self.asking.ask(self.wanted)
        self.clock.advance(0)

    def test_udp_is_not_asked(self):
        self.asking.ask(UdpProtocol().parse_upstream("53", {}))
        self.clock.advance(0)
        self.assertEqual((self.connected, self.asking.warnings), ([], {}))

    def test_one_that_listens_is_asked_once(self):
        self.ask()
        self.assertEqual((self.upstream.scheme, self.upstream.port), ("tcp", 3000))  # without TLS
        self.assertEqual([end.closed for end in self.connected], [1])
        self.assertEqual((self.asking.warnings, self.changes), ({}, 0))
        self.clock.advance(100)
        self.assertEqual(len(self.connected), 1)
        self.ask()
        self.assertEqual(len(self.connected), 2)

    def test_a_warning_stays_until_it_listens(self):
        self.failure = UpstreamFailed("refused", "Nothing listens there.")
        self.ask()
        self.ask()  # while it is being asked that is nothing
        self.assertEqual(self.asking.warnings, {self.wanted: "Nothing listens there."})
        for _ in range(60):
            self.clock.advance(FIRST)
        self.assertLess(len(self.connected), 60 / LATER + 5)
        self.assertGreater(len(self.connected), 60 / LATER)
        self.assertEqual(self.changes, 1)
        self.failure = None
        self.clock.advance(LATER)
        self.assertEqual((self.asking.warnings[self.wanted], self.changes), ("", 2))
        self.clock.advance(100)
        self.assertEqual(self.connected[-1].closed, 1)
        self.assertIsNone(self.connected[-2])

    def test_other_failures_are_no_warning(self):
        self.failure = UpstreamFailed("failed", "no file descriptor is left")
        self.ask()
        self.assertEqual((self.asking.warnings, self.changes), ({}, 0))

    def test_an_error_is_logged(self):
        self.failure = ZeroDivisionError()
        self.ask()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop(self):
        self.failure = UpstreamFailed("refused", "Nothing listens there.")
        self.ask()
        self.asking.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_upstreams_of_others_kinds_are_not_asked(self):
        self.asking.ask("a description of somebody's own")
        self.clock.advance(0)
        self.assertEqual(self.connected, [])
