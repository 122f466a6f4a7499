"""Tests for L{burrow.server.edge.hello}, on hellos that OpenSSL made."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burrow.server.edge.hello import MAX_HELLO, ClientHello, NotTLS, read_client_hello


def hello(name, protocols=()):
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    context.verify_mode = ssl.CERT_NONE if name is None else ssl.CERT_REQUIRED
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


WIRE = hello("Name.Example", ["h2", "http/1.1"])


def test_name_and_protocols():
    assert read_client_hello(WIRE) == ClientHello("name.example", (b"h2", b"http/1.1"))
    assert read_client_hello(WIRE + b"more") == ClientHello("name.example", (b"h2", b"http/1.1"))
    assert read_client_hello(hello(None)) == ClientHello(None, ())


@given(st.integers(0, len(WIRE) - 1))
def test_beginning_of_a_hello_waits(size):
    assert read_client_hello(WIRE[:size]) is None


def test_hello_in_several_records():
    body = WIRE[5:]
    records = b"".join(
        b"\x16\x03\x01" + len(body[start : start + 100]).to_bytes(2, "big") + body[start : start + 100]
        for start in range(0, len(body), 100)
    )
    assert read_client_hello(records) == read_client_hello(WIRE)


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x02\x01\x00\x05hello",
        b"\x17\x03\x01\x00\x05hello",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"\x16\x03\x01\x00\x08\x01\x00\x00\x04\x03\x03\x00\x00",
        b"\x16" + bytes([3]) * (MAX_HELLO + 1),
    ],
)
def test_what_is_no_hello(wire):
    with pytest.raises(NotTLS):
        read_client_hello(wire)


@given(st.binary(max_size=100), st.integers(9, len(WIRE) - 101))
def test_damaged_hellos_never_do_worse_than_not_tls(noise, position):
    damaged = WIRE[:position] + noise + WIRE[position + len(noise) :]
    try:
        read_client_hello(damaged)
    except NotTLS:
        pass
