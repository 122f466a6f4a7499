"""Tests for L{burrow.traffic.filter}."""

import re
import time

import pytest

from burrow.traffic.filter import MAX_LENGTH, Filter
from burrow.traffic.record import Record


def record(**fields):
    fields = {
        "protocol": "http",
        "tunnel": "blog",
        "visitor": "203.0.113.9:50000",
        "method": "POST",
        "target": "/Hooks/new.json?from=shop",
        "host": "blog.example.com",
        "status": 503,
        "sent": 2000,
        "took": 0.25,
        **fields,
    }
    return Record(**fields)


MATCHING = [
    "",
    "   ",
    "status:503",
    "status:5xx",
    "STATUS:5XX",
    "status:>=500",
    "status:<504",
    "status:200,5xx",
    "-status:4xx",
    "method:post",
    "method:GET,POST",
    "path:/hooks",
    "path:/hooks/*.json",
    "path:*",
    "path:*new*",
    "-path:/other",
    "host:example",
    "tunnel:blog",
    "visitor:203.0.113.",
    "is:failed",
    "is:http",
    "-is:open",
    "time:>200ms",
    "time:<=0.25s",
    "size:>1.9kb",
    "size:<1mb",
    "shop",
    "post",
    "503",
    '"new.json?from"',
    '"new.json?from',
    "blog.example.com",
    "status:5xx method:POST path:/hook",
]


@pytest.mark.parametrize("text", MATCHING)
def test_what_matches(text):
    assert Filter(text).matches(record())


@pytest.mark.parametrize(
    "text",
    [
        "status:404",
        "status:4xx",
        "status:<503",
        "-status:5xx",
        "method:GET",
        "path:/hook/",
        "path:from",  # that is in the query
        "path:/hooks/*.xml",
        "path:/hooks*/hooks/new.json",  # pieces do not overlap
        "path:*.json*.json",
        "host:shop",
        "tunnel:shop",
        "visitor:10.",
        "is:websocket",
        "is:tcp",
        "is:open",
        "-is:failed",
        "time:>1s",
        "time:<1ms",
        "size:<1kb",
        "nowhere",
        "504",
        '"hooks new"',
        "status:5xx method:GET",
        "localhost:3000",
        "http://hooks",
    ],
)
def test_what_does_not(text):
    assert not Filter(text).matches(record())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("status:abc", "status:abc is not possible: write status:404"),
        ("status:5x", "status:5x is not possible"),
        ("status:200,", "status:200, is not possible"),
        ("is:opne", "did you mean open?"),
        ("is:strange", "write is:open, is:failed"),
        ("time:5s", "write time:>500ms"),
        ("time:>5h", "write time:>500ms"),
        ("size:>1tb", "write size:>1mb"),
        ("stauts:500", "there is no stauts: in the filter language; did you mean status:?"),
        ("x" * (MAX_LENGTH + 1), "the filter is too long"),
    ],
)
def test_what_is_no_filter_is_refused_with_what_to_write(text, why):
    with pytest.raises(ValueError, match=re.escape(why)):
        Filter(text)


def test_a_word_that_somebody_still_types_asks_for_nothing():
    assert not Filter("status: -path:")
    assert Filter("status: shop").matches(record())
    assert Filter("strange:")


def test_one_that_asks_for_nothing_is_false():
    assert not Filter("  ")
    assert Filter("x")
    assert Filter("x").text == "x"


def test_what_is_under_way_has_no_status_and_grows_older():
    under_way = record(status=None, took=None, sent=0)
    assert Filter("is:open").matches(under_way)
    assert not Filter("status:>100").matches(under_way)
    assert Filter("-status:200").matches(under_way)
    assert Filter("time:<10s").matches(under_way)


def test_connections_are_found_too():
    connection = record(protocol="tcp", method="", target="", host="", status=None, error="it was reset")
    assert Filter("is:tcp is:failed reset").matches(connection)
    assert not Filter("path:/").matches(connection)


def test_words_of_the_callers_own():
    more = {
        "header": lambda value: (
            lambda subject: any(value in each[0].decode() for each in subject.request_headers)
        )
    }
    assert Filter("header:x-a", more).matches(record(request_headers=[(b"x-a", b"1")]))
    assert not Filter("header:x-b", more).matches(record(request_headers=[(b"x-a", b"1")]))


def test_many_stars_take_no_time():
    started = time.process_time()
    assert not Filter("path:" + "*a" * 200 + "b").matches(record(target="/" + "a" * 60_000))
    assert time.process_time() - started < 1
