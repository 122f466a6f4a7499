"""Tests for L{burrow.server.nodes.neighbours}: which visitors are handed over, and what serves them."""

from types import SimpleNamespace

import attr
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from burrow.server.hosts import Hosts
from burrow.server.nodes import neighbours
from burrow.server.nodes.neighbours import Neighbours
from burrow.server.nodes.records import Lease, Node
from burrow.server.ports import Ports

NODE = Node("two", "127.0.0.1", 1, "secret", "", "0", 0.0, group="server", door="door-of-two")
LEASE = Lease("blog", "two", "http", None, 1.0)


@implementer(IReactorFDSet)
class Reactor:
    """Adopts connections as Twisted's does."""

    def __init__(self):
        self.adopted = []

    def addReader(self, reader):
        pass

    def removeReader(self, reader):
        pass

    def adoptStreamConnection(self, fileno, family, factory):
        transport = StringTransport()
        transport.protocol = factory.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        transport.connected = True
        self.adopted.append(transport)
        return transport


class Keep(Protocol):
    def __init__(self):
        self.data = b""

    def dataReceived(self, data):
        self.data += data


class Among(SynchronousTestCase):
    def setUp(self):
        self.reactor = Reactor()
        self.leases = {"blog": LEASE}
        self.shares = {}
        members = SimpleNamespace(shares=self.shares)
        self.cluster = SimpleNamespace(elsewhere=self.leases.get, others={"two": NODE}, members=members)
        self.handed = []
        self.patch(neighbours.Handover, "hand", lambda _, *handed: self.handed.append(handed) or True)
        self.guarded = []
        self.ours = self.neighbours("server")

    def neighbours(self, group):
        def guard(factory):
            self.guarded.append(factory)
            return factory

        made = Neighbours(
            self.reactor, self.cluster, group, Hosts("example.com"), {4000: self.kept()}.get, guard
        )
        self.addCleanup(made.close)
        return made

    def kept(self):
        return Factory.forProtocol(Keep)

    def hands(self, ours=None, host="blog.example.com"):
        """Whether a visitor of a host is handed over; the same of the tunnel's port."""
        ours = ours or self.ours
        answers = {ours.hand_https(host, "t", b"hello"), ours.hand_http(host, "t", b"head")}
        (answer,) = answers | {ours.hand_port(host.partition(".")[0], 4000, "t")}
        return answer

    def test_who_is_handed_over(self):
        self.assertTrue(self.hands())
        self.assertEqual(
            self.handed,
            [
                ("door-of-two", "https", None, "t", b"hello"),
                ("door-of-two", "http", None, "t", b"head"),
                ("door-of-two", "tcp", 4000, "t", b""),
            ],
        )

    def test_who_stays(self):
        self.assertFalse(self.hands(host="other.example.com"))  # held here, or by nobody
        self.assertFalse(self.ours.hand_https("blog.example.org", "t", b""))
        self.assertFalse(self.ours.hand_https("", "t", b""))
        self.shares["blog"] = ["key"]  # an agent of this process has it, too
        self.assertFalse(self.hands())
        self.shares.clear()
        for changes in ({"door": ""}, {"group": "of another machine"}, {"draining": True}):
            self.cluster.others["two"] = attr.evolve(NODE, **changes)
            self.assertFalse(self.hands())
        del self.cluster.others["two"]
        self.assertFalse(self.hands())
        self.assertEqual(self.handed, [])

    def test_alone_is_who_has_no_neighbour(self):
        self.assertFalse(self.ours.alone())
        self.assertTrue(self.neighbours("").alone())
        for changes in ({"door": ""}, {"group": "of another machine"}):
            self.cluster.others["two"] = attr.evolve(NODE, **changes)
            self.assertTrue(self.ours.alone())
        self.cluster.others["two"] = attr.evolve(NODE, draining=True)
        self.assertFalse(self.ours.alone())

    def test_a_server_of_one_process_has_no_door(self):
        alone = self.neighbours("")
        self.assertEqual(alone.door, "")
        self.cluster.others["two"] = attr.evolve(NODE, group="")
        self.assertFalse(self.hands(alone))

    def test_a_closed_door(self):
        self.assertNotEqual(self.ours.door, "")
        self.ours.close()
        self.assertEqual(self.ours.door, "")
        self.assertFalse(self.hands())

    def test_who_was_handed_over_is_served(self):
        handle = SimpleNamespace(fileno=lambda: 7, family=2)
        front = self.kept()
        self.ours.serve("https", front)
        self.assertEqual(self.guarded, [front])
        self.ours._take("https", None, handle, b"hello")
        self.ours._take("tcp", 4000, handle, b"")
        self.assertEqual([taken.protocol.data for taken in self.reactor.adopted], [b"hello", b""])
        self.ours._take("tcp", 4001, handle, b"")  # closed meanwhile
        self.ours._take("http", None, handle, b"head")
        self.assertEqual(len(self.reactor.adopted), 2)


class OfPorts(SynchronousTestCase):
    def setUp(self):
        self.listening = []
        sockets = SimpleNamespace(listen=lambda port, factory, *given, **more: self.listening.append(factory))
        self.ports = Ports(sockets, "", range(4000, 4010))
        self.factory = Factory.forProtocol(Keep)

    def listen(self, port, **how):
        self.ports.listen(port, self.factory, tunnel="db", kind="tcp", **how)

    def connect(self, factory):
        """@return: what has the connection, once it is made."""
        transport = StringTransport()
        transport.protocol = factory.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        return transport.protocol

    def test_a_connection_that_was_handed_over_is_not_again(self):
        """Though this process, too, may think that another holds the tunnel."""
        self.listen(4000, hand_over=lambda transport: self.fail("handed over again"))
        self.assertIsInstance(self.connect(self.ports.served(4000)), Keep)
        self.assertEqual(len(self.ports.visitors), 1)
        self.assertIsNone(self.ports.served(4001))
        self.listen(4001)
        self.assertIsInstance(self.connect(self.ports.served(4001)), Keep)

    def test_who_is_served_counts_as_a_visitor_until_it_leaves(self):
        """And who is handed over does not."""
        answers, asked = [True, False], []
        self.listen(
            4000,
            hand_over=lambda transport: asked.append(transport) or answers[len(asked) - 1],
        )
        self.assertNotIsInstance(self.connect(self.listening[0]), Keep)
        self.assertEqual(len(self.ports.visitors), 0)
        served = self.connect(self.listening[0])
        self.assertIsInstance(served, Keep)
        self.assertEqual(self.ports.visitors, {served})
        self.assertIs(asked[1], served.transport)
        served.connectionLost(None)
        self.assertEqual(self.ports.visitors, set())

    def test_a_tunnel_that_opens_here_is_asked_for_no_other_process(self):
        self.listen(4000, hand_over=lambda transport: True)
        self.listen(4000)
        self.assertIsInstance(self.connect(self.listening[0]), Keep)
        self.assertEqual(len(self.listening), 1)

    def test_a_factory_that_takes_nobody(self):
        self.factory.buildProtocol = lambda addr: None
        self.listen(4000, hand_over=lambda transport: False)
        self.assertTrue(self.connect(self.listening[0]).transport.disconnected)
