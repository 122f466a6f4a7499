"""TLS as a visitor's connection has it: what the server sends when."""

import socket
from types import SimpleNamespace

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IListeningPort,
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.mux.tls import HalfClosingConnection, HalfClosingTLS, release_buffers
from burrow.testing import HalfCloseRecorder, Recorder
from tests.files import make_certificate


class _Socket:
    def __init__(self, error=None):
        self.error, self.options = error, []

    def setsockopt(self, *option):
        self.options.append(option)
        if self.error is not None:
            raise self.error


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = make_certificate(folder, "demo.test")
    made = SSL.Context(SSL.TLS_SERVER_METHOD)
    made.use_certificate_chain_file(str(certificate))
    made.use_privatekey_file(str(key))
    return made


def step(connection):
    """One step of a handshake. @return: whether it is done."""
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        return False
    return True


def nothing(connection):
    with pytest.raises(SSL.WantReadError):
        connection.recv(100)


def pending(connection):
    try:
        return connection.bio_read(65536)
    except SSL.WantReadError:
        return b""


def shake_hands(context, handle, version, request=b""):
    """@param request: what the client sends with the end of its handshake, in TLS 1.3."""
    server = HalfClosingConnection(
        context, SimpleNamespace(transport=SimpleNamespace(socket=handle), socket_ended=False)
    )
    server.set_accept_state()
    ours = SSL.Context(SSL.TLS_CLIENT_METHOD)
    ours.set_max_proto_version(version)
    client = SSL.Connection(ours, None)
    client.set_connect_state()
    done = False
    while not done:
        if step(client) and request:
            client.send(request)
        if data := pending(client):
            server.bio_write(data)
        done = step(server)
        if not done:
            client.bio_write(pending(server))
    return server, client


def test_tickets_wait_for_the_answer_and_what_came_is_acknowledged(context):
    handle = _Socket()
    server, client = shake_hands(context, handle, SSL.TLS1_3_VERSION)
    assert pending(server) == b""
    assert handle.options == []
    nothing(server)
    nothing(server)
    option = getattr(socket, "TCP_QUICKACK", None)
    assert handle.options == [(socket.IPPROTO_TCP, option, 1)] * (option is not None)
    server.send(b"answer")
    client.bio_write(pending(server))
    assert client.recv(100) == b"answer"
    assert client.get_session() is not None
    assert len(handle.options) <= 1


def test_a_request_that_came_with_the_handshake_is_acknowledged_by_its_answer(context):
    handle = _Socket()
    server, _ = shake_hands(context, handle, SSL.TLS1_3_VERSION, b"question")
    assert server.recv(100) == b"question"
    nothing(server)
    assert handle.options == []


def test_a_socket_that_cannot_acknowledge_at_once(context):
    server, client = shake_hands(context, _Socket(OSError()), SSL.TLS1_3_VERSION)
    nothing(server)
    server.send(b"answer")
    client.bio_write(pending(server))
    assert client.recv(100) == b"answer"


def test_what_tls_1_2_sends_last_acknowledges(context):
    handle = _Socket()
    server, _ = shake_hands(context, handle, SSL.TLS1_2_VERSION)
    assert pending(server)
    nothing(server)
    assert handle.options == []


def test_buffers_are_released_once_nothing_waits_in_them(context):
    server, client = shake_hands(context, _Socket(), SSL.TLS1_3_VERSION)
    server.send(b"answer")
    before = server._into_ssl, server._from_ssl
    server.release_buffers()  # the answer waits
    assert (server._into_ssl, server._from_ssl) == before
    client.bio_write(pending(server))
    client.send(b"question")
    record = pending(client)
    server.bio_write(record[:10])
    server.release_buffers()  # half a record waits
    assert (server._into_ssl, server._from_ssl) == before
    with pytest.raises(SSL.WantReadError):
        server.recv(100)
    server.release_buffers()
    assert server._into_ssl not in before
    assert server._from_ssl not in before
    server.bio_write(record[10:])
    assert server.recv(100) == b"question"
    assert client.recv(100) == b"answer"
    server.release_buffers()
    server.send(b"another")
    client.bio_write(pending(server))
    assert client.recv(100) == b"another"
    assert server.shutdown() is False
    client.bio_write(pending(server))
    with pytest.raises(SSL.ZeroReturnError):
        client.recv(100)


def test_buffers_stay_behind_the_peers_fin(context):
    server, _ = shake_hands(context, _Socket(), SSL.TLS1_3_VERSION)
    server.send(b"answer")
    pending(server)
    before = server._into_ssl
    server._tls.socket_ended = True
    server.release_buffers()
    assert server._into_ssl == before


def test_buffers_of_what_is_no_tls_or_has_ended():
    release_buffers(object())
    ended = HalfClosingTLS.__new__(HalfClosingTLS)
    ended._tlsConnection = None
    release_buffers(ended)


@implementer(IOpenSSLServerConnectionCreator)
class Creator:
    """What the factory of a L{HalfClosingTLS} has."""

    def __init__(self, context):
        self.context = context

    def serverConnectionForTLS(self, protocol):
        return HalfClosingConnection(self.context, protocol)


class Tls:
    """
    A server's connection with a protocol inside, and its client, whose network is the test.

    @ivar inside: the protocol. @ivar socket: the transport under TLS.
    """

    def __init__(self, context, inside, version=SSL.TLS1_3_VERSION):
        self.inside = inside
        self.clock = Clock()
        wrapped = Factory.forProtocol(lambda: inside)
        wrapped.noisy = False
        factory = TLSMemoryBIOFactory(Creator(context), False, wrapped, self.clock)
        factory.protocol = HalfClosingTLS
        factory.noisy = False
        self.tls = factory.buildProtocol(None)
        self.socket = StringTransport()
        self.tls.makeConnection(self.socket)
        ours = SSL.Context(SSL.TLS_CLIENT_METHOD)
        ours.set_max_proto_version(version)
        self.client = SSL.Connection(ours, None)
        self.client.set_connect_state()
        for _ in range(4):
            step(self.client)
            self.carry()

    def carry(self):
        """What each side has to say reaches the other."""
        for _ in range(4):
            self.clock.advance(0)
            if data := pending(self.client):
                self.tls.dataReceived(data)
            if data := self.socket.value():
                self.socket.clear()
                self.client.bio_write(data)

    def read(self):
        """What the client reads; None for the server's close_notify."""
        self.carry()
        try:
            return self.client.recv(1000)
        except SSL.WantReadError:
            return b""
        except SSL.ZeroReturnError:
            return None

    def fin(self):
        """The client's FIN. @return: whether the connection outlives it."""
        end = IHalfCloseableProtocol(self.tls, None)
        if end is None:
            self.tls.connectionLost(Failure(ConnectionDone()))
            return False
        end.readConnectionLost()
        self.carry()
        return not self.socket.disconnecting


VERSIONS = pytest.mark.parametrize("version", [SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION])


@VERSIONS
def test_protocol_goes_on_after_the_peers_close_notify(context, version):
    on = Tls(context, HalfCloseRecorder(), version)
    on.client.send(b"request")
    on.client.shutdown()
    on.carry()
    assert (on.inside.received, on.inside.read_lost, on.inside.lost) == (b"request", True, None)
    assert not on.socket.disconnecting
    on.inside.transport.write(b"answer")
    assert on.read() == b"answer"
    assert on.fin()
    on.inside.transport.write(b" and more")
    assert on.read() == b" and more"
    on.inside.transport.loseConnection()
    assert on.read() is None
    assert on.socket.disconnecting


@VERSIONS
def test_protocol_goes_on_after_the_peers_fin(context, version):
    """Whose close_notify never comes."""
    on = Tls(context, HalfCloseRecorder(), version)
    on.client.send(b"request")
    on.carry()
    assert on.fin()
    assert on.inside.read_lost
    on.inside.transport.write(b"answer")
    assert on.read() == b"answer"
    assert not on.socket.disconnecting
    on.inside.transport.loseConnection()
    assert on.read() is None
    assert on.socket.disconnecting


def test_end_of_the_peers_half_is_told_once(context):
    on = Tls(context, HalfCloseRecorder())
    told = []
    on.inside.readConnectionLost = lambda: told.append(1)
    on.client.shutdown()
    on.carry()
    on.fin()
    on.fin()
    assert told == [1]


@VERSIONS
def test_protocol_that_knows_no_halves_ends_with_the_peers(context, version):
    on = Tls(context, Recorder(), version)
    on.client.send(b"request")
    on.client.shutdown()
    on.carry()
    assert on.inside.received == b"request"
    assert on.socket.disconnecting
    assert on.fin() is False
    assert on.inside.lost.check(ConnectionDone)


def test_fin_behind_our_close_notify_ends_the_connection(context):
    on = Tls(context, HalfCloseRecorder())
    on.inside.transport.loseConnection()
    assert on.read() is None
    assert not on.socket.disconnecting  # the peer may still be sending
    assert on.fin() is False
    assert not on.inside.read_lost


def test_record_that_is_damaged_ends_the_connection_with_an_alert(context):
    on = Tls(context, HalfCloseRecorder())
    on.tls.dataReceived(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(SSL.Error, match="bad record mac"):
        on.read()
    assert on.socket.disconnecting


def test_what_the_socket_asks_its_protocol(context):
    on = Tls(context, HalfCloseRecorder())
    assert IListeningPort(on.tls, None) is None
    assert IHalfCloseableProtocol(on.tls).writeConnectionLost() is None
