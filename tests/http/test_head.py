"""Tests for L{burrow.http.head}. Most refusals are tested end to end (tests/e2e/test_bad_input.py)."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burrow.http.fields import write_head
from burrow.http.head import BadMessage
from burrow.http.request_head import MAX_HEAD, RequestReader
from burrow.http.response_head import ResponseReader


def request(text):
    head, rest = RequestReader().feed(text.replace("\n", "\r\n").encode())
    assert rest == b""
    return head


@given(st.data())
def test_any_split_reads_the_same(data):
    wire = b"\r\nPOST /a?b HTTP/1.1\r\nHost: X.Example:81\r\nA: b c\r\nContent-Length: 3\r\n\r\nxyz"
    reader, result, position = RequestReader(), None, 0
    while result is None:
        size = data.draw(st.integers(1, len(wire)))
        result = reader.feed(wire[position : position + size])
        position += size
    head, rest = result
    assert (head.method, head.target, head.host, head.length) == (b"POST", b"/a?b", "x.example", 3)
    assert head.authority == b"X.Example:81"
    assert rest + wire[position:] == b"xyz"
    assert not reader.started


@pytest.mark.parametrize(
    ("text", "keep_alive"),
    [
        ("GET / HTTP/1.1\nHost: x\n\n", True),
        ("GET / HTTP/1.1\nHost: x\nConnection: Close\n\n", False),
        ("GET / HTTP/1.0\nHost: x\n\n", False),
        ("GET / HTTP/1.0\nHost: x\nConnection: keep-alive\n\n", True),
    ],
)
def test_keep_alive(text, keep_alive):
    assert request(text).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("extra", "upgrade"),
    [
        ("Connection: Upgrade\nUpgrade: websocket\n", b"websocket"),
        ("Connection: keep-alive, upgrade\nUpgrade: websocket\n", b"websocket"),
        ("Upgrade: websocket\n", b""),
        ("Connection: Upgrade\nUpgrade: WebSocket\n", b"websocket"),
        ("Connection: Upgrade\nUpgrade: h2c, websocket\n", b"websocket"),
        ("Connection: Upgrade\nUpgrade: h2c\n", b""),
        ("Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c, h2c\nHTTP2-Settings: AA\n", b""),
        ("Connection: Upgrade\nUpgrade: x-websocket\n", b""),
        ("Connection: Upgrade\nUpgrade: TLS/1.0\n", b""),
        ("Connection: Upgrade\nUpgrade: websocket\nTransfer-Encoding: chunked\n", b""),
        ("Connection: Upgrade\nUpgrade: websocket\nContent-Length: 5\n", b""),
    ],
)
def test_upgrade(extra, upgrade):
    assert request(f"GET / HTTP/1.1\nHost: x\n{extra}\n").upgrade == upgrade
    assert request(f"GET / HTTP/1.0\nHost: x\n{extra.partition('Transfer')[0]}\n").upgrade == b""
    assert request(f"POST / HTTP/1.1\nHost: x\n{extra}\n").upgrade == b""


@pytest.mark.parametrize(
    ("host", "name"),
    [
        *(
            ("a.b", "a.b"),
            ("A.B:8443", "a.b"),
            ("a.b.", "a.b"),
            ("[::1]:80", "::1"),
            ("127.0.0.1", "127.0.0.1"),
        ),
        *(("a_b.c", "a_b.c"), ("a.b.:65535", "a.b"), ("a.b:0080", "a.b"), ("[2001:DB8::1]", "2001:db8::1")),
    ],
)
def test_hosts(host, name):
    head = request(f"GET / HTTP/1.1\nHost: {host}\n\n")
    assert (head.host, head.authority) == (name, host.encode())
    assert request(f"GET http://{host}/x HTTP/1.1\nHost: other\n\n").host == name


@pytest.mark.parametrize(
    "host",
    [
        *(
            "a b",
            "a,b",
            "a/b",
            "a@b",
            "u:p@b",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:-1",
            "a:+1",
            "a..b",
            ".",
            ".a",
        ),
        *("a.b..", "[::1", "::1", "[::1]x", "[:::1]", "[1.2.3.4]", "[]", "a?b", "a#b", "a%41", "a\\b", "ä"),
    ],
)
def test_what_is_no_host(host):
    for text in (f"GET / HTTP/1.1\nHost: {host}\n\n", f"GET http://{host}/ HTTP/1.1\nHost: a.b\n\n"):
        if "http" in text and ("/" in host or "?" in host):
            continue  # there it ends the host
        with pytest.raises(BadMessage) as caught:
            request(text)
        assert caught.value.status == 400


def test_empty_port_and_blanks_behind_a_value_are_legal():
    head = request("GET / HTTP/1.1\nHost: a.b: \t\nX: y  \nContent-Length: 0 \n\n")
    assert (head.host, head.authority, head.length) == ("a.b", b"a.b", 0)
    assert head.headers.fields[1] == (b"X", b"y")


def test_host_is_checked_even_where_the_target_counts():
    for hosts in ("Host: a b\n", "Host: a\nHost: a\n", ""):
        with pytest.raises(BadMessage) as caught:
            request(f"GET http://a/ HTTP/1.1\n{hosts}\n")
        assert caught.value.status == 400


@pytest.mark.parametrize("method", ["BREW", "get", "M-SEARCH", "!#$%&'*+-.^_`|~", "SOURCE", "QUERY", "P"])
def test_any_token_is_a_method(method):
    assert request(f"{method} / HTTP/1.1\nHost: x\n\n").method == method.encode()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("CONNECT x:443 HTTP/1.1", 405),
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/0.9", 505),
        *(
            (line, 400)
            for line in (
                *(
                    "GET /",
                    "GET  / HTTP/1.1",
                    "GET / HTTP/1.1 ",
                    " GET / HTTP/1.1",
                    "GET\t/ HTTP/1.1",
                    "GET / RTSP/1.0",
                ),
                *(
                    "GET / http/1.1",
                    "GET / HTTP/1.10",
                    "GET / HTTP/11",
                    "GET /a b HTTP/1.1",
                    "GET /\0 HTTP/1.1",
                ),
                *("GET /ä HTTP/1.1", "GET /\x7f HTTP/1.1", "G(T / HTTP/1.1", "/ HTTP/1.1", "GET x HTTP/1.1"),
                *("GET * HTTP/1.1", "GET ftp://a/ HTTP/1.1", "GET /a#b HTTP/1.1", "GET http://a/#b HTTP/1.1"),
                *("GET http:/// HTTP/1.1", "GET http:a HTTP/1.1", "GET ?a HTTP/1.1"),
            )
        ),
    ],
)
def test_request_lines_that_are_refused(line, status):
    for end in ("\n", "\nX: y\n"):
        with pytest.raises(BadMessage) as caught:
            request(f"{line}{end}Host: a\n\n")
        assert caught.value.status == status


def test_bytes_that_are_no_text_are_refused_before_their_line_ends():
    for noise in (b"\x16\x03\x01\x02", b"GET /\0", b"GET / HTTP/1.1\rHost"):
        with pytest.raises(BadMessage) as caught:
            RequestReader().feed(noise)
        assert caught.value.status == 400


def test_head_of_an_answer_at_its_bound():
    start, end = b"HTTP/1.1 200 OK\r\nX: ", b"\r\n\r\n"
    room = 256 * 1024 - len(start + end)
    head, _ = ResponseReader().feed(start + b"x" * room + end, b"GET")
    assert len(head.headers.value(b"x")) == room
    with pytest.raises(BadMessage):
        ResponseReader().feed(start + b"x" * (room + 1) + end, b"GET")


@pytest.mark.parametrize("value", ["", "-1", "+1", "1.5", "1, 1", "1\nMax-Forwards: 1", "9" * 19, "x"])
def test_max_forwards_is_one_number(value):
    for method in ("OPTIONS", "TRACE"):
        with pytest.raises(BadMessage):
            request(f"{method} / HTTP/1.1\nHost: x\nMax-Forwards: {value}\n\n")
    assert request(f"GET / HTTP/1.1\nHost: x\nMax-Forwards: {value}\n\n").max_forwards is None


def test_targets():
    assert request("OPTIONS * HTTP/1.1\nHost: x\n\n").target == b"*"
    assert request("OPTIONS http://x:80 HTTP/1.1\nHost: x\n\n").target == b"*"
    assert request("OPTIONS http://x?q HTTP/1.1\nHost: x\n\n").target == b"/?q"
    assert request("OPTIONS http://x/ HTTP/1.1\nHost: x\n\n").target == b"/"
    assert request("GET HTTP://x HTTP/1.1\nHost: x\n\n").target == b"/"
    assert request("GET //x/y HTTP/1.1\nHost: x\n\n").target == b"//x/y"
    absolute = request("GET http://other:1?q HTTP/1.1\nHost: x\n\n")
    assert (absolute.host, absolute.authority, absolute.target) == ("other", b"other:1", b"/?q")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: gzip\nTransfer-Encoding: chunked", 501),
        ("Transfer-Encoding: gzip", 400),
        ("Transfer-Encoding: chunked\nContent-Length: 1", 400),
        ("Content-Length: 1\nContent-Length: 1", 400),
        ("Content-Length: 1234567890123456789", 400),
    ],
)
def test_framing_that_is_refused(fields, status):
    with pytest.raises(BadMessage) as caught:
        request(f"POST / HTTP/1.1\nHost: x\n{fields}\n\n")
    assert caught.value.status == status
    assert (
        request("POST / HTTP/1.1\nHost: x\nContent-Length: 123456789012345678\n\n").length
        == 123456789012345678
    )


def test_chunked_has_no_length():
    head = request("POST / HTTP/1.1\nHost: x\nTransfer-Encoding: Chunked\n\n")
    assert head.length is None


@given(st.binary(max_size=300))
def test_random_bytes_never_do_worse_than_bad_message(noise):
    for reader, arguments in ((RequestReader(), ()), (ResponseReader(), (b"GET",))):
        try:
            reader.feed(noise + b"\r\n\r\n", *arguments)
        except BadMessage as error:
            assert 400 <= error.status < 600


@pytest.mark.parametrize("reader", [RequestReader, ResponseReader])
def test_head_in_tiny_pieces_costs_about_its_bytes(reader):
    """Each piece is an object of its own beside its bytes."""
    reads = reader()
    reads.feed(*([b"GET / HTTP/1.1\r\n"] if reader is RequestReader else [b"HTTP/1.1 200 OK\r\n", b"GET"]))
    for number in range(20_000):
        piece = b"X: y\r\n"[number % 6 : number % 6 + 1]
        assert reads.feed(*([piece] if reader is RequestReader else [piece, b"GET"])) is None
    assert len(reads._pieces) <= 1024


def test_head_without_an_end_is_too_long_at_last():
    reader = RequestReader()
    reader.feed(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
    with pytest.raises(BadMessage) as caught:
        for _ in range(MAX_HEAD // 1000 + 1):
            reader.feed(b"x" * 1000)
    assert caught.value.status == 431


def response(text, method=b"GET"):
    return ResponseReader().feed(text.replace("\n", "\r\n").encode(), method)[0]


@pytest.mark.parametrize(
    ("text", "method", "framing"),
    [
        ("HTTP/1.1 200 OK\nContent-Length: 5\n\n", b"GET", (5, False, True)),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", b"GET", (None, True, True)),
        ("HTTP/1.1 200 OK\n\n", b"GET", (None, False, False)),
        ("HTTP/1.1 200 OK\nContent-Length: 5\n\n", b"HEAD", (0, False, True)),
        ("HTTP/1.1 204 No Content\n\n", b"GET", (0, False, True)),
        ("HTTP/1.1 304 Not Modified\nContent-Length: 9\n\n", b"GET", (0, False, True)),
        ("HTTP/1.1 200 OK\nContent-Length: 5\nConnection: close\n\n", b"GET", (5, False, False)),
        ("HTTP/1.0 200 OK\nContent-Length: 5\n\n", b"GET", (5, False, False)),
        ("HTTP/1.0 200 OK\nContent-Length: 5\nConnection: keep-alive\n\n", b"GET", (5, False, True)),
        (
            "HTTP/1.0 200 OK\nTransfer-Encoding: chunked\nConnection: keep-alive\n\n",
            b"GET",
            (None, True, False),
        ),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", b"HEAD", (0, False, True)),
        ("HTTP/1.1 204 X\nTransfer-Encoding: chunked\n\n", b"GET", (0, False, True)),
    ],
)
def test_framing_of_responses(text, method, framing):
    head = response(text, method)
    assert (head.length, head.chunked, head.keep_alive) == framing


def test_written_head_reads_back():
    wire = write_head(b"GET / HTTP/1.1", [(b"Host", b"x"), (b"Empty", b"")])
    assert RequestReader().feed(wire)[0].headers.fields == [(b"Host", b"x"), (b"Empty", b"")]


@pytest.mark.parametrize(
    "line",
    [
        *(
            "HTTP/1.1 099 X",
            "HTTP/1.1 1000 X",
            "HTTP/1.1 20 X",
            "HTTP/1.1 2x0 X",
            "HTTP/1.1  200 X",
            "HTTP/1.1 200X",
        ),
        *(
            "HTTP/2.0 200 X",
            "HTTP/0.9 200 X",
            "ICY 200 OK",
            "RTSP/1.0 200 OK",
            "HTTP/1.1 200 X\0",
            "SSH-2.0-x",
        ),
    ],
)
def test_what_is_no_status_line(line):
    with pytest.raises(BadMessage):
        response(f"{line}\n\n")


@pytest.mark.parametrize("reason", ["", " ", " OK", " \xe4 \t x"])
def test_any_reason(reason):
    head, _ = ResponseReader().feed(f"HTTP/1.1 200{reason}\r\n\r\n".encode("latin-1"), b"GET")
    assert head.reason == reason[1:].encode("latin-1")


def test_what_a_gateway_mends_in_a_response():
    head = response(
        "HTTP/1.1 200 OK\nA : 1\nB\t : 2\nC: 3\n 4\n\t 5\nD:\n 6\nE: x : y\nContent-Length : 7\n\n"
    )
    assert head.headers.fields == [
        *(
            (b"A", b"1"),
            (b"B", b"2"),
            (b"C", b"3 4 5"),
            (b"D", b"6"),
            (b"E", b"x : y"),
            (b"Content-Length", b"7"),
        )
    ]
    assert head.length == 7


@pytest.mark.parametrize(
    "fields", [" A: b\n", "A b: c\n", ": b\n", "A\n", "A: \x01\n", "A: b\rc\n", "\u00e4: b\n"]
)
def test_fields_that_no_response_may_have(fields):
    with pytest.raises(BadMessage):
        response(f"HTTP/1.1 200 OK\n{fields}\n")


@pytest.mark.parametrize(
    "fields", [" A: b\n", "A : b\n", "A: b\n c\n", "A: b\n\tc\n", "A b: c\n", "A: \x7f\n"]
)
def test_fields_that_no_request_may_have(fields):
    with pytest.raises(BadMessage) as caught:
        request(f"GET / HTTP/1.1\nHost: x\n{fields}\n")
    assert caught.value.status == 400


def test_heads_at_their_bounds():
    lines = "X: y\n" * 127
    assert len(request(f"GET / HTTP/1.1\nHost: x\n{lines}\n").headers.fields) == 128
    target = "/" + "x" * (16 * 1024 - 1)
    assert request(f"GET {target} HTTP/1.1\nHost: x\n\n").target == target.encode()
    start, end = "GET / HTTP/1.1\nHost: x\nX: ", "\n\n"
    room = 64 * 1024 - len((start + end).replace("\n", "\r\n"))
    assert request(start + "x" * room + end).host == "x"
    for text, status in (
        (f"GET / HTTP/1.1\nHost: x\n{lines}X: y\n\n", 431),
        (f"GET {target}x HTTP/1.1\nHost: x\n\n", 414),
        (start + "x" * (room + 1) + end, 431),
    ):
        with pytest.raises(BadMessage) as caught:
            request(text)
        assert caught.value.status == status


def test_blanks_and_folds_cost_linear_time():
    """Quadratic, each of these would take minutes."""
    for text in (" " * 200_000, " " * 100_000 + "\r\n" + " " * 100_000, "\r\n " * 60_000):
        with contextlib.suppress(BadMessage):
            response(f"HTTP/1.1 200 OK\r\nX:{text}\x01\r\n\r\n".replace("\r\n", "\n"))
