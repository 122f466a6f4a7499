"""Tests for L{burrow.client.streams}: streams of visitors, before and after their tunnel is known."""

from twisted.internet.defer import Deferred

from burrow.errors import NameTaken
from burrow.mux.control import VisitorHead
from burrow.testing import Recorder
from burrow.wire.windows import INITIAL_WINDOW, Told
from tests.client.agents import AgentCase, opened


class Streams(AgentCase):
    def test_stream_that_comes_before_its_tunnel_is_known_loses_no_byte(self):
        self.kind.agent_protocol = lambda tunnel, head: upstream_end
        upstream_end = Recorder()
        self.answers = {"blog": Deferred()}
        self.start("blog")
        visitor = Recorder()
        head = VisitorHead("blog", "192.0.2.1:4711", "https").encode()
        stream = self.pair.server.open_stream(visitor, head + b"one ")
        self.pair.pump()
        stream.write(b"two ")
        self.pair.pump()
        self.assertEqual(upstream_end.received, b"")
        self.answers["blog"].callback(opened("blog"))
        self.pair.pump()
        stream.write(b"three")
        self.pair.pump()
        self.assertEqual(upstream_end.received, b"one two three")

    def test_stream_that_comes_early_is_read_as_its_protocol_says(self):
        self.kind.agent_protocol = lambda tunnel, head: upstream_end
        upstream_end = Recorder()
        upstream_end.connectionMade = lambda: upstream_end.transport.pauseProducing()
        self.answers = {"blog": Deferred()}
        self.start("blog")
        head = VisitorHead("blog", "192.0.2.1:4711", "https").encode()
        stream = self.pair.server.open_stream(Recorder(), head + b"one ")
        self.pair.pump()
        stream.write(b"two ")
        self.pair.pump()
        self.answers["blog"].callback(opened("blog"))
        self.pair.pump()
        self.assertEqual(upstream_end.received, b"")
        upstream_end.transport.resumeProducing()
        self.pair.pump()
        self.assertEqual(upstream_end.received, b"one two ")

    def visit(self, data, tunnel="blog"):
        """A visitor's stream that begins with C{data}; the visitor's end."""
        visitor = Recorder()
        head = VisitorHead(tunnel, "192.0.2.1:4711", "https").encode()
        self.pair.server.open_stream(visitor, head + data)
        self.pair.pump()
        return visitor

    def test_stream_of_a_tunnel_that_is_not_open_is_reset(self):
        self.answers = {"blog": True, "shop": Deferred()}
        self.start("blog")
        self.assertIsNotNone(self.visit(b"", "shop").lost)
        self.change(*self.requests("blog", "shop"))
        visitor, other = self.visit(b"", "shop"), self.visit(b"", "news")
        self.assertEqual((visitor.lost, other.lost), (None, None))
        self.answers["shop"].errback(NameTaken("another's"))
        self.pair.pump()
        self.assertIsNotNone(visitor.lost)
        self.assertIsNotNone(other.lost)
        self.assertEqual(self.agent.streams.held, set())

    def test_head_in_pieces(self):
        self.kind.agent_protocol = lambda tunnel, head: upstream_end
        upstream_end = Recorder()
        self.answers = {"blog": True}
        self.start("blog")
        data = VisitorHead("blog", "192.0.2.1:4711", "https").encode() + b"body"
        stream = self.pair.server.open_stream(Recorder())
        for position in range(len(data)):
            stream.write(data[position : position + 1])
            self.pair.pump()
        self.assertEqual(upstream_end.received, b"body")

    def test_no_more_is_sent_than_the_head_asks_for(self):
        ends = [Recorder(), Recorder()]
        self.kind.agent_protocol = lambda tunnel, head: ends[head.window < INITIAL_WINDOW]
        self.answers = {"blog": True}
        self.start("blog")
        for end, window in zip(ends, (INITIAL_WINDOW, 20_000), strict=True):
            visitor = Recorder()
            head = VisitorHead("blog", "192.0.2.1:4711", "https", window).encode()
            self.pair.server.open_stream(visitor, head, Told(window)).pauseProducing()
            self.pair.pump()
            end.transport.write(bytes(1_000_000))
            self.pair.pump()
            self.assertEqual(visitor.transport.state.received, window)
            visitor.transport.resumeProducing()
            self.pair.pump()
            self.assertEqual(len(visitor.received), 1_000_000)

    def test_stream_without_a_head_is_reset(self):
        self.answers = {"blog": True}
        self.start("blog")
        visitor = Recorder()
        self.pair.server.open_stream(visitor, b"GET / HTTP/1.1")
        self.pair.pump()
        self.assertIsNotNone(visitor.lost)
        self.assertFalse(self.pair.agent.lost)

    def test_kind_that_fails_loses_its_own_stream_only(self):
        ends = [Recorder(), Recorder()]

        def protocol(tunnel, head):
            if not ends:
                raise ValueError("a plugin's fault")
            return ends.pop()

        self.kind.agent_protocol = protocol
        self.answers = {"blog": Deferred()}
        self.start("blog")
        visitors = [self.visit(b"one") for _ in range(3)]
        self.answers["blog"].callback(opened("blog"))
        self.pair.pump()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual([visitor.lost is None for visitor in visitors].count(True), 2)
        self.assertEqual(self.opened, ["blog"])

    def test_visitor_that_leaves_while_its_stream_is_held_is_forgotten(self):
        self.answers = {"blog": Deferred()}
        self.start("blog")
        visitor = self.visit(b"")
        self.assertEqual(len(self.agent.streams.held), 1)
        visitor.transport.abortConnection()
        self.pair.pump()
        self.assertEqual(self.agent.streams.held, set())
