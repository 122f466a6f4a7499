"""Tests for L{burrow.policy.cors}."""

import pytest

from burrow.policy.base import changed, may_be_answered
from burrow.policy.cors import Cors, parse_origin
from tests.policy.test_fields import visit

APP = b"https://app.test"


def ask(rule, method=b"GET", origin=APP, *fields):
    lines = [b"Host: t", *([b"Origin: " + origin] if origin else []), *fields]
    one = visit(b"%b / HTTP/1.1\r\n%b\r\n\r\n" % (method, b"\r\n".join(lines)))
    return one, rule.visit(one)


def answered(one, *fields):
    return changed(list(fields), one.on_answer, may_be_answered)


def preflight(rule, origin=APP):
    wanted = (b"Access-Control-Request-Method: PUT", b"Access-Control-Request-Headers: x-a, content-type")
    answer = ask(rule, b"OPTIONS", origin, *wanted)[1]
    return {name.lower(): value for name, value in answer.fields}


def test_preflight():
    said = preflight(Cors(["https://app.test"], True))
    assert said[b"access-control-allow-origin"] == APP
    assert said[b"access-control-allow-credentials"] == b"true"
    assert b"PUT" in said[b"access-control-allow-methods"]
    assert said[b"access-control-allow-headers"] == b"x-a, content-type"
    assert b"Origin" in said[b"vary"]


@pytest.mark.parametrize(
    "origin", [b"https://evil.test", b"https://app.test.evil.test", b"null", b"http://app.test"]
)
def test_origin_that_may_not_ask(origin):
    rule = Cors(["https://app.test"], True)
    assert not [name for name in preflight(rule, origin) if name.startswith(b"access-control-")]
    one, _ = ask(rule, b"GET", origin)
    assert answered(one, (b"Access-Control-Allow-Origin", b"*")) == [(b"Vary", b"Origin")]


def test_answers_are_the_rules_to_say():
    one, answer = ask(Cors(["https://app.test"], False))
    assert answer is None
    upstream = [
        (b"Access-Control-Allow-Origin", b"*"),
        (b"Access-Control-Expose-Headers", b"ETag"),
        (b"A", b"b"),
    ]
    assert answered(one, *upstream) == [
        *upstream[1:],
        (b"Access-Control-Allow-Origin", APP),
        (b"Vary", b"Origin"),
    ]


def test_any_origin():
    one, _ = ask(Cors(["*"], False))
    assert answered(one) == [(b"Access-Control-Allow-Origin", b"*")]


def test_options_that_is_no_preflight_is_the_upstreams():
    assert ask(Cors(["*"], False), b"OPTIONS")[1] is None
    assert ask(Cors(["*"], False), b"OPTIONS", b"", b"Access-Control-Request-Method: PUT")[1] is None


def test_origins():
    assert parse_origin("HTTPS://App.Test/") == "https://app.test"
    assert parse_origin("http://localhost:3000") == "http://localhost:3000"
    for text in ("", "app.test", "https://", "https://a/b", "ftp://a", "https://a b"):
        with pytest.raises(ValueError, match="write an origin"):
            parse_origin(text)
