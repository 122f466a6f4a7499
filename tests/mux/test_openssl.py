"""The short calls to OpenSSL do what pyOpenSSL's do."""

import importlib.util
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL, _util

from burrow.mux import openssl
from burrow.mux.openssl import DirectConnection, direct
from tests.files import make_certificate


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    certificate, key = make_certificate(tmp_path_factory.mktemp("tls"), "demo.test")
    server = SSL.Context(SSL.TLS_SERVER_METHOD)
    server.use_certificate_chain_file(str(certificate))
    server.use_privatekey_file(str(key))
    return server, SSL.Context(SSL.TLS_CLIENT_METHOD)


def connect(contexts, kind):
    """Two ends whose handshake is done."""
    server, client = (kind(context, None) for context in contexts)
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(3):
        for one, other in ((client, server), (server, client)):
            try:
                one.do_handshake()
            except SSL.WantReadError:
                pass
            if data := drain(one, 1 << 16):
                other.bio_write(data)
    return server, client


def drain(connection, most):
    got = b""
    while True:
        try:
            got += connection.bio_read(most)
        except SSL.WantReadError:
            return got


def read(connection, most):
    """What is there now, in the pieces that came."""
    pieces = []
    while True:
        try:
            pieces.append(connection.recv(most))
        except SSL.WantReadError:
            return pieces


@pytest.mark.parametrize("kind", [SSL.Connection, DirectConnection])
@given(
    sent=st.lists(st.binary(min_size=1, max_size=40_000), min_size=1, max_size=4),
    cut=st.integers(1, 40_000),
    most=st.integers(1, 1 << 15),
)
def test_all_bytes_arrive_however_they_are_cut(contexts, kind, sent, cut, most):
    server, client = connect(contexts, kind)
    encrypted = b""
    for data in sent:
        at = 0
        while at < len(data):
            at += server.send(data[at : at + 16384])
        encrypted += drain(server, most)
    received = []
    for at in range(0, len(encrypted), cut):
        assert client.bio_write(encrypted[at : at + cut]) == len(encrypted[at : at + cut])
        received += read(client, most)
    assert b"".join(received) == b"".join(sent)
    assert all(0 < len(piece) <= most for piece in received)


@pytest.mark.parametrize("kind", [SSL.Connection, DirectConnection])
def test_how_a_connection_ends(contexts, kind):
    server, client = connect(contexts, kind)
    server.send(b"last")
    server.shutdown()
    client.bio_write(drain(server, 1 << 16))
    assert client.recv(100, None) == b"last"
    for _ in range(2):  # asked once more, it says the same
        with pytest.raises(SSL.ZeroReturnError):
            client.recv(100)
    client.shutdown()
    with pytest.raises(SSL.Error):
        client.send(b"too late")
    server.bio_write(b"this is no record of TLS")
    with pytest.raises(SSL.Error):
        server.recv(100)


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize("came", ["nothing", "half a record", "half a handshake"])
def test_a_fin_without_close_notify_is_an_error(contexts, version, came):
    """What a service sends until it closes would else look whole, though its connection was cut."""
    found = []
    of_version = SSL.Context(SSL.TLS_CLIENT_METHOD)
    of_version.set_max_proto_version(version)
    for kind in (SSL.Connection, DirectConnection):
        if came == "half a handshake":
            client = kind(of_version, None)
            client.set_connect_state()
            ask = client.do_handshake
            with pytest.raises(SSL.WantReadError):
                ask()
        else:
            server, client = connect((contexts[0], of_version), kind)
            ask = partial(client.recv, 100)
            with pytest.raises(SSL.WantReadError):
                ask()
            if came == "half a record":
                server.send(b"cut off")
                client.bio_write(drain(server, 1 << 16)[:9])
        client.bio_shutdown()
        with pytest.raises(SSL.Error) as caught:
            ask()
        found.append((caught.type, caught.value.args))
    assert found[0] == found[1]
    assert found[1][0] is not SSL.WantReadError


def test_what_is_only_looked_at(contexts):
    import socket

    server, client = connect(contexts, DirectConnection)
    server.send(b"hello")
    client.bio_write(drain(server, 1 << 16))
    assert client.recv(100, socket.MSG_PEEK) == b"hello"
    assert client.recv(100) == b"hello"


def test_connections_of_others(contexts):
    made = SSL.Connection(contexts[1], None)
    assert direct(made) is made
    assert isinstance(made, DirectConnection)

    class Theirs(SSL.Connection):
        pass

    theirs = Theirs(contexts[1], None)
    assert type(direct(theirs)) is Theirs


@pytest.mark.parametrize("what", ["no function of that name", "no attribute of that name", "no such module"])
def test_a_pyopenssl_whose_inside_is_another(contexts, monkeypatch, what):
    if what == "no function of that name":
        monkeypatch.setattr(_util, "lib", SimpleNamespace(SSL_read=None))
    elif what == "no such module":
        monkeypatch.delattr(_util, "lib")
    else:
        monkeypatch.setattr(SSL, "Connection", _Other)
    spec = importlib.util.spec_from_file_location("another", openssl.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert "recv" not in vars(module.DirectConnection)
    if what != "no attribute of that name":
        server, client = connect(contexts, module.DirectConnection)
        server.release_buffers()
        server.send(b"hello")
        client.bio_write(drain(server, 1 << 16))
        assert read(client, 100) == [b"hello"]


class _Other:
    """A connection that keeps its BIOs elsewhere."""

    def __init__(self, context, socket):
        self._ssl = None
