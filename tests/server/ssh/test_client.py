"""Tests for L{burrow.server.ssh.client}: tunnels of a client, and visitors that come before their answers."""

import struct
from types import SimpleNamespace

from twisted.conch.ssh.common import NS
from twisted.conch.ssh.connection import MSG_REQUEST_FAILURE, MSG_REQUEST_SUCCESS
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.protocols.amp import AMP
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import NameTaken
from burrow.mux.control import OpenTunnel, VisitorHead
from burrow.server.ssh.client import SshClient
from burrow.store.base import Token
from burrow.testing import HalfCloseRecorder

PEER = IPv4Address("TCP", "192.0.2.7", 4711)


class Server(AMP):
    """The server's end of the control channel. C{asked}: what opens now."""

    def __init__(self):
        super().__init__()
        self.asked = []

    @OpenTunnel.responder
    def open(self, **asked):
        self.asked.append(Deferred())
        return self.asked[-1]


class Opening(SynchronousTestCase):
    def setUp(self):
        self.clock, self.server = Clock(), Server()
        agents = SimpleNamespace(admit=lambda token, handshake: None, begin=self.begin)
        self.client = SshClient(self.clock, agents, "blog", Token("1", "laptop", "agent", b"", 0.0))
        self.channels, self.ended, self.replies, self.said = [], [], [], []
        ssh = SimpleNamespace(
            transport=SimpleNamespace(getPeer=lambda: PEER), end=self.ended.append, farewell=""
        )
        self.client.conn = SimpleNamespace(
            transport=ssh, openChannel=lambda channel, data: self.channels.append(data), channels={}
        )
        self.client.shown_on(SimpleNamespace(say=self.said.append))

    def begin(self, session, lifeline, token, handshake):
        self.session = session
        factory = Factory()
        factory.buildProtocol = lambda addr: self.server
        session.listen(factory)

    def run_clock(self):
        for _ in range(50):
            self.clock.advance(0)

    def forward(self, port):
        """The client wants a port forwarded, and the server is asked."""
        data = NS(b"localhost") + struct.pack(">L", port)
        self.client.forward(data, lambda *answer: self.replies.append((*answer, len(self.channels))))
        self.run_clock()

    def answer(self, found):
        self.server.asked[-1].callback(found)
        self.run_clock()

    def visit(self, name):
        visitor = HalfCloseRecorder()
        self.session.open_stream(visitor, VisitorHead(name, "192.0.2.1:5", "http").encode())
        self.run_clock()
        return visitor

    def test_a_visitor_that_comes_before_the_answer_waits_for_it(self):
        self.forward(80)
        visitor = self.visit("blog")
        self.assertEqual((self.channels, visitor.received), ([], b""))
        self.answer({"tunnel": "blog", "name": "blog", "url": "https://blog.example.com"})
        self.assertEqual(self.replies, [(MSG_REQUEST_SUCCESS, b"", 0)])  # its channel comes behind it
        self.assertEqual(len(self.channels), 1)
        self.assertEqual(self.said[1:], ["https://blog.example.com"])

    def test_a_visitor_of_a_tunnel_that_is_refused_gets_the_page(self):
        self.forward(80)
        visitor = self.visit("blog")
        self.server.asked[-1].errback(NameTaken("blog is another's"))
        self.run_clock()
        self.assertEqual(self.replies, [(MSG_REQUEST_FAILURE, b"", 0)])
        self.assertEqual(self.channels, [])
        self.assertIn(b"Burrow-Error: refused", visitor.received)

    def test_a_visitor_of_no_tunnel_gets_the_page_at_once(self):
        self.forward(80)
        self.answer({"tunnel": "blog", "name": "blog", "url": "https://blog.example.com"})
        self.assertIn(b"Burrow-Error: refused", self.visit("other").received)

    def test_a_terminal_that_comes_while_a_tunnel_opens_hears_of_it_alone(self):
        self.assertIn("no tunnel is open", self.said[0])
        self.forward(80)
        said = []
        self.client.shown_on(SimpleNamespace(say=said.append))
        self.assertEqual(said, [])

    def test_the_reason_why_the_server_ends_the_session_is_told(self):
        self.forward(80)
        self.session.close("the token was revoked")
        self.run_clock()
        self.assertEqual(self.ended, ["the token was revoked"])
        self.assertEqual(self.replies, [(MSG_REQUEST_FAILURE, b"", 0)])
