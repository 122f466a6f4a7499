"""Tests for L{burrow.server.nodes.ports}: what happens when a port of another node's tunnel is busy."""

from types import SimpleNamespace

from twisted.internet.address import IPv4Address
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import ConfigError
from burrow.protocols.tcp import TcpProtocol
from burrow.server.nodes.ports import RETRY_AFTER, RemotePorts
from burrow.server.nodes.records import Lease
from burrow.server.ports import Ports


class Elsewhere(SynchronousTestCase):
    """A port of another node's tunnel, which something has here."""

    def setUp(self):
        self.clock = Clock()
        self.reactor = MemoryReactorClock()
        self.busy = True
        self.leases = [Lease("db", "node2", "tcp", 20_000, 1.0)]
        ports = Ports(self, "127.0.0.1", range(20_000, 20_003))
        members = SimpleNamespace(shares={})
        cluster = SimpleNamespace(elsewhere=self.lease, on_leases=[], on_taken=[], members=members)
        self.elsewhere = RemotePorts(
            self.clock, {"tcp": TcpProtocol()}, ports, cluster, None, lambda *visit: False
        )

    def lease(self, name):
        return next((lease for lease in self.leases if lease.name == name), None)

    # The sockets of the ports.

    def listen(self, port, factory, interface, *, shared):
        if self.busy:
            raise CannotListenError(interface, port, OSError("in use"))
        return self.reactor.listenTCP(port, factory, interface=interface)

    def closed(self, port):
        pass

    def test_busy_port_is_tried_until_it_is_open(self):
        self.elsewhere.update(["db"])
        for _ in range(3):
            self.clock.advance(RETRY_AFTER)
        self.assertEqual(self.reactor.tcpServers, [])
        self.busy = False
        self.clock.advance(RETRY_AFTER)
        self.assertEqual(self.reactor.tcpServers[0][0], 20_000)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def admitted(self):
        """The port is open, and lets in this address."""
        (_, factory, *_), *more = self.reactor.tcpServers
        self.assertEqual(more, [])
        address = IPv4Address("TCP", "192.0.2.7", 4711)
        return factory.serve(address) is not None

    def test_rules_that_change_hold_here_too(self):
        """Also if nothing was seen of the moment in which the tunnel was closed."""
        self.busy = False
        for since, (options, lets_in) in enumerate(
            [("", True), ('{"allow": ["198.51.100.0/24"]}', False), ('{"deny": ["198.51.100.0/24"]}', True)]
        ):
            self.leases[:] = [Lease("db", "node2", "tcp", 20_000, float(since), "", options)]
            self.elsewhere.update(["db"])
            self.assertEqual(self.admitted(), lets_in, options)

    def test_port_whose_new_rules_cannot_be_read_is_closed(self):
        self.busy = False
        self.elsewhere.update(["db"])
        self.assertIn(20_000, self.elsewhere._ports._open)
        self.leases[:] = [Lease("db", "node2", "tcp", 20_000, 2.0, "", '{"of a newer release": 1}')]
        self.elsewhere.update(["db"])
        self.assertEqual(len(self.flushLoggedErrors(ConfigError)), 1)
        self.assertEqual(self.elsewhere._ports._open, {})

    def test_no_retry_when_the_tunnel_is_closed_or_the_node_stops(self):
        self.elsewhere.serve(self.leases[0])
        self.leases.clear()
        self.elsewhere.update(["db"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.elsewhere.serve(Lease("db", "node2", "tcp", 20_000, 1.0))
        self.elsewhere.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
