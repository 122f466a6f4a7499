"""Tests for L{burrow.policy.fields} and the fields that rules may change."""

import pytest

from burrow.http.request_head import RequestReader
from burrow.policy.base import Visit, changed, may_be_answered, may_be_changed
from burrow.policy.fields import (
    ChangeFields,
    parse_add,
    parse_answer_remove,
    parse_answer_set,
    parse_remove,
    parse_set,
)


def visit(head=b"GET / HTTP/1.1\r\nHost: demo.test\r\n\r\n", scheme="https"):
    request, _ = RequestReader().feed(head)
    return Visit(request, "192.0.2.7", scheme, request.target, request.authority)


def after(fields, *changes, allowed=may_be_changed):
    return changed(fields, changes, allowed)


def test_add_set_and_remove():
    came = [(b"X-A", b"1"), (b"x-a", b"2"), (b"X-B", b"3")]
    assert after(came, parse_add("X-A: 4")) == [*came, (b"X-A", b"4")]
    assert after(came, parse_set("X-A: 4")) == [(b"X-B", b"3"), (b"X-A", b"4")]
    assert after(came, parse_remove("x-A")) == [(b"X-B", b"3")]
    assert came == [(b"X-A", b"1"), (b"x-a", b"2"), (b"X-B", b"3")]


def test_names_are_compared_as_a_careless_reader_would():
    assert after([(b"X_User", b"root"), (b"X.User", b"root")], parse_set("X-User: ann")) == [
        (b"X-User", b"ann")
    ]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Content-Length",
            "Transfer-Encoding",
            "Connection",
            "Upgrade",
            "TE",
            "Host",
            "Via",
            "X-Request-Id",
        ),
        *("X-Forwarded-For", "x_forwarded_proto", "Forwarded", "X-Real-IP"),
    ],
)
def test_what_the_edge_itself_says_is_not_for_rules(name):
    for parse, text in ((parse_set, f"{name}: 1"), (parse_add, f"{name}: 1"), (parse_remove, name)):
        with pytest.raises(ValueError, match="server alone"):
            parse(text)
    # And if a rule did it all the same:
    forged = [(name.encode(), b"forged")]
    assert after([], lambda fields: forged) == []
    assert after(forged, lambda fields: []) == forged


@pytest.mark.parametrize("name", ["Content-Length", "transfer_encoding", "Connection"])
def test_framing_of_an_answer_is_not_for_rules(name):
    with pytest.raises(ValueError, match="frames the message"):
        parse_answer_set(f"{name}: 1")
    with pytest.raises(ValueError, match="frames the message"):
        parse_answer_remove(name)
    assert after([], lambda fields: [(name.encode(), b"9")], allowed=may_be_answered) == []


@pytest.mark.parametrize("text", ["X-A", "X A: 1", ": 1", "", "X-A: a\r\nX-B: b", "X-A: a\0", "X-\nA: b"])
def test_what_is_no_field(text):
    with pytest.raises(ValueError, match=r"write|one line"):
        parse_set(text)


def test_value_keeps_what_is_not_ascii():
    assert parse_set("X-Name: Zoë ").value == "Zoë".encode()


def test_text_is_what_was_written():
    assert str(parse_set("X-A:  1")) == "X-A: 1"
    assert str(parse_remove("X-A")) == "X-A"


def test_rule_changes_both_ways():
    one = visit()
    ChangeFields([parse_set("X-Env: staging")], [parse_answer_remove("Server")]).visit(one)
    assert changed([(b"A", b"b")], one.on_request, may_be_changed) == [(b"A", b"b"), (b"X-Env", b"staging")]
    assert changed([(b"Server", b"x")], one.on_answer, may_be_answered) == []
