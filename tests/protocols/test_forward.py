"""Tests for L{burrow.protocols.forward}: visitors that leave before their upstream is connected."""

from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from burrow.protocols.connecting import Connector
from burrow.protocols.forward import Forward
from burrow.protocols.upstream import Upstream


class Leaving(SynchronousTestCase):
    """A failure in the log would fail these tests."""

    def begin(self, upstream):
        self.reactor = MemoryReactorClock()
        upstream = Upstream.parse(upstream, ("http", "https"))
        self.refused = []
        forward = Forward(
            Connector(self.reactor, upstream), upstream, lambda *told: self.refused.append(told)
        )
        forward.makeConnection(StringTransport())
        return forward

    def test_while_the_connection_is_made(self):
        forward = self.begin("3000")
        forward.connectionLost()
        self.assertTrue(self.reactor.connectors[-1].stoppedConnecting)
        self.assertEqual(len(self.reactor.tcpClients), 1)  # no other address is tried
        self.assertEqual(self.refused, [])

    def test_while_tls_shakes_hands(self):
        forward = self.begin("https://localhost:3000")
        upstream = StringTransport()
        self.reactor.tcpClients[-1][2].buildProtocol(None).makeConnection(upstream)
        forward.connectionLost()
        self.assertTrue(upstream.disconnecting)
        self.assertEqual(len(self.reactor.tcpClients), 1)
        self.assertEqual(self.refused, [])
