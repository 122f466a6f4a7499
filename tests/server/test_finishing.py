"""Tests for L{burrow.server.finishing} and L{burrow.sockets}: what runs, and what is ended."""

import struct
from types import SimpleNamespace

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow import sockets
from burrow.server import finishing
from burrow.server.edge.front import PlainFront
from burrow.server.edge.sweep import Sweep
from burrow.server.edge.tls import TLSFront
from burrow.server.finishing import FRESH, Finishing
from burrow.sockets import QUIET, idle


class Visitor:
    """
    A visitor's connection, as far as a stop concerns it.

    @ivar finished: what was ended: its part of a tunnel, or all of it.
    """

    def __init__(self, running=False, asked=True, tunnel=None):
        self.running, self.asked, self.tunnel = running, asked, tunnel
        self.finished = []

    def parts(self):
        return (self,)

    def finish(self):
        self.finished.append("part")

    def end(self):
        self.finished.append("connection")


class TcpTransport:
    """A TCP visitor's connection."""

    disconnecting = False
    transport = None

    def loseConnection(self):
        self.disconnecting = True


class Stopping(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.edge = SimpleNamespace(visitors=set())
        self.ports = []
        self.held = {"open"}
        self.elsewhere = False
        self.private = []
        self.idle = True
        self.patch(finishing, "idle", lambda transport: self.idle)
        self.sweep = Sweep(self.clock)
        self.finishing = Finishing(
            self.clock,
            self.edge,
            self.sweep,
            ports=lambda: self.ports,
            held=lambda tunnel: tunnel in self.held,
            elsewhere=lambda: self.elsewhere,
            private=lambda: self.private,
        )

    def finish(self, within=20.0):
        return Deferred.fromCoroutine(self.finishing.finish(within))

    def test_nothing_runs(self):
        self.edge.visitors = {Visitor(), Visitor()}
        self.assertIsNone(self.successResultOf(self.finish()))
        self.assertEqual(
            [visitor.finished for visitor in self.edge.visitors], [["connection"], ["connection"]]
        )

    def test_what_runs_is_waited_for(self):
        busy = Visitor(running=True)
        self.edge.visitors = {busy}
        done = self.finish()
        self.clock.pump([1] * 10)
        self.assertNoResult(done)
        self.assertEqual(busy.finished, [])
        busy.running = False
        self.clock.advance(1)
        self.successResultOf(done)
        self.assertEqual(busy.finished, ["connection"])

    def test_a_private_connection_is_waited_for_until_it_is_silent(self):
        written, read = [], []

        class Stream(TcpTransport):
            def write(self, data):
                written.append(data)

        class Visitor:
            transport = Stream()

            def dataReceived(self, data):
                read.append(data)

        visitor = Visitor()
        self.private = [visitor]
        done = self.finish()
        for _ in range(5):
            self.clock.advance(QUIET * 0.6)
            visitor.dataReceived(b"in")
            self.clock.advance(QUIET * 0.6)
            visitor.transport.write(b"out")
        self.assertNoResult(done)
        self.assertFalse(visitor.transport.disconnecting)
        self.assertEqual((written, read), ([b"out"] * 5, [b"in"] * 5))
        self.clock.pump([QUIET, 0.1])
        self.assertTrue(visitor.transport.disconnecting)
        self.successResultOf(done)

    def test_no_longer_than_allowed(self):
        self.elsewhere = True
        done = self.finish(20)
        self.clock.pump([0.1] * 199)
        self.assertNoResult(done)
        self.clock.pump([0.1] * 2)
        self.successResultOf(done)

    def test_new_connection_may_ask(self):
        new = Visitor(asked=False)
        self.edge.visitors = {new}
        done = self.finish()
        self.clock.pump([0.1] * int(FRESH / 0.1 - 1))
        self.assertNoResult(done)
        self.assertEqual(new.finished, [])
        self.clock.pump([0.1] * 2)
        self.successResultOf(done)
        self.assertEqual(new.finished, ["connection"])

    def test_connection_that_begins_tls_may_go_on(self):
        front = TLSFront(None, None)
        self.sweep.add(front, 10)
        done = self.finish()
        self.assertNoResult(done)
        self.sweep.discard(front)
        self.clock.advance(0.1)
        self.successResultOf(done)

    def test_connection_of_the_plain_port_whose_head_has_not_come_is_a_visitor_from_then_on(self):
        served = []
        front = PlainFront(SimpleNamespace(sweep=self.sweep, idle_timeout=75.0), None)
        front.connectionMade()
        self.patch(PlainFront, "serve", lambda front: served.append(front))
        self.finishing.serve_fronts()
        self.assertEqual(served, [front])

    def test_tcp_is_ended_when_it_is_idle(self):
        visitor = SimpleNamespace(transport=TcpTransport(), tunnel="open")
        self.ports = [visitor]
        self.idle = False
        done = self.finish()
        self.assertFalse(visitor.transport.disconnecting)
        self.idle = True
        self.clock.advance(0.1)
        self.successResultOf(done)
        self.assertTrue(visitor.transport.disconnecting)

    def test_closed_tunnels_keep_what_runs(self):
        here, busy, none = Visitor(tunnel="open"), Visitor(running=True, tunnel="gone"), Visitor()
        kept = Visitor(tunnel="gone")
        tcp = SimpleNamespace(transport=TcpTransport(), tunnel="gone")
        self.edge.visitors = {here, busy, none, kept}
        self.ports = [tcp]
        self.finishing.end_idle()
        self.clock.advance(0)
        self.assertEqual([each.finished for each in (here, busy, none, kept)], [[], [], [], ["part"]])
        self.assertTrue(tcp.transport.disconnecting)
        busy.running = False
        self.edge.visitors.discard(kept)
        self.clock.advance(1)
        self.assertEqual(busy.finished, ["part"])
        self.assertEqual(self.clock.getDelayedCalls(), [])  # nothing is looked for any more


class Quiet(SynchronousTestCase):
    def transport(self, sent, received):
        info = struct.pack("=8B13I", *[0] * 8, *[0] * 9, int(sent * 1000), 0, int(received * 1000), 0)
        handle = SimpleNamespace(getsockopt=lambda level, option, size: info)
        return SimpleNamespace(socket=handle, transport=None)

    def check(self, sent, received, waiting=0):
        self.patch(sockets, "_unacknowledged", lambda handle: waiting)
        return idle(self.transport(sent, received))

    def test_silence_both_ways(self):
        self.assertTrue(self.check(QUIET, QUIET))
        self.assertTrue(self.check(QUIET, 100))
        self.assertFalse(self.check(QUIET - 0.001, 100))
        self.assertFalse(self.check(100, QUIET - 0.001))

    def test_visitor_that_spoke_last_waits_for_an_answer(self):
        self.assertFalse(self.check(100, 50))

    def test_bytes_on_their_way(self):
        self.assertFalse(self.check(100, 100, waiting=1))

    def test_system_that_cannot_tell(self):
        self.assertFalse(idle(SimpleNamespace(transport=None)))
        self.patch(sockets.sys, "platform", "darwin")
        self.assertFalse(self.check(100, 100))
