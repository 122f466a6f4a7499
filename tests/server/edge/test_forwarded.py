"""Tests for L{burrow.server.edge.forwarded}."""

import re
from pathlib import Path

import pytest

from burrow.addresses import parse_network
from burrow.errors import ConfigError
from burrow.http.fields import canonical, for_upstream, is_forwarding
from burrow.http.headers import Headers
from burrow.server.edge.forwarded import Forwarding, Hop, of_visitor_alone
from tests.server.edge.edges import Exchange, Peer


def apply(forwarding, headers, peer="10.0.0.9", scheme="https", authority=b"a.example"):
    added = Hop(forwarding, Peer(peer), scheme).added(Headers(headers), authority)
    fields, visitor, scheme = [*for_upstream(Headers(headers)), *added.fields], added.visitor, added.scheme
    return {name.lower(): value for name, value in fields}, visitor, scheme


FORGED = [
    (b"X-Forwarded-For", b"1.2.3.4"),
    (b"X_Forwarded_For", b"1.2.3.4"),
    (b"X-Forwarded-Proto", b"http"),
    (b"X-Forwarded-Host", b"evil"),
    (b"X-Forwarded-Port", b"1"),
    (b"Forwarded", b"for=1.2.3.4"),
    (b"x-real-ip", b"1.2.3.4"),
]
ALSO_DROPPED = [
    *(
        "Proxy",
        "X-Forwarded-Prefix",
        "X-Forwarded-Client-Cert",
        "X-Client-IP",
        "True-Client-IP",
        "X-Forwarded-By",
    ),
    *(
        "CF-Connecting-IP",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Forwarded",
        "Client-Cert",
        "X-Cluster-Client-IP",
    ),
    *("X-Original-Forwarded-For", "X.Real.IP", "x!original_url", "TRUE_CLIENT_IP", "X-Forwarded-User"),
]
OURS = {
    b"x-forwarded-for": b"10.0.0.9",
    b"x-forwarded-proto": b"https",
    b"x-forwarded-host": b"a.example",
    b"x-forwarded-port": b"443",
    b"forwarded": b"for=10.0.0.9;proto=https;host=a.example",
}


def test_stranger_is_not_believed():
    others = [(name.encode(), b"6.6.6.6") for name in ALSO_DROPPED]
    for forwarding in (
        Forwarding([parse_network("192.168.0.0/16")]),
        Forwarding([parse_network("192.168.0.0/16")], ALSO_DROPPED[:-5]),
    ):
        fields, visitor, scheme = apply(forwarding, [*FORGED, (b"Accept", b"x"), *others])
        assert fields == {b"accept": b"x", **OURS}
        assert (visitor, scheme) == ("10.0.0.9", "https")


def test_the_docs_name_what_is_dropped():
    text = (Path(__file__).parents[3] / "docs" / "server.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| every other"))
    names = [name for name in re.findall("`([^`]+)`", row) if "." not in name and "/" not in name]
    assert len(names) > 20
    assert [name for name in names if not is_forwarding(canonical(name.encode()))] == []


def test_trusted_proxy_is_believed_in_two_fields_and_extended():
    fields, visitor, scheme = apply(Forwarding([parse_network("10.0.0.0/8")]), FORGED)
    assert fields == {
        **OURS,
        b"x-forwarded-for": b"1.2.3.4, 10.0.0.9",
        b"x-forwarded-proto": b"http",
        b"x-forwarded-port": b"80",
        b"forwarded": b"for=10.0.0.9;proto=http;host=a.example",
    }
    assert (visitor, scheme) == ("1.2.3.4", "http")


def test_trusted_proxy_is_believed_in_what_is_named():
    named = ["X-Forwarded-Host", "x-forwarded-port", "FORWARDED", "X-Real-IP", "X-Forwarded-Client-Cert"]
    believing = Forwarding([parse_network("10.0.0.9")], named)
    fields, visitor, scheme = apply(
        believing, [*FORGED, (b"X-Forwarded-Client-Cert", b"c"), (b"X_Real_IP", b"6")]
    )
    assert fields == {
        **OURS,
        b"x-forwarded-host": b"evil",
        b"x-forwarded-port": b"1",
        b"x-real-ip": b"1.2.3.4",
        b"x-forwarded-client-cert": b"c",
        b"forwarded": b"for=1.2.3.4, for=10.0.0.9;proto=https;host=a.example",
    }
    assert (visitor, scheme) == ("10.0.0.9", "https")


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b'for="[2001:db8::1]:80";by=_x;Host="a\\"b" , for=unknown', True),
        (b"", True),
        (b'for="1.2.3.4', False),
        (b"for=1.2.3.4;", False),
        (b"nonsense", False),
        (b"for=[::1]", False),
        (b" " * 60_000 + b"x", False),
    ],
)
def test_forwarded_that_is_none_is_dropped(value, kept):
    """An open quotation mark would take in what is added behind it."""
    fields, _, _ = apply(Forwarding([parse_network("10.0.0.9")], ["Forwarded"]), [(b"Forwarded", value)])
    assert fields[b"forwarded"] == (value + b", " if kept else b"") + OURS[b"forwarded"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("X-Forwarded-Host", value) for value in (b"a b", b"a,b", b"", b"a/b", b"a:b")),
        *(("X-Forwarded-Port", value) for value in (b"", b"x", b"-1", b"1, 2")),
        *(("X-Forwarded-Proto", value) for value in (b"ftp", b"", b"https;x")),
    ],
)
def test_nonsense_of_a_trusted_proxy_is_dropped(name, value):
    assert apply(Forwarding([parse_network("10.0.0.9")], [name]), [(name.encode(), value)])[0] == OURS


def test_websocket_schemes_of_a_trusted_proxy():
    believing = Forwarding([parse_network("10.0.0.9")])
    assert apply(believing, [(b"X-Forwarded-Proto", b"ws, http")])[2] == "http"
    assert apply(believing, [(b"X-Forwarded-Proto", b"WSS")], scheme="http")[2] == "https"


@pytest.mark.parametrize(
    ("hops", "visitor"),
    [
        (b"6.6.6.6, 5.5.5.5, 10.0.0.1", "5.5.5.5"),
        (b"6.6.6.6, unknown, 10.0.0.1", "10.0.0.1"),
        (b"6.6.6.6, unknown", "10.0.0.9"),
        (b"10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (b"5.5.5.5:1234", "5.5.5.5"),
        (b"[2001:db8::5]:1234, 10.0.0.2", "2001:db8::5"),
        (b"2001:db8::5", "2001:db8::5"),
        (b"::ffff:5.5.5.5, ::ffff:10.0.0.2", "5.5.5.5"),
        (b"", "10.0.0.9"),
    ],
)
def test_visitor_is_the_last_that_no_proxy_of_ours_is(hops, visitor):
    assert apply(Forwarding([parse_network("10.0.0.0/8")]), [(b"X-Forwarded-For", hops)])[1] == visitor


def test_ipv6_is_quoted():
    fields, _, _ = apply(Forwarding(), [], peer="2001:db8::1", authority=b"a.example:8443")
    assert fields[b"forwarded"] == b'for="[2001:db8::1]";proto=https;host="a.example:8443"'
    assert fields[b"x-forwarded-port"] == b"8443"
    assert apply(Forwarding(), [], authority=b"[::1]", scheme="http")[0][b"x-forwarded-port"] == b"80"


@pytest.mark.parametrize("trusted", ["10.0.0.0/8", "::ffff:10.0.0.0/104", "::ffff:10.0.0.9/128"])
def test_ipv4_through_a_socket_for_both_is_ipv4(trusted):
    exchange = Exchange(peer="::ffff:10.0.0.9", trusted=[parse_network(trusted)])
    sent = exchange.ask(b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 5.5.5.5\r\n\r\n")
    assert b"X-Forwarded-For: 5.5.5.5, 10.0.0.9\r\n" in sent
    assert b"for=10.0.0.9;" in sent
    assert exchange.address == "5.5.5.5:4711"
    assert Exchange(peer="fe80::1%eth0").ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").count(b"fe80::1\r\n") == 1


def test_ipv6_visitors_address():
    exchange = Exchange(peer="2001:db8::1")
    exchange.ask(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    assert exchange.address == "[2001:db8::1]:4711"


def test_names_that_nobody_is_believed_in():
    for name in ("X-Forwaded-For-", "Host", "Cookie", ""):
        with pytest.raises(ConfigError, match="--trusted-header"):
            Forwarding([], ["Forwarded", name])


def sent(*lines, version="1.1", method="GET"):
    head = "\r\n".join([f"{method} /x HTTP/{version}", "hOsT: a.example", *lines])
    return Exchange().ask(head.encode("latin-1") + b"\r\n\r\n").decode("latin-1").split("\r\n")


def test_names_keep_their_case_and_host_is_first():
    lines = sent("x-lower: 1", "X-ODD: 2", "content-LENGTH: 00", "accept:*/*")
    assert lines[:2] == ["GET /x HTTP/1.1", "Host: a.example"]
    assert {"x-lower: 1", "X-ODD: 2", "content-LENGTH: 0", "accept: */*"} < set(lines)


def test_framing_is_written_anew():
    assert "transfer-ENCODING: chunked" in sent("transfer-ENCODING: ,Chunked", method="POST")
    assert not [line for line in sent() if "ontent" in line or "ncoding" in line]


def test_port_that_was_asked_for():
    for host, port in (("a.example:0081", "0081"), ("[2001:db8::1]", "443"), ("[2001:db8::1]:82", "82")):
        told = Exchange().ask(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert f"\r\nX-Forwarded-Port: {port}\r\n".encode() in told


def test_expect_is_not_for_http_1_0():
    assert "Expect: 100-continue" in sent("Expect: 100-continue", "Content-Length: 5")
    assert not [line for line in sent("Expect: 100-continue", version="1.0") if "xpect" in line]


def test_te_is_for_trailers_alone():
    lines = sent("TE: gzip, trailers", "Connection: TE")
    assert {"TE: trailers", "Connection: TE"} < set(lines)
    assert not [line for line in sent("TE: gzip") if "TE" in line]


def test_via_names_what_was_spoken():
    assert "Via: 1.1 burrow" in sent()
    assert [line for line in sent("Via: 1.0 fred", version="1.0") if "Via" in line] == [
        "Via: 1.0 fred",
        "Via: 1.0 burrow",
    ]


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ([(b"X-Forwarded-Host", b"a"), (b"X-Forwarded-Proto", b"https"), (b"X-Forwarded-Port", b"443")], []),
        ([(b"X_Forwarded_Ssl", b"on"), (b"X-Forwarded-Scheme", b"https")], []),
        ([(b"X-Forwarded-For", b"192.0.2.1"), (b"X-Real-IP", b"192.0.2.1")], None),
        (
            [(b"Forwarded", b'for="[2001:db8::1]";proto=https;host="a:8443", host=a; for=unknown')],
            [(b"Forwarded", b'for="[2001:db8::1]", for=unknown')],
        ),
        ([(b"Forwarded", b"by=_gone;HOST=a;for=192.0.2.1")], [(b"Forwarded", b"by=_gone;for=192.0.2.1")]),
    ],
)
def test_what_tells_of_the_visitor_alone(fields, kept):
    assert of_visitor_alone(fields) == (fields if kept is None else kept)
