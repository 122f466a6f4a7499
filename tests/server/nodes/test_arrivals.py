"""
Visitors between nodes, L{burrow.server.nodes.links} and L{burrow.server.nodes.arrivals}: what each node holds
of answers that nobody reads.
"""

from types import SimpleNamespace

from twisted.internet.defer import succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from burrow.mux.control import decode_visitor_head, encode_box
from burrow.protocols.registry import kinds
from burrow.server.nodes.arrivals import MAX_REFUSED, _Streams
from burrow.server.nodes.links import Remote
from burrow.server.nodes.records import Lease
from burrow.server.tunnel import Owner, Tunnel
from burrow.store.base import Reservation
from burrow.testing import Recorder, SessionPair
from burrow.wire.windows import INITIAL_WINDOW, LEAST_WINDOW, UNREAD, Allowance
from tests.mux.test_allowance import MANY, SIZE, Answers, Unread

VISITOR = ("192.0.2.1:5", "https")


class Heads(Answers):
    """An agent's end that remembers the head. @ivar head: it."""

    def dataReceived(self, data):
        if self.hose is None:
            self.head, _ = decode_visitor_head(data)
        super().dataReceived(data)


class Unknown(SynchronousTestCase):
    """Streams whose box this release does not know: a newer one has it."""

    def setUp(self):
        self.link = SessionPair(server_factory=_Streams(None, None, Factory(), None))

    def open(self, *boxes):
        """Open streams. @return: what is logged then."""
        streams = [Recorder() for _ in boxes]
        with capturedLogs() as events:
            for stream, box in zip(streams, boxes, strict=True):
                self.link.agent.open_stream(stream, encode_box(box))
                self.link.pump()
        self.assertEqual([stream.lost.type for stream in streams], [ConnectionLost] * len(boxes))
        return [event["why"] for event in events]

    def test_each_kind_is_reset_and_told_once(self):
        newer, another = {"what": "newer", "of": "1"}, {"what": "another"}
        told = self.open(newer, newer, another, newer)
        self.assertEqual([text.rpartition(" ")[2] for text in told], ["'newer'", "'another'"])

    def test_what_is_remembered_of_them_is_bounded(self):
        many = [{"what": f"kind{number}"} for number in range(MAX_REFUSED + 1)]
        self.assertEqual(len(self.open(*many)), len(many))
        self.assertEqual(len(self.open(many[-1], many[0])), 1)


class Relayed(SynchronousTestCase):
    """A visitor's node, the node that has the agent's session, and the agent."""

    def setUp(self):
        kind = kinds()["http"]
        self.session = SessionPair()
        self.link = SessionPair(clock=self.session.clock)
        self.agents = []
        self.session.agent.listen(SimpleNamespace(buildProtocol=self.agent))
        owner = Owner("token", "agent", self.session.server, lambda tunnel, owner: True)
        reservation = Reservation("blog", "http", "token", "agent", "3000", None, False, 0.0)
        self.tunnel = Tunnel(reservation, kind, owner, "blog.example.com", "https://blog.example.com")
        self.link.server.listen(_Streams(lambda *of: succeed(self.tunnel), None, None, None))
        lease = Lease("blog", "node", "http", None, 0.0)
        alive = SimpleNamespace(session=self.link.agent)
        self.remote = Remote(lease, kind, alive, self.link.agent, 1)

    def agent(self, address):
        self.agents.append(Heads(self.session.clock))
        return self.agents[-1]

    def pump(self):
        while self.link.turn() | self.session.turn():
            pass

    def visit(self, allowance):
        visitor = Unread()
        self.remote.connect(visitor, *VISITOR, allowance)
        return visitor

    def held(self):
        """Bytes on the node that has the session: that came and are not read, and that wait to be sent."""
        came = [stream.window for stream in self.session.server._wire.streams.values()]
        unread = sum(window.allowed - window.available for window in came)
        passed_on = sum(stream.sent for stream in self.link.server._wire.streams.values())
        return unread - passed_on

    def test_the_agent_is_told_what_the_visitor_s_node_wants(self):
        allowance = Allowance(MANY)
        for number in range(MANY):
            first = allowance.first
            visitor = self.visit(allowance)
            self.pump()
            self.assertEqual(self.agents[-1].head.window, first)
            self.assertEqual(visitor.transport.state.received, first, number)
        self.assertEqual(first, LEAST_WINDOW)

    def test_answers_that_nobody_reads_are_bounded_on_both_nodes(self):
        allowance = Allowance(MANY)
        visitors = [self.visit(allowance) for _ in range(MANY)]
        self.pump()
        self.assertLessEqual(sum(visitor.transport.state.received for visitor in visitors), UNREAD)
        self.assertLessEqual(self.held(), 3 * UNREAD)
        for visitor in visitors:
            visitor.transport.resumeProducing()
        self.pump()
        self.assertEqual({len(visitor.received) for visitor in visitors}, {SIZE})

    def test_visitor_with_one_stream_is_as_ever(self):
        visitor = self.visit(None)
        self.pump()
        self.assertEqual(self.agents[-1].head.window, INITIAL_WINDOW)
        self.assertEqual(visitor.transport.state.received, INITIAL_WINDOW)
