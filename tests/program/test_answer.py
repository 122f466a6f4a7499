"""Tests for L{burrow.program.answer}."""

import pytest

from burrow.http.request_head import RequestReader
from burrow.program.answer import Answer, BadAnswer


def answer(method="GET", version="1.1", fields=()):
    head, _ = RequestReader().feed(f"{method} / HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    made = Answer(head)
    made.start(200, "OK", [(b"Date", b"now"), *fields])
    return made


def test_a_single_piece_has_its_length():
    sent = answer().body(b"hello", more=False)
    assert sent == b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 5\r\n\r\nhello"


def test_several_pieces_are_chunked():
    one = answer()
    assert one.body(b"he", more=True).endswith(b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n")
    assert one.body(b"", more=True) == b""
    assert one.body(b"llo", more=False) == b"3\r\nllo\r\n0\r\n\r\n"


def test_for_http_1_0_the_end_of_the_connection_is_that_of_the_body():
    one = answer(version="1.0")
    assert one.body(b"he", more=True) == b"HTTP/1.1 200 OK\r\nDate: now\r\nConnection: close\r\n\r\nhe"
    assert one.closes


@pytest.mark.parametrize(
    ("method", "status", "length"), [("HEAD", 200, b""), ("GET", 204, b""), ("GET", 304, b"")]
)
def test_no_body(method, status, length):
    one = answer(method)
    one.start(status, "", [(b"Date", b"now")])
    assert one.body(b"hello", more=False).endswith(b"Date: now\r\n\r\n")


def test_a_length_that_is_said_is_kept():
    for pieces in ([b"123456"], [b"1234"], [b"12", b"3456"]):
        one = answer(fields=[(b"content-length", b"5")])
        with pytest.raises(BadAnswer, match="another length"):
            for number, piece in enumerate(pieces, 1):
                one.body(piece, more=number < len(pieces))


@pytest.mark.parametrize(
    "field",
    [(b"X", b"a\r\nB: c"), (b"X y", b"z"), (b"", b"z"), (b"X", b"\0"), (b"Content-Length", b"+5")],
)
def test_fields_that_are_none(field):
    with pytest.raises(BadAnswer):
        answer(fields=[field])


def test_the_connection_is_not_the_apps():
    sent = answer(fields=[(b"Connection", b"close"), (b"Transfer-Encoding", b"chunked")])
    assert b"close" not in sent.body(b"", more=False)


@pytest.mark.parametrize(("status", "reason"), [(101, "x"), (99, "x"), (200, "a\r\nB: c")])
def test_first_lines_that_are_none(status, reason):
    with pytest.raises(BadAnswer):
        answer().start(status, reason, [])


def test_a_body_without_a_head():
    head, _ = RequestReader().feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises(BadAnswer, match="before its head"):
        Answer(head).body(b"", more=False)
