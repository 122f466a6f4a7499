"""Tests for L{burrow.server.edge.hops}."""

import pytest

from tests.server.edge.edges import Exchange


def asked(*lines, method="GET", version="1.1"):
    exchange = Exchange(pseudonym="burrow-1A")
    head = "\r\n".join([f"{method} /x HTTP/{version}", "Host: a.example.com", *lines])
    exchange.ask(head.encode() + b"\r\n\r\n")
    return exchange


@pytest.mark.parametrize(
    "via",
    [
        *(
            "1.1 burrow-1A",
            "1.0 fred, 1.1 BURROW-1a",
            "HTTP/1.1 burrow-1a (x)",
            "1.1\tburrow-1a,",
            "1.1  burrow-1a",
        ),
        "1.1 a\r\nvia: 1.1 burrow-1A",
    ],
)
def test_what_passed_before_is_refused(via):
    exchange = asked(f"Via: {via}")
    assert (exchange.status, exchange.upstream) == (508, b"")
    assert b"Burrow-Page: loop" in exchange.visitor.value()


@pytest.mark.parametrize("via", ["1.1 burrow", "1.1 burrow-1A2", "1.1 xburrow-1A", "burrow-1A/1.1 x", ""])
def test_what_passed_others_is_not(via):
    assert b"\r\nVia: 1.1 burrow-1A\r\n" in asked(f"Via: {via}").upstream


def test_a_request_that_comes_back_is_known():
    first = asked("Connection: Via, close")
    again = Exchange(pseudonym="burrow-1A")
    again.ask(first.upstream)
    assert again.status == 508


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
def test_max_forwards_is_counted_down(method):
    assert b"\r\nMax-Forwards: 6\r\n" in asked("Max-Forwards: 07", method=method).upstream
    assert (
        b"\r\nmax-forwards: 0\r\n"
        in asked("max-forwards: 1", "Connection: max-forwards", method=method).upstream
    )
    assert b"Max-Forwards" not in asked(method=method).upstream


def test_max_forwards_means_nothing_elsewhere():
    assert b"\r\nMax-Forwards: 0\r\n" in asked("Max-Forwards: 0").upstream


def test_options_that_may_go_no_further():
    exchange = asked("Max-Forwards: 0", method="OPTIONS")
    assert (exchange.status, exchange.upstream) == (200, b"")
    assert b"\r\nAllow: GET, " in exchange.visitor.value()


def test_trace_that_may_go_no_further_shows_no_secrets():
    exchange = asked("Max-Forwards: 0", "Cookie: a=b", "AUTHORIZATION: x", "X-Mine: 1", method="TRACE")
    head, _, body = exchange.visitor.value().partition(b"\r\n\r\n")
    assert (exchange.status, exchange.upstream) == (200, b"")
    assert b"\r\nContent-Type: message/http\r\n" in head
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head
    assert body == b"TRACE /x HTTP/1.1\r\nHost: a.example.com\r\nMax-Forwards: 0\r\nX-Mine: 1\r\n\r\n"
