"""Tests for L{burrow.client.socks}."""

from burrow.client.socks import ASKED_WITHIN, SocksFactory, WrongRequest, name_of, read_request
from burrow.errors import NoSuchTunnel, NotAllowed, Unavailable
from burrow.mux.control import ConnectAnswer, ConnectHead, decode_connect_head
from tests.client.test_connecting import OK, Case, Socket

GREETING, GREETED = b"\5\2\0\2", b"\5\0"
REPLIED = b"\0\1" + bytes(6)


def request(host=b"box.burrow", command=1, kind=3):
    return bytes([5, command, 0, kind, len(host)]) + host + b"\0\x50"


class Socks(Case):
    def setUp(self):
        super().setUp()
        self.factory = SocksFactory(self.clock, self.connector, self.failures.append)

    def visit(self, *pieces):
        socket = Socket(self.factory.buildProtocol(None))
        for piece in pieces:
            socket.protocol.dataReceived(piece)
        self.pair.pump()
        return socket

    def test_joined_whatever_the_pieces(self):
        whole = GREETING + request()
        for pieces in ([whole], [bytes([byte]) for byte in whole], [whole + b"early"]):
            socket = self.visit(*pieces)
            self.assertEqual(decode_connect_head(self.server.received), (ConnectHead("box"), b""))
            self.assertEqual(socket.value(), GREETED)
            self.server.received = b""
            self.server.transport.write(OK + b"hello")
            self.pair.pump()
            self.assertEqual(socket.value(), GREETED + b"\5\0" + REPLIED + b"hello")
            socket.protocol.dataReceived(b" question")
            self.pair.pump()
            early = b"early" if whole + b"early" in pieces else b""
            self.assertEqual(self.server.received, early + b" question")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused_by_the_server(self):
        for error, code in ((NoSuchTunnel("none"), 4), (NotAllowed("no"), 2), (Unavailable("away"), 1)):
            socket = self.visit(GREETING, request())
            self.server.transport.write(ConnectAnswer.refusing(error).encode())
            self.server.transport.loseConnection()
            self.pair.pump()
            self.assertEqual(socket.value(), GREETED + bytes([5, code]) + REPLIED)
            self.assertTrue(socket.disconnecting)
            self.assertEqual(self.failures.pop().getErrorMessage(), str(error))
            socket.protocol.connectionLost()
        self.assertEqual(self.connector.count, 0)

    def test_what_is_not_possible(self):
        for wrong, code, words in (
            (request(b"example.com"), 2, "leads to NAME.burrow alone"),
            (request(b"burrow"), 2, "leads to NAME.burrow alone"),
            (request(b"-.burrow"), 2, "leads to NAME.burrow alone"),
            (request(command=2), 7, "which is all there is"),
            (request(kind=1), 8, "socks5h://"),
            (b"\4" + request()[1:], 1, "broke the SOCKS protocol"),
        ):
            socket = self.visit(GREETING, wrong)
            self.assertEqual(socket.value(), GREETED + bytes([5, code]) + REPLIED)
            self.assertTrue(socket.disconnecting)
            self.assertIn(words, self.failures.pop().getErrorMessage())
            socket.protocol.connectionLost()

    def test_who_speaks_something_else(self):
        self.assertTrue(self.visit(b"GET / HTTP/1.1\r\n").aborted)
        socket = self.visit(b"\5\1\2")
        self.assertEqual((socket.value(), socket.disconnecting), (b"\5\xff", True))
        socket.protocol.connectionLost()
        silent = self.visit()
        self.clock.advance(ASKED_WITHIN)
        self.assertTrue(silent.aborted)
        self.assertEqual((self.failures, self.clock.getDelayedCalls()), ([], []))

    def test_who_leaves_before_the_answer(self):
        socket = self.visit(GREETING, request())
        socket.protocol.connectionLost()
        self.pair.pump()
        self.assertEqual(self.connector.count, 0)
        self.assertIsNotNone(self.server.lost)

    def test_names(self):
        self.assertEqual(name_of("Box.BURROW."), "box")
        self.assertEqual(read_request(request(b"x" * 255) + b"rest")[1], b"rest")
        self.assertRaises(WrongRequest, name_of, "a.b.burrow")
