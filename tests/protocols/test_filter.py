"""Tests for L{burrow.protocols.filter}, by L{burrow.testing.tunnel}."""

from twisted.internet.protocol import Protocol
from twisted.trial.unittest import TestCase

from burrow.protocols.filter import Filter
from burrow.protocols.kind import TunnelKind
from burrow.protocols.upstream import UpstreamFailed
from burrow.testing.tunnel import MemoryTunnel


class Shouting(Filter):
    def from_visitor(self, data):
        if b"!" in data:
            raise ValueError("it shouts already")
        return data.upper().replace(b"X", b"")

    def from_upstream(self, data):
        return b"<" + data + b">"


class Kind(TunnelKind):
    name = "shouting"
    summary = "louder"

    def filter(self, tunnel, head):
        return Shouting()


class Reader(Protocol):
    """Counts what comes, and reads on when told."""

    count = 0

    def connectionMade(self):
        self.transport.pauseProducing()

    def dataReceived(self, data):
        self.count += len(data)


class Filters(TestCase):
    def setUp(self):
        self.tunnel = MemoryTunnel(Kind())

    def visit(self):
        visitor = self.tunnel.visit()
        return visitor, self.tunnel.built[-1]

    def test_bytes_are_changed_both_ways(self):
        visitor, upstream = self.visit()
        visitor.transport.write(b"abxc")
        upstream.transport.write(b"answer")
        self.tunnel.pump()
        visitor.transport.write(b"x")
        self.tunnel.pump()
        self.assertEqual((upstream.received, visitor.received), (b"ABC", b"<answer>"))

    def test_each_half_is_closed_by_itself(self):
        visitor, upstream = self.visit()
        visitor.transport.write(b"last")
        visitor.transport.loseWriteConnection()
        self.tunnel.pump()
        self.assertEqual((upstream.received, upstream.read_lost), (b"LAST", True))
        upstream.transport.write(b"answer")
        upstream.transport.loseConnection()
        self.tunnel.pump()
        self.assertEqual((visitor.received, visitor.read_lost), (b"<answer>", True))

    def test_filter_that_fails_is_named_and_costs_its_connection_alone(self):
        other, other_upstream = self.visit()
        visitor, upstream = self.visit()
        visitor.transport.write(b"no!")
        self.tunnel.pump()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertIsNotNone(visitor.lost)
        self.assertIsNotNone(upstream.lost)
        self.assertEqual(upstream.received, b"")
        other.transport.write(b"yes")
        self.tunnel.pump()
        self.assertEqual(other_upstream.received, b"YES")

    def test_who_does_not_read_pauses_the_other_side(self):
        reader = Reader()
        visitor, upstream = self.tunnel.visit(reader), self.tunnel.built[-1]

        class Endless:
            written = 0
            paused = False

            def resumeProducing(self):
                self.paused = False
                self.more()

            def pauseProducing(self):
                self.paused = True

            def stopProducing(self):
                self.paused = True

            def more(self):
                while not self.paused and self.written < 20_000_000:
                    self.written += 10_000
                    upstream.transport.write(b"y" * 10_000)

        endless = Endless()
        upstream.transport.registerProducer(endless, True)
        endless.more()
        self.tunnel.pump()
        self.assertTrue(endless.paused)
        self.assertLess(endless.written, 5_000_000)
        for _ in range(100):
            visitor.transport.resumeProducing()
            self.tunnel.pump()
        self.assertGreater(reader.count, 20_000_000)

    def test_upstream_that_is_away(self):
        self.tunnel.refusing = UpstreamFailed("refused", "nothing listens there", told=True)
        visitor = self.tunnel.visit()
        self.assertIsNotNone(visitor.lost)
        self.assertEqual([each.error for each in self.tunnel.records], ["nothing listens there"])


class Memory(TestCase):
    """L{MemoryTunnel} has what the two roles have."""

    def test_options_of_each_role(self):
        tunnel = MemoryTunnel(Kind(), {"port": "20001"})
        self.assertEqual(tunnel.agent_options["port"], 20001)
        self.assertEqual(tunnel.server_options["port"], 20001)
        tunnel.visit()
        self.assertEqual(tunnel.requests, 1)

    def test_visitors_of_a_host(self):
        from burrow.protocols.http import HttpProtocol

        tunnel = MemoryTunnel(HttpProtocol(), address="3000")
        visitor = tunnel.visit()
        visitor.transport.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        tunnel.pump()
        tunnel.built[0].transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        tunnel.pump()
        self.assertEqual(visitor.received, b"HTTP/1.1 204 No Content\r\n\r\n")
        self.assertEqual([each.status for each in tunnel.records], [204])
