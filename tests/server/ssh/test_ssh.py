"""Tests for L{burrow.server.ssh}: keys, joined sessions, and how fast a visitor's channel goes."""

from pathlib import Path
from types import SimpleNamespace

from twisted.conch.ssh.common import NS
from twisted.conch.ssh.keys import Key
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from burrow.mux.control import VisitorHead
from burrow.mux.session import Session
from burrow.server.ssh.channels import WINDOW, FlowingConnection, Forwarded, Visitor
from burrow.server.ssh.connections import Connections
from burrow.server.ssh.keepalive import ASK_EVERY, SILENT_LOOKS
from burrow.server.ssh.login import LOGIN_WITHIN
from burrow.server.ssh.memory import join_sessions
from burrow.server.ssh.service import SshServer, host_key
from burrow.store.base import Token
from burrow.testing import HalfCloseRecorder, Recorders, SessionPair

PEER = IPv4Address("TCP", "192.0.2.7", 4711)


class Joined(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.one = Session(self.clock, client=True, factory=Recorders(HalfCloseRecorder))
        self.two = Session(self.clock, client=False)
        join_sessions(self.clock, self.one, self.two, PEER)
        self.lost = []
        for session in (self.one, self.two):
            session.on_lost.append(lambda reason: self.lost.append(reason.type))

    def run_clock(self):
        for _ in range(2000):
            self.clock.advance(0)

    def test_what_one_sends_the_other_receives(self):
        self.assertEqual(self.two.peer, PEER)
        end = HalfCloseRecorder()
        self.two.open_stream(end)
        end.transport.write(b"x" * 200_000)
        self.run_clock()
        (there,) = self.one.factory.built
        self.assertEqual(there.received, b"x" * 200_000)
        there.transport.write(b"answer")
        there.transport.loseConnection()
        self.run_clock()
        self.assertEqual(end.received, b"answer")

    def test_both_end_together(self):
        self.two.close("over")
        self.run_clock()
        self.assertEqual(self.lost, [ConnectionDone, ConnectionDone])
        self.setUp()
        self.one.abort()
        self.run_clock()
        self.assertEqual(self.lost, [ConnectionLost, ConnectionLost])


class Keys(SynchronousTestCase):
    def setUp(self):
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def test_the_servers_key_is_made_once(self):
        made = host_key(self.folder)
        self.assertEqual(host_key(self.folder), made)
        self.assertEqual((self.folder / "ssh-host-key").stat().st_mode & 0o777, 0o600)
        (self.folder / "ssh-host-key").write_text("nothing")
        self.assertRaises(ValueError, host_key, self.folder)

    def test_whose_a_key_is(self):
        ours, viewers, nobodys = (
            host_key(self.folder / name) for name in ("a", "b", "c") if not (self.folder / name).mkdir()
        )
        tokens = [Token("1", "laptop", "agent", b"", 0.0), Token("2", "screen", "viewer", b"", 0.0)]
        store = SimpleNamespace(tokens=lambda: succeed(tokens))
        file = self.folder / "keys"
        server = SshServer(Clock(), store, None, file, None, execute, Connections(Clock()))

        def token(key):
            return self.successResultOf(Deferred.fromCoroutine(server.by_key(key.public().blob())))

        self.assertIsNone(token(ours))  # there is no file
        lines = [
            "# comment",
            "ssh-ed25519 AAAA broken",
            f"{line(ours)} laptop",
            f"{line(viewers)} screen",
            line(nobodys),
            f"#{line(nobodys)} laptop",
            f"{line(nobodys)} unknown",
        ]
        file.write_text("\n".join(lines))
        self.assertEqual(token(ours), tokens[0])
        self.assertIsNone(token(viewers))
        self.assertIsNone(token(nobodys))


class Strangers(SynchronousTestCase):
    """Connections before a token is shown: what they may take."""

    def setUp(self):
        self.clock = Clock()
        key = host_key(Path(self.mktemp()))
        self.connections = Connections(self.clock)
        factory = SshServer(self.clock, None, None, None, key, execute, self.connections).factory()
        factory.doStart()
        self.protocol = factory.buildProtocol(PEER)
        self.transport = StringTransportWithDisconnection()
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)

    def let_in(self):
        """Go on as after the login. @return: the client."""
        service = FlowingConnection()
        self.said = []
        client = self.protocol.avatar = SimpleNamespace(conn=None, has_visitors=False, say=self.said.append)
        self.protocol.logoutFunction = lambda: None
        self.protocol.setService(service)
        return client

    def test_a_connection_is_there_from_its_begin_to_its_end(self):
        self.assertEqual(self.connections.open, {self.protocol})
        self.assertTrue(self.protocol.idle)
        self.connections.tell("nobody hears this")
        self.transport.loseConnection()
        self.assertEqual(self.connections.open, set())

    def test_who_has_visitors_is_not_idle(self):
        client = self.let_in()
        self.assertTrue(self.protocol.idle)
        client.has_visitors = True
        self.assertFalse(self.protocol.idle)

    def test_who_comes_after_the_news_hears_it(self):
        self.connections.tell("news")
        self.let_in()
        self.assertEqual(self.said, ["news"])
        self.connections.tell("more")
        self.assertEqual(self.said, ["news", "more"])

    def test_who_is_ended_is_told_why_once(self):
        self.transport.clear()
        self.protocol.end("the server stops")
        self.protocol.end("again")
        self.assertEqual(self.transport.value().count(b"\0\0\0\x0b\0\0\0\x10the server stops"), 1)
        self.assertNotIn(b"again", self.transport.value())
        self.assertFalse(self.transport.connected)
        self.assertEqual(self.protocol.farewell, "the server stops")

    def test_who_says_good_bye_has_left(self):
        self.protocol.ssh_DISCONNECT(b"\0\0\0\x0b\0\0\0\0\0\0\0\0")
        self.assertEqual(self.protocol.farewell, "the ssh client left")

    def test_who_says_nothing_is_not_waited_for(self):
        self.clock.advance(LOGIN_WITHIN - 1)
        self.assertTrue(self.transport.connected)
        self.protocol.dataReceived(b"SSH-2.0-slow\r\n")  # a step on does not begin it anew
        self.clock.advance(1)
        self.assertFalse(self.transport.connected)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_leaves_leaves_no_timer(self):
        self.transport.loseConnection()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_is_let_in_may_stay(self):
        self.let_in()
        self.pass_time(10 * LOGIN_WITHIN, b"\0")
        self.assertTrue(self.transport.connected)

    def pass_time(self, seconds, data=b""):
        """Let time pass. @param data: what comes meanwhile, little by little."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            if data:
                self.protocol.dataReceived(data)

    def test_who_is_silent_is_asked_and_then_cut_without_a_good_bye(self):
        self.let_in()
        self.protocol._keyExchangeState = self.protocol._KEY_EXCHANGE_NONE  # packets do not wait for its end
        self.transport.clear()
        question = b"\x50" + NS(b"keepalive@openssh.com") + b"\1"
        self.pass_time(ASK_EVERY - 1)
        self.assertNotIn(question, self.transport.value())
        self.pass_time(ASK_EVERY * (SILENT_LOOKS - 1))
        self.assertEqual(self.transport.value().count(question), SILENT_LOOKS - 1)
        self.assertTrue(self.transport.connected)
        self.pass_time(1)
        self.assertFalse(self.transport.connected)
        self.assertEqual(self.protocol.farewell, "")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_client_that_asks_for_the_service_twice_is_watched_once(self):
        self.let_in()
        self.let_in()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_answers_that_nobody_asked_for_do_no_harm(self):
        self.let_in()
        for answer in (81, 82):  # REQUEST_SUCCESS, REQUEST_FAILURE
            self.protocol.dispatchMessage(answer, b"")
        self.assertTrue(self.transport.connected)

    def test_who_reads_no_answers_is_not_read(self):
        self.assertIs(self.transport.producer, self.transport)
        self.assertTrue(self.transport.streaming)


def line(key: Key) -> str:
    return " ".join(key.public().toString("openssh").decode().split()[:2])


class Flow(SynchronousTestCase):
    def setUp(self):
        self.packets = []
        self.connection = FlowingConnection()
        self.connection.transport = SimpleNamespace(
            sendPacket=lambda kind, data: self.packets.append((kind, len(data)))
        )
        pair = self.pair = SessionPair()
        self.asked = []
        visitor = Visitor(lambda visitor, head: bool(self.asked.append(head)) or True)
        pair.agent.listen(SimpleNamespace(buildProtocol=lambda addr: visitor))
        self.stream = HalfCloseRecorder()
        pair.server.open_stream(self.stream, VisitorHead("blog", "192.0.2.1:5", "http").encode())
        self.stream.transport.write(b"early")
        pair.pump()
        self.channel = Forwarded(visitor, self.connection)
        self.connection.openChannel(self.channel)
        self.connection.channelsToRemoteChannel[self.channel] = 7

    def confirm(self, window):
        self.channel.remoteWindowLeft, self.channel.remoteMaxPacket = window, 32768
        self.packets.clear()
        self.channel.channelOpen(b"")
        self.pair.pump()

    def sent(self):
        """Bytes of data packets (94) with their heads of 8 bytes; and other packets."""
        data = sum(size - 8 for kind, size in self.packets if kind == 94)
        return data, [kind for kind, _ in self.packets if kind != 94]

    def test_no_more_is_sent_than_the_head_asks_for(self):
        visitor = Visitor(lambda visitor, head: True)
        self.pair.agent.stop_listening()
        self.pair.agent.listen(SimpleNamespace(buildProtocol=lambda addr: visitor))
        head = VisitorHead("blog", "192.0.2.1:5", "http", 20_000).encode()
        reader = HalfCloseRecorder()
        self.pair.server.open_stream(reader, head).pauseProducing()
        self.pair.pump()
        visitor.transport.write(bytes(100_000))
        self.pair.pump()
        self.assertEqual(reader.transport.state.received, 20_000)

    def test_what_the_client_does_not_take_stays_with_the_visitor(self):
        self.assertEqual(self.asked, [VisitorHead("blog", "192.0.2.1:5", "http")])
        self.confirm(10 * WINDOW)
        self.assertEqual(self.sent(), (5, []))
        self.stream.transport.write(bytes(4 * WINDOW))
        self.pair.pump()
        self.assertEqual(self.sent()[0], WINDOW)
        self.assertLessEqual(len(self.channel.buf), 64 * 1024)
        for _ in range(100):
            self.channel.addWindowBytes(WINDOW // 4)
            self.pair.pump()
        self.assertEqual(self.sent()[0], 4 * WINDOW + 5)

    def test_an_end_waits_for_what_goes_before_it(self):
        self.confirm(7)
        self.stream.transport.write(b"four")
        self.stream.transport.loseWriteConnection()
        self.pair.pump()
        self.assertEqual(self.sent(), (7, []))
        self.channel.addWindowBytes(100)
        self.pair.pump()
        self.assertEqual(self.sent(), (9, [96]))  # EOF

    def test_a_client_is_not_read_while_the_visitor_does_not(self):
        self.confirm(WINDOW)
        self.channel.paused = True
        self.connection.adjustWindow(self.channel, 5)
        self.assertEqual(self.sent()[1], [])
        self.channel.localWindowLeft = 0
        self.channel._transport.resumeProducing()
        self.assertEqual(self.sent()[1], [93])
        self.channel.dataReceived(b"answer")
        self.channel.eofReceived()
        self.pair.pump()
        self.assertEqual(self.stream.received, b"answer")
        self.assertTrue(self.stream.read_lost)

    def test_a_service_that_is_away(self):
        self.channel.openFailed(None)
        self.pair.pump()
        self.assertIn(b"Burrow-Error: refused", self.stream.received)

    def test_a_visitor_that_left_before(self):
        self.stream.transport.abortConnection()
        self.pair.pump()
        self.confirm(WINDOW)
        self.assertEqual(self.sent(), (0, [97]))  # close
