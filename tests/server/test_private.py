"""Tests for L{burrow.server.private}: who may connect to private tunnels, and what becomes of connections."""

import json
from types import SimpleNamespace

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import BadOption, NameTaken, NoSuchTunnel, NotAllowed, StoreError, Unavailable
from burrow.link.accept import Handshake
from burrow.mux.control import (
    BYTES,
    DATAGRAMS,
    QUESTION,
    ConnectAnswer,
    ConnectHead,
    VisitorHead,
    decode_connect_answer,
    decode_visitor_head,
    encode_box,
)
from burrow.protocols.base import Reach
from burrow.protocols.http import HttpProtocol
from burrow.protocols.tcp import TcpProtocol
from burrow.protocols.udp.framing import MAX_DATAGRAM, DatagramReader, framed
from burrow.protocols.udp.kind import UdpProtocol
from burrow.server.agent import Agent
from burrow.server.connecting import HEAD_WITHIN
from burrow.server.finishing import Finishing
from burrow.server.nodes.asking import Unanswered
from burrow.server.nodes.links import Remote
from burrow.server.nodes.records import Lease
from burrow.server.ports import Ports
from burrow.server.private import REFUSE_AFTER, Private
from burrow.server.route import NoRoute, Why
from burrow.server.tunnel import Owner
from burrow.store.base import Token
from burrow.store.memory import MemoryStore
from burrow.testing import HalfCloseRecorder, Recorders, SessionPair
from burrow.traffic.hub import Listener, Traffic
from tests.server.parts import Parts

OURS = Token("token1", "laptop", "agent", b"", 0.0)
ANN = Token("token2", "ann", "agent", b"", 0.0)
BOB = Token("token3", "bob", "agent", b"", 0.0)


class Shouting(TcpProtocol):
    """A kind whose server side is more than a pipe."""

    name = "shout"
    summary = "answers in capitals by itself"
    addresses = None

    def visitor_factory(self, tunnel):
        kind = self

        class Shout(Protocol):
            def connectionMade(self):
                kind.addresses = self.transport.getPeer()

            def dataReceived(self, data):
                self.transport.write(data.upper())

        class Shouts:
            def buildProtocol(self, address):
                return Shout()

        return Shouts()


class Case(SynchronousTestCase):
    def setUp(self):
        self.clock = MemoryReactorClock()
        self.store = MemoryStore(self.clock.seconds)
        self.shouting = Shouting()
        self.kinds = {
            "http": HttpProtocol(),
            "tcp": TcpProtocol(),
            "udp": UdpProtocol(),
            "shout": self.shouting,
        }
        ports = Ports(self, "127.0.0.1", range(20_000, 20_003))
        self.certified = []
        self.parts = Parts(self.clock, self.store, self.kinds, ports, ready=self.ready)
        self.routes = self.parts.routes
        self.traffic = Traffic()
        self.private = Private(
            self.clock, self.store, self.kinds, self.parts.cluster, self.routes, self.traffic
        )
        self.clock.advance(1000)  # the server has run for a while

    def listen(self, port, factory, interface, *, shared):
        return self.clock.listenTCP(port, factory, interface=interface)

    def closed(self, port):
        pass

    def ready(self, host, token):
        self.certified.append(host)
        return succeed(None)

    def open(self, kind="tcp", name="box", token=OURS, private=True, pair=None, **options):
        """Open a tunnel; its agent's session pair, whose visitors' streams are recorded."""
        if pair is None:
            pair = SessionPair(agent_factory=Recorders(HalfCloseRecorder), clock=self.clock)
        owner = Owner(token.id, "agent1", pair.server, lambda tunnel, by: True)
        options = {key.replace("_", "-"): value for key, value in options.items()}
        if private:
            options["private"] = True
        opening = Deferred.fromCoroutine(
            self.parts.opening.open(owner, kind, "22", name, options, versions=(1, 1))
        )
        self.tunnel = self.successResultOf(opening)
        return pair

    def connect(self, token=OURS, name="box", sent=b"", head=None, want=BYTES):
        """A connection of an agent with a token: its end of the stream."""
        pair = SessionPair(clock=self.clock)
        pair.server.connected_to(IPv4Address("TCP", "192.0.2.7", 4711))
        handshake = Handshake("", "agent-0002", "0", "192.0.2.7:4711")
        Agent(pair.server, None, token, handshake, None, None, None, self.routes, self.private)
        self.control = HalfCloseRecorder()
        pair.agent.open_stream(self.control)
        end = HalfCloseRecorder()
        pair.agent.open_stream(end, (ConnectHead(name, want).encode() if head is None else head) + sent)
        self.visiting = pair
        pair.pump()
        return end

    def answer(self, end):
        """What the server answered, and the bytes behind."""
        decoded = decode_connect_answer(end.received)
        self.assertIsNotNone(decoded, "no answer yet")
        return decoded

    def refused(self, end, error):
        answer, rest = self.answer(end)
        self.assertEqual(rest, b"")
        self.assertIsInstance(answer.refusal, error)
        self.assertTrue(end.read_lost or end.lost)
        return answer.text


class Opening(Case):
    def test_no_port_and_no_certificate(self):
        self.open("http")
        self.assertEqual(self.tunnel.url, "private://box")
        self.open("tcp", "ssh")
        self.assertEqual(self.certified, [])
        self.assertEqual(self.clock.tcpServers, [])
        self.assertEqual(self.parts.tunnels.hosts, [])
        self.assertEqual(self.parts.cluster.leases.held["box"].kind, "private-http")

    def test_a_public_one_that_becomes_private(self):
        pair = self.open("tcp", private=False, port=20_001)
        self.assertEqual(len(self.clock.tcpServers), 1)
        self.open("tcp", pair=pair)
        self.assertIsNone(self.tunnel.reservation.port)
        self.assertIsNone(self.parts.cluster.leases.held["box"].port)
        self.assertEqual(self.private._terms("box").owner, "token1")
        # and back: it has kept its port
        self.open("tcp", pair=pair, private=False)
        self.assertEqual(self.tunnel.url, "tcp://example.com:20001")
        self.assertIsNone(self.private._terms("box"))

    def test_names_that_the_server_chooses_differ(self):
        pair = self.open("http", None)
        private = self.tunnel.name
        self.open("http", None, private=False, pair=pair)
        self.assertNotEqual(self.tunnel.name, private)
        self.open("http", None, pair=pair)
        self.assertEqual(self.tunnel.name, private)

    def test_the_name_is_its_owners(self):
        self.open()
        owner = Owner("token2", "agent1", SessionPair().server, lambda tunnel, by: True)
        opening = self.parts.opening.open(owner, "tcp", "22", "box", {"private": True}, versions=(1, 1))
        self.failureResultOf(Deferred.fromCoroutine(opening), NameTaken)


class Edge(Case):
    """A private tunnel at the edge is as a name that nobody has."""

    def of_host(self, name="box"):
        found = self.routes.of_host(f"{name}.example.com", None)
        found = found if isinstance(found, Deferred) else succeed(found)
        self.clock.advance(1)
        return self.failureResultOf(found, NoRoute).value.why

    def serves(self):
        serving = self.routes.serves("box.example.com")
        self.clock.advance(1)
        return self.successResultOf(serving)

    def test_while_its_agent_is_connected(self):
        self.open("http")
        self.assertIs(self.tunnel.reach, Reach.NOWHERE)
        self.assertIs(self.of_host(), Why.UNKNOWN)
        self.assertFalse(self.serves())

    def test_while_its_agent_is_away(self):
        pair = self.open("http")
        pair.server.disconnected()
        self.assertIs(self.of_host(), Why.UNKNOWN)
        self.assertFalse(self.serves())

    def test_when_it_is_closed(self):
        self.open("http")
        self.routes.expect("box")
        self.successResultOf(Deferred.fromCoroutine(self.parts.tunnels.close(self.tunnel)))
        self.assertIs(self.of_host(), Why.UNKNOWN)
        self.assertFalse(self.serves())

    def test_on_another_node(self):
        self.parts.cluster.leases.theirs["box"] = Lease("box", "node2", "private-http", None, 1.0, "token1")
        self.assertIs(self.of_host(), Why.UNKNOWN)

    def test_a_public_one_is_served(self):
        self.open("http", private=False)
        self.assertIs(self.routes.of_host("box.example.com", None), self.tunnel)
        self.assertTrue(self.serves())


class Connecting(Case):
    def joined(self, end, pair, visitor="192.0.2.7:4711"):
        """Check that a stream is joined to the tunnel's agent, both ways, with half-closes."""
        pair.pump()
        self.assertEqual(self.answer(end), (ConnectAnswer("OK", ""), b""))
        (there,) = pair.agent.factory.built
        self.assertIn(visitor.encode(), there.received)
        there.received = b""
        end.transport.write(b"question")
        end.transport.loseWriteConnection()
        self.pump(pair)
        self.assertEqual(there.received, b"question")
        self.assertTrue(there.read_lost)
        there.transport.write(b"answer")
        there.transport.loseConnection()
        self.pump(pair)
        self.assertEqual(self.answer(end)[1], b"answer")
        self.assertTrue(end.lost is not None)

    def pump(self, pair):
        for _ in range(3):
            self.visiting.pump()
            pair.pump()

    def test_each_kind_with_the_same_token(self):
        for kind in ("tcp", "http"):
            pair = self.open(kind, kind)
            self.joined(self.connect(name=kind), pair)
            self.assertEqual(self.tunnel.requests, 1)

    def test_bytes_behind_the_head_are_not_lost(self):
        pair = self.open()
        end = self.connect(sent=b"early")
        self.pump(pair)
        (there,) = pair.agent.factory.built
        self.assertTrue(there.received.endswith(b"early"))
        self.answer(end)

    def test_a_token_that_is_allowed_by_name(self):
        pair = self.open(allow_token=["ann"])
        self.joined(self.connect(ANN), pair)

    def test_who_is_not_allowed_learns_no_more_than_of_a_name_that_nobody_has(self):
        self.open(allow_token=["ann"])
        self.open("http", "public", private=False)
        texts = set()
        for name in ("box", "nobodys", "public", "NOT A NAME", ""):
            end = self.connect(BOB, name)
            self.assertEqual(end.received, b"")
            self.clock.advance(REFUSE_AFTER - 0.01)
            self.visiting.pump()
            self.assertEqual(end.received, b"")
            self.clock.advance(0.02)
            self.visiting.pump()
            texts.add(self.refused(end, NoSuchTunnel).replace(repr(name), "NAME"))
        self.assertEqual(len(texts), 1)

    def test_waiting_for_a_tunnel_that_is_opened_meanwhile(self):
        end = self.connect(ANN)
        self.clock.advance(REFUSE_AFTER / 2)
        pair = self.open(allow_token=["ann"])
        self.clock.advance(0)
        self.visiting.pump()
        self.joined(end, pair)

    def test_the_agent_is_away_and_comes_back(self):
        pair = self.open()
        pair.server.disconnected()
        end = self.connect()
        self.assertEqual(end.received, b"")
        pair.server.connected_to(IPv4Address("TCP", "192.0.2.1", 1))
        pair.server.carrier_drained()
        self.routes.agent_connected("box")
        self.visiting.pump()
        self.joined(end, pair)

    def test_the_agent_stays_away(self):
        pair = self.open()
        pair.server.disconnected()
        end = self.connect()
        self.clock.advance(10)
        self.visiting.pump()
        self.assertIn("is away", self.refused(end, Unavailable))

    def test_a_tunnel_of_ones_own_that_is_not_open(self):
        self.open()
        self.successResultOf(Deferred.fromCoroutine(self.parts.tunnels.close(self.tunnel)))
        self.assertIn("no agent has the tunnel box open", self.refused(self.connect(), Unavailable))
        self.routes.expect("box")
        end = self.connect()
        self.assertEqual(end.received, b"")
        pair = self.open()
        self.visiting.pump()
        self.joined(end, pair)

    def test_a_tunnel_of_ones_own_that_is_public(self):
        self.open("http", private=False)
        self.assertIn("not private", self.refused(self.connect(), NoSuchTunnel))

    def test_the_store_is_away(self):
        self.store.reservation = lambda name: fail(StoreError("secret address"))
        end = self.connect(name="other")
        self.clock.advance(REFUSE_AFTER)
        self.visiting.pump()
        text = self.refused(end, Unavailable)
        self.assertIn("store cannot answer", text)
        self.assertNotIn("secret", text)

    def test_who_leaves_while_it_waits(self):
        end = self.connect(name="other")
        end.transport.abortConnection()
        self.visiting.pump()
        self.assertEqual(len(self.routes.waiting), 0)

    def test_wrong_heads(self):
        for head in (encode_box({"tunnel": "box"}), b"\xff\xff", b"\0\1a\xff\xff" + b"x" * 20_000):
            end = self.connect(head=head)
            self.assertIsNotNone(end.lost)
            self.assertEqual(end.received, b"")
            self.assertIsNone(self.control.lost)  # the session goes on

    def test_a_head_that_does_not_come(self):
        for head in (b"", b"\0"):
            end = self.connect(head=head)
            self.clock.advance(HEAD_WITHIN - 0.1)
            self.visiting.pump()
            self.assertIsNone(end.lost)
            self.clock.advance(0.2)
            self.visiting.pump()
            self.assertIsNotNone(end.lost)
            self.assertEqual(end.received, b"")
            self.assertIsNone(self.control.lost)  # the session goes on

    def test_the_kinds_own_server_side_serves_them(self):
        self.open("shout")
        end = self.connect(sent=b"hello ")
        end.transport.write(b"you")
        self.visiting.pump()
        self.assertEqual(self.answer(end)[1], b"HELLO YOU")
        self.assertEqual(self.shouting.addresses, IPv4Address("TCP", "192.0.2.7", 4711))

    def test_an_address_that_the_tunnel_does_not_take(self):
        pair = self.open(allow=["198.51.100.0/24"])
        self.assertIn("this agent's address", self.refused(self.connect(), NotAllowed))
        pair = self.open(pair=pair, allow=["192.0.2.0/24"])
        self.joined(self.connect(), pair)

    def test_a_kind_that_fails(self):
        self.open("shout")
        self.shouting.visitor_factory = lambda tunnel: 1 / 0
        self.assertIn("plugin", self.refused(self.connect(), Unavailable))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_who_listens_is_told(self):
        ended = []

        class Told(Listener):
            def ended(self, record):
                ended.append((record.protocol, record.tunnel, record.visitor, record.sent))

        self.traffic.add(Told())
        for kind in ("tcp", "http"):
            pair = self.open(kind, kind)
            self.joined(self.connect(name=kind), pair)
        told = [(kind, kind, "192.0.2.7:4711", len(b"answer")) for kind in ("tcp", "http")]
        self.assertEqual(ended, told)

    def test_allowed_no_more_while_it_waited(self):
        pair = self.open(allow_token=["ann"])
        pair.server.disconnected()
        end = self.connect(ANN)
        self.open(pair=SessionPair(agent_factory=Recorders(HalfCloseRecorder), clock=self.clock))
        self.visiting.pump()
        self.clock.advance(10)
        self.visiting.pump()
        self.assertIsInstance(self.answer(end)[0].refusal, Unavailable)

    def test_a_lease_of_another_node(self):
        options = json.dumps({"private": True, "allow-token": ["ann"]})
        lease = Lease("box", "node2", "private-tcp", None, 1.0, "token1", options)
        self.parts.cluster.leases.theirs["box"] = lease
        self.assertIsNotNone(self.private.target("box", OURS))
        self.assertIsNotNone(self.private.target("box", ANN))
        self.assertIsNone(self.private.target("box", BOB))
        for wrong in ("{", '{"speed": 1}'):
            self.parts.cluster.leases.theirs["box"] = Lease(
                "box", "node2", "private-tcp", None, 1.0, "token1", wrong
            )
            self.assertIsNone(self.private.target("box", OURS))


class Datagrams(Case):
    """A tunnel of kind udp: each stream is one visitor's address."""

    def connected(self, **options):
        """An open tunnel and a stream that was agreed to; the far agent's pair, and the stream's end."""
        pair = self.open("udp", **options)
        end = self.connect(want=DATAGRAMS, sent=framed(b"early") + framed(b""))
        self.pump(pair)
        self.assertEqual(self.answer(end), (ConnectAnswer("OK", ""), b""))
        return pair, end

    def pump(self, pair):
        for _ in range(3):
            self.visiting.pump()
            pair.pump()

    def test_no_port(self):
        self.open("udp")
        self.assertEqual(self.tunnel.url, "private://box")
        self.assertEqual(self.parts.cluster.leases.held["box"].kind, "private-udp")
        self.assertIsNone(self.parts.cluster.leases.held["box"].port)

    def test_both_ways_with_their_boundaries(self):
        pair, end = self.connected()
        (there,) = pair.agent.factory.built
        head, rest = decode_visitor_head(there.received)
        self.assertEqual(head, VisitorHead("box", "192.0.2.7:4711", "udp"))
        self.assertEqual(DatagramReader().feed(rest), [b"early", b""])
        there.transport.write(framed(b"answer") + framed(b"") + framed(bytes(MAX_DATAGRAM)))
        self.pump(pair)
        got = DatagramReader().feed(self.answer(end)[1])
        self.assertEqual(got, [b"answer", b"", bytes(MAX_DATAGRAM)])
        self.assertEqual(self.tunnel.requests, 1)

    def test_what_it_carries_is_told(self):
        self.open("tcp", "ssh")
        self.open("udp", allow_token=["ann"])
        for token, name, carries in ((OURS, "ssh", BYTES), (OURS, "box", DATAGRAMS), (ANN, "box", DATAGRAMS)):
            end = self.connect(token, name, want=QUESTION)
            self.assertEqual(self.answer(end), (ConnectAnswer("OK", "", carries), b""))
            self.assertTrue(end.read_lost or end.lost)
        self.assertEqual(self.private.visitors, set())

    def test_what_it_carries_is_told_while_its_agent_is_away(self):
        pair = self.open("udp")
        pair.server.disconnected()
        self.assertEqual(self.answer(self.connect(want=QUESTION))[0].carries, DATAGRAMS)

    def test_who_may_not_connect_does_not_learn_what_it_carries(self):
        self.open("udp", allow_token=["ann"])
        for want in (QUESTION, BYTES, DATAGRAMS):
            end = self.connect(BOB, want=want)
            self.clock.advance(REFUSE_AFTER)
            self.visiting.pump()
            self.refused(end, NoSuchTunnel)

    def test_what_it_does_not_carry(self):
        self.open("udp")
        self.assertIn("`burrow connect box --listen PORT`", self.refused(self.connect(), BadOption))
        self.open("tcp", "ssh")
        end = self.connect(name="ssh", want=DATAGRAMS)
        self.assertIn("start `burrow connect ssh` again", self.refused(end, BadOption))
        self.assertIn("older release", self.refused(self.connect(want="messages"), BadOption))

    def test_a_silent_visitor_is_forgotten(self):
        pair, end = self.connected(idle=90)
        (there,) = pair.agent.factory.built
        self.clock.advance(89)
        self.pump(pair)
        self.assertFalse(there.read_lost or end.read_lost)
        end.transport.write(framed(b"x"))
        self.pump(pair)
        self.clock.advance(90)
        self.pump(pair)
        self.assertTrue(there.read_lost)
        self.assertTrue(end.read_lost)
        self.assertEqual(self.private.visitors, set())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_agent_is_lost(self):
        pair, end = self.connected()
        (there,) = pair.agent.factory.built
        there.transport.abortConnection()
        self.pump(pair)
        self.assertTrue(end.read_lost)
        self.assertEqual(self.private.visitors, set())

    def test_the_visitor_leaves(self):
        pair, end = self.connected()
        end.transport.loseConnection()
        self.pump(pair)
        self.assertTrue(pair.agent.factory.built[0].read_lost)
        self.assertEqual(self.private.visitors, set())

    def test_late_datagrams_are_dropped_on_the_way_to_the_agent(self):
        """The agent reads nothing: its window is filled, and no more is kept."""
        pair, end = self.connected()
        (there,) = pair.agent.factory.built
        (visitor,) = self.private.visitors
        there.transport.pauseProducing()
        there.received = b""
        for _ in range(40):
            end.transport.write(framed(bytes(60_000)))
            self.pump(pair)
        end.transport.write(framed(b"late"))
        self.pump(pair)
        there.transport.resumeProducing()
        self.pump(pair)
        got = DatagramReader().feed(there.received)
        self.assertLess(len(got), 20)
        self.assertNotIn(b"late", got)
        end.transport.write(framed(b"in time"))
        self.pump(pair)
        self.assertTrue(there.received.endswith(b"in time"))
        end.transport.loseConnection()
        self.pump(pair)
        self.assertEqual(visitor._protocol.dropped, 41 - len(got))

    def test_no_datagrams_are_reset(self):
        pair, end = self.connected()
        end.transport.write(b"\xff\xff")
        self.pump(pair)
        self.assertIsNotNone(end.lost)
        self.assertTrue(pair.agent.factory.built[0].read_lost)

    def test_a_server_that_stops_does_not_wait_for_them(self):
        pair, end = self.connected()
        edge = SimpleNamespace(visitors=())
        finishing = Finishing(
            self.clock, edge, (), lambda: (), lambda route: True, lambda: False, lambda: self.private.visitors
        )
        self.assertFalse(finishing.running())
        self.pump(pair)
        self.assertTrue(end.read_lost)

    def test_who_listens_is_told(self):
        ended = []

        class Told(Listener):
            def ended(self, record):
                ended.append((record.protocol, record.tunnel, record.visitor, record.received))

        self.traffic.add(Told())
        pair, end = self.connected()
        end.transport.loseConnection()
        self.pump(pair)
        self.assertEqual(ended, [("udp", "box", "192.0.2.7:4711", len(framed(b"early") + framed(b"")))])


class Elsewhere(Case):
    """Another node holds the tunnel: who connects is told so once the agent is connected there."""

    def setUp(self):
        super().setUp()
        lease = Lease("box", "node2", "private-tcp", None, 1.0, "token1", '{"private": true}')
        self.parts.cluster.leases.theirs["box"] = lease
        self.pair = SessionPair(agent_factory=Recorders(HalfCloseRecorder), clock=self.clock)
        link = SimpleNamespace(session=self.pair.server)
        route = Remote(lease, self.kinds["tcp"], link, self.pair.server, 1)
        self.parts.links.route = lambda lease, hops=1: route
        self.answers, self.asked = [], []
        self.questions = SimpleNamespace(answers={}, ask=self.ask)
        self.private = Private(
            self.clock, self.store, self.kinds, self.parts.cluster, self.routes, Traffic(), self.questions
        )

    async def ask(self, node, question, **of):
        self.asked.append((node, question, of))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def test_its_agent_is_connected(self):
        for answer in (True, Unanswered("a node of an older release")):
            self.answers = [answer]
            end = self.connect()
            self.assertEqual(self.answer(end)[0], ConnectAnswer("OK", ""))
        self.assertEqual(self.asked[0], ("node2", "agent-connected", {"name": "box"}))

    def test_its_agent_comes_back(self):
        self.answers = [False, False, True]
        end = self.connect()
        self.assertEqual(end.received, b"")
        for _ in range(2):
            self.clock.advance(0.5)
        self.visiting.pump()
        self.assertEqual(self.answer(end)[0], ConnectAnswer("OK", ""))

    def test_its_agent_stays_away(self):
        self.answers = [False] * 30
        end = self.connect()
        self.clock.pump([0.5] * 21)
        self.visiting.pump()
        self.assertIn("the agent of box is away", self.refused(end, Unavailable))

    def test_what_this_node_answers(self):
        answer = self.questions.answers["agent-connected"]

        def connected():
            return self.successResultOf(Deferred.fromCoroutine(answer({"name": "ssh"})))

        self.assertFalse(connected())
        pair = self.open("tcp", "ssh")
        self.assertTrue(connected())
        pair.server.disconnected()
        self.assertFalse(connected())
        self.assertFalse(self.successResultOf(Deferred.fromCoroutine(answer({}))))

    def test_visitors_are_known_until_they_leave(self):
        self.answers = [True]
        end = self.connect()
        self.assertEqual(len(self.private.visitors), 1)
        end.transport.abortConnection()
        self.visiting.pump()
        self.assertEqual(self.private.visitors, set())
