"""TLS as a visitor's connection has it: what the server sends when."""

import socket
from types import SimpleNamespace

import pytest
from OpenSSL import SSL

from burrow.mux.tls import HalfClosingConnection, HalfClosingTLS, release_buffers
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
