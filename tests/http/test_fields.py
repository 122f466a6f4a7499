"""Tests for L{burrow.http.fields}."""

import pytest

from burrow.http.fields import canonical, for_visitor, is_forwarding, may_be_trailer
from burrow.http.headers import Headers


def words(text):
    return text.split()


HOP_BY_HOP = words("""
    connection content-length http2-settings keep-alive proxy-connection te transfer-encoding
    upgrade
""")
FORWARDING = words("""
    cf-connecting-ip cf-connecting-ipv6 cf-visitor client-cert client-cert-chain client-ip
    fastly-client-ip fly-client-ip forwarded forwarded-for front-end-https proxy proxy-client-ip
    true-client-ip wl-proxy-client-ip x-appengine-user-ip x-arr-clientcert x-azure-clientip
    x-azure-socketip x-client-cert x-client-ip x-cluster-client-ip x-envoy-external-address
    x-envoy-original-path x-forwarded x-forwarded-any x-host x-original-forwarded-for
    x-original-host x-original-remote-addr x-original-uri x-original-url x-originating-ip
    x-proxyuser-ip x-real-ip x-real-port x-remote-addr x-remote-ip x-rewrite-url x-scheme
    x-ssl-client-cert x-url-scheme
""")
FOR_ALL = words("""
    accept age allow authentication-info authorization cache-control clear-site-data cookie cookie2
    date etag expect expires from host last-modified link location max-forwards origin
    permissions-policy pragma proxy-authenticate proxy-authentication-info proxy-authorization range
    referer referrer-policy refresh retry-after server set-cookie set-cookie2
    strict-transport-security trailer user-agent vary via warning www-authenticate accept-encoding
    access-control-allow-origin burrow-error content-type content-security-policy
    cross-origin-opener-policy if-none-match sec-websocket-key x-content-type-options
    x-frame-options
""")
NO_TRAILERS = words("""
    age authentication-info authorization cache-control clear-site-data cookie cookie2 date expect
    expires host location max-forwards origin pragma proxy-authenticate proxy-authentication-info
    proxy-authorization range referer refresh retry-after set-cookie set-cookie2
    strict-transport-security trailer vary via warning www-authenticate access-control-allow-origin
    burrow-error content-type if-match sec-fetch-mode
""")
FREE = [
    "x-own",
    "x-api-key",
    "contents",
    "iffy",
    "second",
    "proxyless",
    "x-forward",
    "client",
    "real-ip",
    "x",
]
SPELLINGS = [
    str,
    str.upper,
    str.title,
    lambda name: name.replace("-", "_"),
    lambda name: name.replace("-", "."),
]


def going_on(*headers):
    pairs = [(name.encode(), value.encode()) for name, value in headers]
    return [(name.decode(), value.decode()) for name, value in for_visitor(Headers(pairs))]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_is_for_this_hop_goes_on_in_no_spelling(spelling):
    for name in HOP_BY_HOP:
        assert going_on((spelling(name), "close"), ("Stays", "1")) == [("Stays", "1")]


def test_connection_takes_away_what_is_nobody_elses():
    for name in FREE:
        assert going_on(("Connection", f"close, {name}"), (name.title(), "1"), ("Stays", "1")) == [
            ("Stays", "1")
        ]
    for name in [*FOR_ALL, *FORWARDING]:
        assert going_on(("Connection", f"{name}, x"), (name, "1"), ("X", "2")) == [(name, "1")]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_proxies_say(spelling):
    for name in FORWARDING:
        assert is_forwarding(canonical(spelling(name).encode())), name
    for name in [*FOR_ALL, *FREE]:
        assert not is_forwarding(canonical(spelling(name).encode())), name


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_is_not_for_trailers(spelling):
    for name in [*HOP_BY_HOP, *FORWARDING, *NO_TRAILERS]:
        assert not may_be_trailer(spelling(name).encode()), name
    for name in [*FREE, "grpc-status", "server-timing", "etag", "digest"]:
        assert may_be_trailer(spelling(name).encode()), name


def test_names_as_a_cgi_program_compares_them():
    every = bytes(range(256))
    seen = canonical(every)
    assert len(seen) == 256
    for byte, made in zip(every, seen, strict=True):
        letter = chr(byte)
        wanted = letter.lower() if letter.isascii() and letter.isalnum() else "-"
        assert chr(made) == wanted
