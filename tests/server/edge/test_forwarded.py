"""Tests for L{burrow.server.edge.forwarded}."""

from burrow.server.edge.forwarded import Forwarding


def apply(forwarding, headers, peer="10.0.0.9", scheme="https", authority=b"a.example"):
    fields, visitor, scheme = forwarding.apply(headers, peer, scheme, authority)
    return {name.lower(): value for name, value in fields}, visitor, scheme


FORGED = [
    (b"X-Forwarded-For", b"1.2.3.4"),
    (b"X_Forwarded_For", b"1.2.3.4"),
    (b"X-Forwarded-Proto", b"http"),
    (b"X-Forwarded-Host", b"evil"),
    (b"Forwarded", b"for=1.2.3.4"),
    (b"x-real-ip", b"1.2.3.4"),
]


def test_stranger_is_not_believed():
    fields, visitor, scheme = apply(Forwarding(["192.168.0.0/16"]), [*FORGED, (b"Accept", b"x")])
    assert fields == {
        b"accept": b"x",
        b"x-forwarded-for": b"10.0.0.9",
        b"x-forwarded-proto": b"https",
        b"x-forwarded-host": b"a.example",
        b"forwarded": b"for=10.0.0.9;proto=https;host=a.example",
    }
    assert (visitor, scheme) == ("10.0.0.9", "https")


def test_trusted_proxy_is_believed_and_extended():
    fields, visitor, scheme = apply(Forwarding(["10.0.0.0/8"]), FORGED[:1] + FORGED[2:5])
    assert fields[b"x-forwarded-for"] == b"1.2.3.4, 10.0.0.9"
    assert fields[b"x-forwarded-host"] == b"evil"
    assert fields[b"forwarded"] == b"for=1.2.3.4, for=10.0.0.9;proto=http;host=a.example"
    assert (visitor, scheme) == ("1.2.3.4", "http")


def test_visitor_is_the_last_that_no_proxy_of_ours_is():
    hops = [(b"X-Forwarded-For", b"6.6.6.6, 5.5.5.5, 10.0.0.1")]
    assert apply(Forwarding(["10.0.0.0/8"]), hops)[1] == "5.5.5.5"


def test_ipv6_is_quoted():
    fields, _, _ = apply(Forwarding(), [], peer="2001:db8::1", authority=b"a.example:8443")
    assert fields[b"forwarded"] == b'for="[2001:db8::1]";proto=https;host="a.example:8443"'
