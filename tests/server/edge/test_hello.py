"""Tests for L{burrow.certificates.hello}, on hellos that OpenSSL made."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burrow.certificates.hello import (
    MAX_HELLO,
    MAX_NAME,
    MAX_RECORDS,
    ClientHello,
    HelloReader,
    NoName,
    NotTLS,
)


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


def field(size, data):
    return len(data).to_bytes(size, "big") + data


def extension(kind, data):
    return kind.to_bytes(2, "big") + field(2, data)


def server_name(*names, kind=0):
    return extension(0, field(2, b"".join(bytes([kind]) + field(2, name) for name in names)))


def alpn(*protocols):
    return extension(16, field(2, b"".join(field(1, protocol) for protocol in protocols)))


def message(*extensions, padding=0):
    """A ClientHello of our own, with what OpenSSL would not send."""
    extensions = (*extensions, extension(21, bytes(padding)))
    body = b"\x03\x03" + bytes(32) + field(1, b"") + field(2, b"\x13\x01") + field(1, b"\0")
    return b"\x01" + field(3, body + field(2, b"".join(extensions)))


def records(data, size=1 << 14):
    return b"".join(
        b"\x16\x03\x01" + field(2, data[start : start + size]) for start in range(0, len(data), size)
    )


def read(wire):
    return HelloReader().feed(wire)


WIRE = hello("Name.Example", ["h2", "http/1.1"])


def test_name_and_protocols():
    assert read(WIRE) == ClientHello("name.example", (b"h2", b"http/1.1"))
    assert read(WIRE + b"more") == ClientHello("name.example", (b"h2", b"http/1.1"))
    assert read(hello(None)) == ClientHello(None, ())
    assert read(records(message(server_name(b"a.b"), alpn(b"x")))) == ClientHello("a.b", (b"x",))


@given(st.integers(0, len(WIRE) - 1))
def test_beginning_of_a_hello_waits(size):
    assert read(WIRE[:size]) is None


@given(st.lists(st.integers(0, len(WIRE)), max_size=20), st.integers(1, 300))
def test_hello_in_any_records_and_any_pieces(cuts, size):
    wire, reader = records(WIRE[5:], size), HelloReader()
    cuts = sorted(cut for cut in cuts if cut < len(wire))
    results = [
        reader.feed(wire[start:end]) for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)
    ]
    assert results[:-1] == [None] * len(cuts)
    assert results[-1] == ClientHello("name.example", (b"h2", b"http/1.1"))
    assert reader.received == wire


class Counted(bytearray):
    """Counts the bytes that are copied out of it."""

    copied = 0

    def __getitem__(self, index):
        piece = super().__getitem__(index)
        self.copied += len(piece) if isinstance(index, slice) else 1
        return piece


def test_one_byte_at_a_time_costs_no_more_than_its_bytes():
    """Twice the bytes, twice the work, and not four times."""
    for wire in (records(message(padding=MAX_HELLO // 2)), records(message(padding=500), 1)):
        reader = HelloReader()
        reader.received, reader._message = Counted(), Counted()
        for number in range(len(wire) - 1):
            assert reader.feed(wire[number : number + 1]) is None
        assert reader.feed(wire[-1:]) is not None
        assert reader.received.copied + reader._message.copied < 16 * len(wire)


def test_size_at_the_bound_and_one_over():
    room = MAX_HELLO - len(records(message())) - 2 * 5  # it takes two records more
    wire = records(message(padding=room), 16_000)
    assert len(wire) == MAX_HELLO
    assert read(wire) == ClientHello(None, ())
    assert read(wire[:-1]) is None
    with pytest.raises(NotTLS):
        read(records(message(padding=room + 1), 16_000)[:-1])  # before its last byte
    with pytest.raises(NotTLS):
        read(b"\x16\x03\x01\x00\x04\x01" + (MAX_HELLO + 1).to_bytes(3, "big"))
    assert read(b"\x16\x03\x01\x00\x04\x01" + MAX_HELLO.to_bytes(3, "big")) is None


def test_records_at_the_bound_and_one_over():
    wire = records(message(padding=MAX_RECORDS - len(message())), 1)
    assert read(wire) == ClientHello(None, ())
    with pytest.raises(NotTLS):
        read(records(message(padding=MAX_RECORDS + 1 - len(message())), 1))


@pytest.mark.parametrize(
    "name",
    [
        *(b"\xff", b"a\xff.example", "b\u00fccher.example".encode(), b"a\0b.example"),
        *(b"", b".", b".a", b"a..b", b"a..", b"a b", b"a/b", b"a\n", b"*.example"),
        *(b"x" * 64, b"a." * 127 + b"a", b"a" * 300, b"a" * 20_000),
    ],
)
def test_names_that_no_host_has(name):
    with pytest.raises(NoName):
        read(records(message(server_name(name))))


@pytest.mark.parametrize(
    ("name", "read_as"),
    [
        (b"A.Example", "a.example"),
        (b"a.example.", "a.example"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"_x-1.example", "_x-1.example"),
        (b"x" * 63 + b".example", "x" * 63 + ".example"),
        (b"a." * 126 + b"b", "a." * 126 + "b"),
        (b"127.0.0.1", None),
        (b"::1", None),
        (b"2001:DB8::1", None),
    ],
)
def test_names_as_they_are_read(name, read_as):
    assert read(records(message(server_name(name)))).name == read_as


def test_name_at_the_bound_and_one_over():
    longest = b"a." * 126 + b"b"
    assert len(longest) == MAX_NAME
    assert read(records(message(server_name(longest)))).name
    assert read(records(message(server_name(longest + b".")))).name
    with pytest.raises(NoName):
        read(records(message(server_name(longest + b"b"))))


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\r\n",
        b"G",
        b"\x16\x02",
        b"\x16\x02\x01\x00\x05hello",
        b"\x17\x03\x01\x00\x05hello",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\x00\x04\x02",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"\x16\x03\x01\x00\x08\x01\x00\x00\x04\x03\x03\x00\x00",
        b"\x16\x03\x01\x00\x01\x01" + b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x01\x01" + b"\x17\x03\x01\x00\x01\x00",
        b"\x16" + bytes([3]) * (MAX_HELLO + 1),
        records(message(server_name(b"a.example", b"b.example"))),
        records(message(server_name(b"a.example"), server_name(b"a.example"))),
        records(message(alpn(b"a"), alpn(b"a"))),
        records(message(alpn(b""))),
        records(message(alpn())),
    ],
)
def test_what_is_no_hello(wire):
    with pytest.raises(NotTLS):
        read(wire)


def test_names_of_other_types_are_none():
    assert read(records(message(server_name(b"a.example", kind=1)))) == ClientHello(None, ())
    assert read(records(message(extension(0, b"")))) == ClientHello(None, ())


@given(st.binary(max_size=100), st.integers(9, len(WIRE) - 101))
def test_damaged_hellos_never_do_worse_than_not_tls(noise, position):
    damaged = WIRE[:position] + noise + WIRE[position + len(noise) :]
    try:
        result = read(damaged)
    except NotTLS:
        return
    assert result is None or result.name is None or len(result.name) <= MAX_NAME
