"""The framework's promise: Twisted protocols written for sockets run on streams, unmodified."""

from twisted.internet import endpoints
from twisted.internet.defer import gatherResults
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.protocol import Factory
from twisted.protocols import amp, basic
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import resource, server

from burrow.mux.endpoint import StreamClientEndpoint, StreamServerEndpoint
from burrow.testing import Recorder, Recorders, SessionPair


class Sum(amp.Command):
    arguments = [(b"a", amp.Integer()), (b"b", amp.Integer())]
    response = [(b"total", amp.Integer())]


class Calculator(amp.AMP):
    @Sum.responder
    def sum(self, a, b):
        return {"total": a + b}


class Shout(basic.LineReceiver):
    def lineReceived(self, line):
        self.sendLine(line.upper())
        if line == b"quit":
            self.transport.loseConnection()


class Page(resource.Resource):
    isLeaf = True

    def render_GET(self, request):
        return b"path " + request.path

    def render_POST(self, request):
        return b"%d bytes" % len(request.content.read())


class Unmodified(SynchronousTestCase):
    def setUp(self):
        self.pair = SessionPair()

    def listen(self, factory):
        return self.successResultOf(StreamServerEndpoint(self.pair.server).listen(factory))

    def connect(self, protocol):
        connecting = endpoints.connectProtocol(StreamClientEndpoint(self.pair.agent), protocol)
        self.pair.pump()
        return self.successResultOf(connecting)

    def test_amp_pair(self):
        self.listen(Factory.forProtocol(Calculator))
        client = self.connect(amp.AMP())
        answers = [client.callRemote(Sum, a=number, b=1) for number in range(50)]
        self.pair.pump()
        totals = self.successResultOf(gatherResults(answers))
        self.assertEqual([answer["total"] for answer in totals], list(range(1, 51)))

    def test_line_receiver(self):
        self.listen(Factory.forProtocol(Shout))
        client = self.connect(Recorder())
        client.transport.write(b"hello\r\nquit\r\n")
        self.pair.pump()
        self.assertEqual(client.received, b"HELLO\r\nQUIT\r\n")
        self.assertIsNotNone(client.lost)

    def test_web_site(self):
        self.listen(server.Site(Page(), reactor=self.pair.clock))
        client = self.connect(Recorder())
        client.transport.write(
            b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n"
            b"POST /two HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\nConnection: close\r\n\r\n"
            + bytes(300_000)
        )
        self.pair.pump()
        self.assertEqual(client.received.count(b"HTTP/1.1 200 OK"), 2)
        self.assertIn(b"path /one", client.received)
        self.assertTrue(client.received.endswith(b"300000 bytes"))
        self.assertIsNotNone(client.lost)

    def test_port_stops_without_touching_open_streams(self):
        accepted = Recorders()
        port = self.listen(accepted)
        self.assertEqual(port.getHost().session, self.pair.server.peer)
        client = self.connect(Recorder())
        port.stopListening()
        client.transport.write(b"still here")
        self.pair.pump()
        self.assertEqual(accepted.built[0].received, b"still here")
        late = self.connect(Recorder())
        self.assertIsNotNone(late.lost)

    def test_one_factory_at_a_time(self):
        self.listen(Recorders())
        self.failureResultOf(StreamServerEndpoint(self.pair.server).listen(Recorders()), CannotListenError)

    def test_connect_on_a_lost_session_fails(self):
        self.pair.agent_carrier.abort()
        self.pair.pump()
        connecting = endpoints.connectProtocol(StreamClientEndpoint(self.pair.agent), Recorder())
        self.failureResultOf(connecting, ConnectError)

    def test_factory_that_builds_nothing(self):
        factory = Factory()
        factory.buildProtocol = lambda addr: None
        self.failureResultOf(StreamClientEndpoint(self.pair.agent).connect(factory), ConnectError)
