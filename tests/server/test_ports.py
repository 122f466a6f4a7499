"""Tests for L{burrow.server.ports} and L{burrow.server.elsewhere}: which ports, and what when one is busy."""

from types import SimpleNamespace

from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from burrow.protocols.tcp import TcpProtocol
from burrow.server.cluster import Lease
from burrow.server.elsewhere import TRY_AGAIN, ElsewherePorts
from burrow.server.ports import Ports, outgoing_warning


def settings(folder, ports, reserved=""):
    (folder / "ip_local_port_range").write_text(ports)
    (folder / "ip_local_reserved_ports").write_text(reserved + "\n")
    return folder


def test_ports_that_outgoing_connections_may_get_are_warned_of(tmp_path):
    here = settings(tmp_path, "32768\t60999\n")
    assert outgoing_warning(range(20_000, 21_000), here) == ""
    assert outgoing_warning(range(32_000, 32_768), here) == ""
    assert outgoing_warning(range(61_000, 61_001), here) == ""
    for shared in (range(32_768, 32_769), range(60_999, 62_000), range(20_000, 65_536)):
        text = outgoing_warning(shared, here)
        assert f"--tcp-ports {shared.start}-{shared.stop - 1} shares" in text
        assert "32768 to 60999" in text


def test_ports_that_the_kernel_keeps_back_are_not(tmp_path):
    here = settings(tmp_path, "32768 60999", "40000-40009,40011")
    assert outgoing_warning(range(40_000, 40_010), here) == ""
    assert outgoing_warning(range(40_011, 40_012), here) == ""
    assert outgoing_warning(range(40_000, 40_011), here) != ""


def test_where_the_kernel_says_nothing_nobody_is_warned(tmp_path):
    assert outgoing_warning(range(40_000, 40_010), tmp_path) == ""
    assert outgoing_warning(range(40_000, 40_010), settings(tmp_path, "none")) == ""


class Elsewhere(SynchronousTestCase):
    """A port of another node's tunnel, which something has here."""

    def setUp(self):
        self.clock = Clock()
        self.reactor = MemoryReactorClock()
        self.busy = True
        self.leases = [Lease("db", "node2", "tcp", 20_000, 1.0)]
        ports = Ports(self, "127.0.0.1", range(20_000, 20_003))
        cluster = SimpleNamespace(theirs=self.leases)
        self.elsewhere = ElsewherePorts(self.clock, {"tcp": TcpProtocol()}, ports, cluster, None)

    # The sockets of the ports.

    def listen(self, port, factory, interface, *, shared):
        if self.busy:
            raise CannotListenError(interface, port, OSError("in use"))
        return self.reactor.listenTCP(port, factory, interface=interface)

    def closed(self, port):
        pass

    def test_busy_port_is_tried_until_it_is_open(self):
        self.elsewhere.update()
        for _ in range(3):
            self.clock.advance(TRY_AGAIN)
        self.assertEqual(self.reactor.tcpServers, [])
        self.busy = False
        self.clock.advance(TRY_AGAIN)
        self.assertEqual(self.reactor.tcpServers[0][0], 20_000)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody_tries_when_the_tunnel_is_gone_or_the_node_stops(self):
        self.elsewhere.serve(self.leases[0])
        self.leases.clear()
        self.elsewhere.update()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.elsewhere.serve(Lease("db", "node2", "tcp", 20_000, 1.0))
        self.elsewhere.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
