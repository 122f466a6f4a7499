"""Tests for L{burrow.server.edge.failing}: why an upstream did not answer, as its agent says."""

from types import SimpleNamespace

from burrow.http.headers import Headers
from burrow.server.edge.failing import Failing


def answer(*fields):
    """An answer's head with these fields."""
    return SimpleNamespace(headers=Headers(fields))


def test_answer_of_an_upstream_is_none():
    assert Failing.of(answer((b"Server", b"x"))) is None
    assert Failing.of(answer((b"Burrow-Error", b""))) is None


def test_failure_has_its_code_and_its_text():
    failing = Failing.of(answer((b"burrow-error", b"refused")))
    failing.add(b"nothing ")
    failing.add(b"listens")
    page = failing.page("blog.example.com")
    assert (failing.code, page.status, page.code) == ("refused", 502, "upstream-refused")
    assert page.text == "nothing listens"


def test_agent_that_left_another_node():
    failing = Failing.of(answer((b"Burrow-Error", b"agent-away")))
    page = failing.page("blog.example.com")
    assert (page.status, page.code) == (503, "agent-away")
    assert "blog.example.com" in page.text


def test_text_is_bounded_and_need_not_be_utf_8():
    failing = Failing(b"failed")
    for _ in range(10):
        failing.add(b"x" * 1000)
    assert failing.page("x").text == "x" * 4096
    failing = Failing(b"\xff")
    failing.add(b"a\xffb")
    assert failing.page("x").text == "a\ufffdb"
