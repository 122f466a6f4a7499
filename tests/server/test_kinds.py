"""Tests for what a server does with tunnels of kinds that are anybody's: options, versions, failures."""

import json

from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from burrow.addresses import parse_port
from burrow.errors import BadOption, ConfigError, UnknownProtocol
from burrow.protocols.kind import PORT, TunnelKind
from burrow.protocols.options import Side, kind_option
from burrow.server.nodes.ports import RemotePorts
from burrow.server.nodes.records import Lease
from burrow.server.ports import Ports
from burrow.server.tunnel import Owner
from burrow.store.memory import MemoryStore
from burrow.testing import SessionPair
from tests.server.parts import Parts


class Fancy(TunnelKind):
    name = "fancy"
    summary = "all that a kind may have"
    options = (
        PORT,
        kind_option("size", "a number", 5, parse=parse_port, number=True),
        kind_option("loud", "a switch", False, side=Side.BOTH),
        kind_option("hidden", "for the agent", side=Side.AGENT),
    )
    version = 4
    oldest = 2
    error = None

    def __init__(self):
        self.tunnels = []

    def check_options(self, options):
        if options["loud"] and options["size"] == 1:
            raise ConfigError("it cannot be loud at size 1")

    def visitor_factory(self, tunnel):
        if self.error is not None:
            raise self.error
        self.tunnels.append(tunnel)
        return super().visitor_factory(tunnel)


class Kinds(SynchronousTestCase):
    def setUp(self):
        self.reactor = MemoryReactorClock()
        self.kind = Fancy()
        self.store = MemoryStore(self.reactor.seconds)
        self.ports = Ports(self, "127.0.0.1", range(20_000, 20_003))
        self.parts = Parts(
            self.reactor,
            self.store,
            {"fancy": self.kind},
            self.ports,
            ready=lambda host, token: succeed(None),
        )

    def listen(self, port, factory, interface, *, shared):
        return self.reactor.listenTCP(port, factory, interface=interface)

    def closed(self, port):
        pass

    def opening(self, versions=(2, 4), **options):
        owner = Owner("token1", "agent1", SessionPair().server, lambda tunnel, by: False)
        return Deferred.fromCoroutine(
            self.parts.opening.open(owner, "fancy", "3000", "blog", options, versions=versions)
        )

    def refused(self, error, words, **options):
        failure = self.failureResultOf(self.opening(**options), error)
        self.assertIn(words, str(failure.value))

    def test_a_tunnel_has_all_options_and_other_nodes_those_that_were_told(self):
        tunnel = self.successResultOf(self.opening(size=7, loud=True))
        self.assertEqual(tunnel.options, {"port": None, "size": 7, "loud": True, "hidden": None})
        self.assertEqual(self.kind.tunnels, [tunnel])
        lease = self.parts.cluster.leases.held["blog"]
        self.assertEqual(json.loads(lease.options), {"size": 7, "loud": True})
        self.assertEqual(lease.version, 4)

    def test_without_options_nothing_is_told(self):
        tunnel = self.successResultOf(self.opening())
        self.assertEqual(tunnel.options["size"], 5)
        self.assertEqual(self.parts.cluster.leases.held["blog"].options, "")

    def test_refused_options(self):
        self.refused(BadOption, "no option speed at this server, of release", speed=1)
        self.refused(BadOption, "no option hidden", hidden="x")
        self.refused(BadOption, 'size = "5" is not possible: write a number', size="5")
        self.refused(BadOption, "size = 0 is not possible", size=0)
        self.refused(BadOption, "loud = 5 is not possible", loud=5)
        self.refused(BadOption, "it cannot be loud", loud=True, size=1)

    def test_the_newest_version_that_both_speak(self):
        for versions, chosen in (((1, 2), 2), ((2, 4), 4), ((3, 9), 4), ((4, 4), 4)):
            self.assertEqual(self.successResultOf(self.opening(versions)).version, chosen)
        for versions, older in (((1, 1), "agent"), ((5, 6), "server")):
            self.refused(UnknownProtocol, f"install a newer release on the {older}", versions=versions)

    def test_a_plugin_that_fails_costs_its_tunnel_alone(self):
        self.kind.error = ZeroDivisionError("a plugin's fault")
        self.refused(BadOption, "plugin for tunnels of kind fancy failed")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.kind.check_options = lambda options: 1 / 0
        self.refused(BadOption, "plugin for tunnels of kind fancy failed")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        del self.kind.check_options
        self.kind.error = ConfigError("not with this server")
        self.refused(BadOption, "not with this server")
        self.kind.error = None
        self.successResultOf(self.opening())

    def remote(self, **fields):
        remote = RemotePorts(
            self.reactor, {"fancy": self.kind}, self.ports, self.parts.cluster, lambda name: None, print
        )
        remote.serve(Lease("shop", "node2", "fancy", 20_002, 1.0, **fields))
        return remote

    def test_another_node_serves_the_port_with_the_options(self):
        self.remote(options='{"size": 7}', version=3)
        (tunnel,) = self.kind.tunnels
        self.assertEqual(tunnel.options, {"port": None, "size": 7, "loud": False, "hidden": None})
        self.assertEqual(tunnel.version, 3)

    def test_another_nodes_options_that_this_release_does_not_know(self):
        self.remote(options='{"speed": 7}')
        self.assertEqual(self.kind.tunnels, [])
        self.assertEqual(len(self.flushLoggedErrors(ConfigError)), 1)
        self.assertEqual(self.reactor.tcpServers, [])
