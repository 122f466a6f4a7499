"""Tests for L{burrow.mux.control}."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp

from burrow.errors import NameTaken, NoSuchTunnel, Refused, Unavailable, WireError
from burrow.mux.control import (
    _ERRORS,
    BYTES,
    DATAGRAMS,
    MAX_HEAD,
    QUESTION,
    CloseTunnel,
    ConnectAnswer,
    ConnectHead,
    Drain,
    Notice,
    OpenTunnel,
    VisitorHead,
    decode_box,
    decode_connect_answer,
    decode_connect_head,
    decode_visitor_head,
    encode_box,
    shown,
    tcp_address,
    visitor_address,
    window_of,
)
from burrow.wire.windows import INITIAL_WINDOW

HEAD = VisitorHead("blog", "[::1]:1234", "https")
WINDOWS = st.integers(1, INITIAL_WINDOW)


@given(st.binary(max_size=50), WINDOWS)
def test_head_reads_back_with_what_is_behind_it(rest, window):
    for head in (HEAD, HEAD._replace(window=window)):
        wire = head.encode()
        assert decode_visitor_head(wire + rest) == (head, rest)
        for size in range(len(wire)):
            assert decode_visitor_head(wire[:size]) is None


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300), WINDOWS)
def test_head_is_the_box_that_amp_writes(tunnel, visitor, scheme, window):
    """A window that every yamux has is not told."""
    fields = {"tunnel": tunnel, "visitor": visitor, "scheme": scheme}
    assert VisitorHead(tunnel, visitor, scheme).encode() == encode_box(fields)
    told = {} if window == INITIAL_WINDOW else {"window": str(window)}
    assert VisitorHead(tunnel, visitor, scheme, window).encode() == encode_box(fields | told)


def test_long_head_tells_its_window():
    head = VisitorHead("t" * 20_000, "v", "s", 7)
    assert head.encode() == encode_box({"tunnel": "t" * 20_000, "visitor": "v", "scheme": "s", "window": "7"})


def test_windows_that_are_asked_for():
    assert window_of(None) == INITIAL_WINDOW
    for window in (1, 2, INITIAL_WINDOW - 1, INITIAL_WINDOW):
        assert window_of(str(window)) == window_of(b"%d" % window) == window


@pytest.mark.parametrize(
    "window", ["", "0", "-1", "+1", " 1", "1_0", "\u0661", "\u00b2", "x", str(INITIAL_WINDOW + 1), "9" * 6000]
)
def test_window_that_is_none(window):
    fields = {"tunnel": "t", "visitor": "v", "scheme": "s", "window": window}
    with pytest.raises(WireError, match="window"):
        decode_visitor_head(encode_box(fields))
    with pytest.raises(WireError, match="window"):
        window_of(window)


def test_value_that_no_box_can_have():
    assert VisitorHead("t" * 65535, "v", "s").encode() == encode_box(
        {"tunnel": "t" * 65535, "visitor": "v", "scheme": "s"}
    )
    with pytest.raises(amp.TooLong):
        VisitorHead("t" * 65536, "v", "s").encode()


@given(st.data())
def test_lengths_that_are_wrong_are_read_as_any_box(data):
    """The usual box is read at once, which must say of no bytes but its own what they mean."""
    head = data.draw(st.sampled_from([HEAD, HEAD._replace(window=20_000)]))
    wire = bytearray(head.encode() + b"behind\0\0")
    for _ in range(data.draw(st.integers(1, 3))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    try:
        box = decode_box(bytes(wire))
    except WireError:
        box = None
    try:
        head = decode_visitor_head(bytes(wire))
    except WireError:
        assert box is None or not {"tunnel", "visitor", "scheme"} <= set(box[0]) or "window" in box[0]
        return
    if box is None:
        assert head is None
    else:
        fields = box[0]
        window = window_of(fields.get("window"))
        assert head == (VisitorHead(fields["tunnel"], fields["visitor"], fields["scheme"], window), box[1])


def test_unknown_keys_are_ignored():
    box = amp.AmpBox({b"tunnel": b"t", b"visitor": b"v", b"scheme": b"s", b"later": b"x"})
    assert decode_visitor_head(box.serialize()) == (VisitorHead("t", "v", "s"), b"")


@pytest.mark.parametrize(
    "wire",
    [
        amp.AmpBox({b"tunnel": b"t"}).serialize(),
        amp.AmpBox({b"tunnel": b"\xff", b"visitor": b"v", b"scheme": b"s"}).serialize(),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\x01a\xff\xff" + bytes(MAX_HEAD),
    ],
)
def test_what_is_no_head(wire):
    with pytest.raises(WireError):
        decode_visitor_head(wire)


def test_box_that_does_not_end_is_waited_for_up_to_a_bound():
    wire = b"\0\1a\xff\xff"
    assert decode_box(wire + bytes(16_384 - len(wire))) is None
    with pytest.raises(WireError, match="no end"):
        decode_box(wire + bytes(16_385 - len(wire)))


def test_keys_are_as_long_as_those_of_amp():
    fields = {"k" * 255: "v"}
    assert decode_box(encode_box(fields)) == (fields, b"")
    with pytest.raises(WireError, match="does not begin with a box"):
        decode_box(b"\1\0" + b"k" * 256)
    with pytest.raises(WireError, match="does not begin with a box"):
        decode_box(b"\1\0")


TEXTS = st.text(max_size=40)


def reads_back(decode, value, rest):
    """A box that comes byte by byte, and what is behind it."""
    wire = value.encode()
    assert decode(wire + rest) == (value, rest)
    assert [decode(wire[:size]) for size in range(len(wire))] == [None] * len(wire)


@given(TEXTS, st.sampled_from([BYTES, DATAGRAMS, QUESTION]), st.binary(max_size=20))
def test_head_of_a_connection_to_a_private_tunnel(connect, want, rest):
    reads_back(decode_connect_head, ConnectHead(connect, want), rest)


@given(TEXTS, TEXTS, st.sampled_from(["", BYTES, DATAGRAMS]), st.binary(max_size=20))
def test_answer_to_it(code, text, carries, rest):
    reads_back(decode_connect_answer, ConnectAnswer(code, text, carries), rest)


def test_what_older_releases_write_and_leave_out():
    assert decode_box(ConnectHead("db").encode()) == ({"connect": "db"}, b"")
    assert decode_box(ConnectAnswer("OK", "").encode()) == ({"code": "OK", "text": ""}, b"")
    assert decode_connect_answer(encode_box({"code": "OK"})) == (ConnectAnswer("OK", ""), b"")
    for decode in (decode_connect_head, decode_connect_answer):
        with pytest.raises(WireError, match="wrong box: it has no"):
            decode(encode_box({"other": "x"}))


def test_refusals_say_what_they_stand_for():
    assert ConnectAnswer("OK", "").refusal is None
    for kind, code in _ERRORS.items():
        assert code.decode() == re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).upper()
        answer = ConnectAnswer.refusing(kind("since it is so"))
        assert answer == (code.decode(), "since it is so", "")
        assert (type(answer.refusal), str(answer.refusal)) == (kind, "since it is so")
    assert ConnectAnswer.refusing(Refused("why")).code == "UNAVAILABLE"
    assert type(ConnectAnswer("NAME_TAKEN", "").refusal) is NameTaken
    unknown = ConnectAnswer("LATER" * 10, "").refusal
    assert type(unknown) is Refused
    assert str(unknown) == f"the server refused the connection ({'LATER' * 8})"


def test_commands_of_peers_that_know_fewer_keys():
    """What is optional may be missing, and what was always there may not."""
    asked = amp.AmpBox({b"kind": b"http", b"upstream": b"3000"})
    absent = dict.fromkeys(("name", "options", "version", "oldest"))
    assert OpenTunnel.parseArguments(asked, None) == {"kind": "http", "upstream": "3000", **absent}
    answer = amp.AmpBox({b"tunnel": b"1", b"name": b"blog", b"url": b"https://x"})
    told = {"tunnel": "1", "name": "blog", "url": "https://x"}
    assert OpenTunnel.parseResponse(answer, None) == {**told, "version": None}
    notice = amp.AmpBox({b"code": b"revoked", b"text": b"gone"})
    assert Notice.parseArguments(notice, None) == {"code": "revoked", "text": "gone", "tunnel": None}
    assert CloseTunnel.parseArguments(amp.AmpBox({b"tunnel": b"1"}), None) == {"tunnel": "1"}
    assert Drain.parseArguments(amp.AmpBox(), None) == {}
    for command, box in ((OpenTunnel, asked), (Notice, notice)):
        for key in box:
            with pytest.raises(KeyError):
                command.parseArguments(amp.AmpBox({k: v for k, v in box.items() if k != key}), None)
    assert OpenTunnel.errors[NoSuchTunnel] == CloseTunnel.errors[NoSuchTunnel] == b"NO_SUCH_TUNNEL"
    assert OpenTunnel.errors[Unavailable] == b"UNAVAILABLE"


def test_addresses_as_visitors_have_them():
    assert visitor_address("192.0.2.1", 80) == shown(tcp_address("192.0.2.1", 80)) == "192.0.2.1:80"
    assert visitor_address("2001:db8::1", 80) == shown(tcp_address("2001:db8::1", 80)) == "[2001:db8::1]:80"
    assert visitor_address("::ffff:192.0.2.1", 80) == "192.0.2.1:80"
    assert shown("somewhere") == "somewhere"
    with pytest.raises(ValueError, match="localhost"):
        tcp_address("localhost", 80)


@given(st.binary(max_size=100))
def test_random_bytes_never_do_worse_than_a_wire_error(noise):
    try:
        decode_visitor_head(noise)
    except WireError:
        pass
