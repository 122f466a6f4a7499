"""Tests for L{burrow.server.edge.answers}."""

import pytest

from burrow.server.share import Share
from tests.server.edge.edges import Exchange

ID = b"X-Request-Id: 0123456700000000\r\n"
SWITCH = b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nContent-Length: 5\r\nSec-WebSocket-Accept: a\r\n"
ASK = b"GET / HTTP/1.1\r\nHost: a.example.com\r\n"
WEBSOCKET = ASK + b"Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\r\n"


def answered(answer, ask=ASK + b"\r\n", **options):
    """The lines of the head that the visitor gets, but for the request's id, which is the last."""
    exchange = Exchange(**options)
    exchange.ask(ask)
    head, _, _ = exchange.answer(answer).partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    return [line for line in lines if line != "X-Request-Id: 0123456700000000"]


def test_switch_to_websocket():
    exchange = Exchange()
    sent = exchange.ask(WEBSOCKET)
    assert b"Connection: Upgrade\r\nUpgrade: websocket\r\n" in sent
    got = exchange.answer(SWITCH + b"Upgrade: WEBSOCKET\r\n\r\nhello")
    assert got == (
        b"HTTP/1.1 101 X\r\nSec-WebSocket-Accept: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello"
    )
    assert exchange.ask(b"raw").endswith(b"raw")


@pytest.mark.parametrize(
    "upgrade",
    [b"", b"Upgrade: h2c\r\n", b"Upgrade: websocket, h2c\r\n", b"Upgrade: websocket\r\nUpgrade: x\r\n"],
)
def test_switch_to_what_nobody_asked_for(upgrade):
    exchange = Exchange()
    exchange.ask(WEBSOCKET)
    got = exchange.answer(SWITCH + upgrade + b"\r\nPRI * HTTP/2.0")
    assert got.startswith(b"HTTP/1.1 502 ")
    assert b"PRI" not in got
    assert exchange.streams[0].aborted


@pytest.mark.parametrize("lines", ["Upgrade: h2c, h2c", "Upgrade: h2c", "Upgrade: TLS/1.0", "Upgrade: x-own"])
def test_no_other_upgrade_passes(lines):
    sent = Exchange().ask(
        ASK + f"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n{lines}\r\n\r\n".encode()
    )
    assert not [word for word in (b"Upgrade:", b"HTTP2", b"h2c", b"Connection") if word in sent]


def test_426_says_which_protocol_is_wanted():
    answer = b"HTTP/1.1 426 X\r\nUpgrade: TLS/1.3\r\nConnection: Upgrade, x\r\nContent-Length: 0\r\n\r\n"
    lines = answered(answer)
    assert lines[1:] == ["Content-Length: 0", "Upgrade: TLS/1.3", "Connection: Upgrade"]
    assert answered(answer, ASK + b"Connection: close\r\n\r\n")[-1] == "Connection: Upgrade, close"
    assert answered(answer.replace(b"426", b"200"))[1:] == ["Content-Length: 0"]
    assert answered(b"HTTP/1.1 426 X\r\nContent-Length: 0\r\n\r\n")[1:] == ["Content-Length: 0"]


def test_lengths_of_answers_without_a_body():
    answer = b"HTTP/1.1 %d X\r\ncontent-length: 05\r\n\r\n"
    assert answered(answer % 204)[1:] == []
    assert answered(answer % 304)[1:] == ["content-length: 5"]
    assert answered(answer % 200, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")[1:] == ["content-length: 5"]
    for framing in (b"Content-Length: 5", b"Transfer-Encoding: chunked"):
        assert answered(b"HTTP/1.1 103 X\r\n" + framing + b"\r\nLink: y\r\n\r\n")[1:] == ["Link: y"]


def test_answer_without_a_length_is_chunked():
    exchange = Exchange()
    exchange.ask(ASK + b"\r\n")
    got = exchange.answer(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello", end=True)
    assert (
        got == b"HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n%b\r\n5\r\nhello\r\n0\r\n\r\n" % ID
    )
    assert not exchange.visitor.disconnecting


def test_interim_answers_are_not_for_http_1_0():
    exchange = Exchange()
    exchange.ask(b"GET / HTTP/1.0\r\nHost: a.example.com\r\n\r\n")
    got = exchange.answer(b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello", end=True)
    assert got == b"HTTP/1.1 200 OK\r\nConnection: close\r\n%b\r\nhello" % ID


@pytest.mark.parametrize(
    ("domain", "kept"),
    [
        *(
            (name, False)
            for name in ("tunnel.example.com", ".TUNNEL.example.com", "example.com", "com", ".com.")
        ),
        *(
            (name, False)
            for name in (" example.com\t", "..example.com", "\xe4.com", "\xef\xbd\x85xample.com")
        ),
        *(
            (name, True)
            for name in ("a.tunnel.example.com", "other.com", "ample.com", "", '"example.com"', "x.com")
        ),
    ],
)
@pytest.mark.parametrize("attribute", ["Domain", "domain", " DOMAIN "])
def test_no_cookie_for_all_tunnels(domain, kept, attribute):
    value = f"n=v; Path=/;{attribute}={domain}; Secure"
    lines = answered(
        f"HTTP/1.1 200 OK\r\nSet-cookie: {value}\r\nContent-Length: 0\r\nX: Domain=com\r\n\r\n".encode(
            "latin-1"
        ),
        domain="tunnel.example.com",
    )
    assert f"Set-cookie: {value if kept else 'n=v; Path=/; Secure'}" in lines
    assert "X: Domain=com" in lines


@pytest.mark.parametrize("status", ["103 X", "101 X\r\nUpgrade: websocket"])
def test_no_cookie_for_all_tunnels_before_the_answer(status):
    answer = f"HTTP/1.1 {status}\r\nSet-Cookie: a=b; Domain=example.com\r\n\r\n".encode()
    assert "Set-Cookie: a=b" in answered(answer, WEBSOCKET)


def test_every_domain_of_every_cookie_is_looked_at():
    cookies = (
        b"Set-Cookie: Domain=com; domain=x.y; DOMAIN=com\r\nSet-Cookie: a=b;Domain=example.com;Domain=com"
    )
    lines = answered(b"HTTP/1.1 200 OK\r\n" + cookies + b"\r\nContent-Length: 0\r\n\r\n")
    assert lines[1:3] == ["Set-Cookie: Domain=com; domain=x.y", "Set-Cookie: a=b"]


def test_trailers_of_an_answer():
    exchange = Exchange()
    exchange.ask(ASK + b"\r\n")
    got = exchange.answer(
        b"HTTP/1.1 200 OK\r\nConnection: X-Own\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\nGrpc-Status: 0\r\nX-Own: 1\r\nSet-Cookie: a=b\r\nContent-Length: 9\r\n\r\n"
    )
    assert got.endswith(b"\r\n\r\n0\r\nGrpc-Status: 0\r\n\r\n")


def test_trailers_of_a_request():
    sent = Exchange().ask(
        b"POST / HTTP/1.1\r\nHost: a.example.com\r\nConnection: X-Own\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\nX-Sum: 0\r\nX-Own: 1\r\nX-Forwarded-For: 6.6.6.6\r\nHost: b\r\nAuthorization: x\r\n\r\n"
    )
    assert sent.endswith(b"\r\n\r\n0\r\nX-Sum: 0\r\n\r\n")


def test_a_cookie_of_ours_is_set_beside_the_upstreams():
    exchange = Exchange()
    exchange.share = Share("k1", sticky=True)
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    ours = b"Set-Cookie: burrow-agent=k1; Path=/; HttpOnly; SameSite=Lax; Secure"
    known = b"Cookie: x=y; burrow-agent=k1\r\n"
    for cookie, expected in ((b"", (1, 1)), (known, (2, 1)), (b"", (3, 2))):  # all that it got so far
        exchange.ask(ASK + cookie + b"\r\n")
        lines = exchange.answer(answer).split(b"\r\n")
        assert (lines.count(b"Set-Cookie: a=b"), lines.count(ours)) == expected
    assert exchange.share.load == 0
