"""
What comes out of the edge has one meaning, whatever came in: requests to upstreams, answers to visitors.

Hypothesis builds messages; h11 and careless readers (C{readers.py}) read what the edge made of them.
"""

import re

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from tests.server.edge.edges import PEER, Exchange
from tests.server.edge.readers import CARELESS, Behind, Unreadable, h11_request, h11_response

pytestmark = pytest.mark.slow

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a.example.com\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

oracle = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)

NAMES = [
    *(
        b"Content-Length",
        b"Transfer-Encoding",
        b"Host",
        b"Connection",
        b"Upgrade",
        b"TE",
        b"Trailer",
        b"Expect",
    ),
    *(b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Forwarded-Port", b"Forwarded", b"X-Real-IP", b"Via"),
    *(b"Cookie", b"Authorization", b"Origin", b"Content-Type", b"Set-Cookie", b"Location", b"Burrow-Error"),
    *(b"Keep-Alive", b"Proxy-Connection", b"HTTP2-Settings", b"Proxy", b"Max-Forwards", b"X-Own", b"Date"),
]
TCHAR = b"!#$%&'*+-.^_`|~09azAZ"


@st.composite
def odd_names(draw):
    """A name of the edge's interest, in any spelling that a careless reader takes for it, or any token."""
    if draw(st.booleans()):
        return bytes(draw(st.lists(st.sampled_from(TCHAR), min_size=1, max_size=8)))
    name = draw(st.sampled_from(NAMES))
    style = draw(st.sampled_from([bytes, bytes.lower, bytes.upper, bytes.swapcase]))
    separator = draw(st.sampled_from([b"-", b"_", b".", b"!"]))
    return style(name).replace(b"-", separator)


odd_values = st.one_of(
    st.sampled_from(
        [b"chunked", b"5", b"0", b"6.6.6.6", b"close", b"keep-alive", b"h2c", b"websocket", b"a.b"]
    ),
    st.lists(odd_names(), max_size=5).map(b", ".join),
    st.binary(max_size=20).map(lambda value: re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"", value).strip()),
)
fields = st.lists(st.tuples(odd_names(), odd_values), max_size=6)
connections = st.lists(st.sampled_from([*NAMES, b"close", b"keep-alive", b"upgrade"]), max_size=4)
bodies = st.one_of(st.just(SMUGGLED), st.just(ANSWER), st.just(b""), st.binary(max_size=60))
steps = st.sampled_from([None, None, 1, 2, 7])


def lines(pairs):
    return b"".join(name + b":" + value + b"\r\n" for name, value in pairs)


@st.composite
def chunked(draw, body):
    """A chunked body as any client may write it: uneven chunks, zeros, extensions, trailers."""
    out, rest = b"", body
    while rest:
        size = draw(st.integers(1, len(rest)))
        digits = draw(st.sampled_from([b"%x", b"%X", b"000%x"])) % size
        extension = draw(st.sampled_from([b"", b"", b";a", b';a="0;b"', b" ;a=b", b";\xff", b";5"]))
        out += digits + extension + b"\r\n" + rest[:size] + b"\r\n"
        rest = rest[size:]
    return out + b"0\r\n" + lines(draw(fields)) + b"\r\n"


def framed(pairs):
    """Whether fields of one's own would frame the message a second time: it has to be refused then."""
    return any(name.lower() in (b"content-length", b"transfer-encoding", b"host") for name, _ in pairs)


def readings_of_request(data):
    """What all readers see of the one request in C{data}; fails if two differ."""
    method, target, headers, body, _ = h11_request(data)
    seen = [reader.request(data) for reader in CARELESS]
    for one in seen:
        assert (one[0], one[1], one[3]) == (method, target, body)
        assert one[2]["X_FORWARDED_FOR"] == [PEER.encode()]
        assert len(one[2]["HOST"]) == len(one[2]["FORWARDED"]) == 1
        assert "PROXY" not in one[2]
        assert "X_REAL_IP" not in one[2]
    return method, target, headers, body


@oracle
@given(st.data())
def test_request_is_read_as_it_was_meant(data):
    method = data.draw(st.sampled_from([b"GET", b"POST", b"PUT", b"OPTIONS", b"DELETE", b"BREW", b"get"]))
    body = data.draw(bodies)
    extra = data.draw(fields)
    named = data.draw(connections)
    in_chunks = data.draw(st.booleans())
    framing = [(b"Transfer-Encoding", b"chunked")] if in_chunks else [(b"Content-Length", b"%d" % len(body))]
    wire = data.draw(chunked(body)) if in_chunks else body
    head = [(b"Host", b"a.example.com"), (b"Connection", b", ".join(named)), *framing]
    head = [*head, *extra] if data.draw(st.booleans()) else [*extra, *head]
    exchange = Exchange()
    sent = exchange.ask(method + b" /meant HTTP/1.1\r\n" + lines(head) + b"\r\n" + wire, data.draw(steps))
    if 400 <= exchange.status < 500 or exchange.status == 501:
        event("refused")
        assert framed(extra) or any(name.lower() == b"max-forwards" for name, _ in extra), (
            exchange.visitor.value()
        )
        assert not sent
        return
    assert len(exchange.streams) == 1
    assert readings_of_request(sent)[:2] == (method, b"/meant")
    assert readings_of_request(sent)[3] == body


HOSTILE_LINES = [
    *(b"Content-Length: 5", b"Content-Length: +5", b"Content-Length: 0x5", b"Content-Length: 5, 5"),
    *(b"Content-Length : 5", b" Content-Length: 5", b"Content-Length: 5\n", b"Content-Length:\t5\t"),
    *(b"Content_Length: 5", b"Content-Length\0: 5", b"Content-Length: 5\rX: y", b"Content-Length: \xb2"),
    *(b"Content-Length: 00000000000000000005", b"Content-Length: 5\r\n 0", b"Content-Length:"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: xchunked"),
    *(b"Transfer-Encoding: chunked;q=1", b"Transfer-Encoding:\tchunked", b"Transfer-Encoding:\x0bchunked"),
    *(b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip", b"Transfer-Encoding: ,chunked,"),
    *(b"Transfer-Encoding : chunked", b"Transfer_Encoding: chunked", b"X: y\rTransfer-Encoding: chunked"),
    *(b"Transfer-Encoding: chunked\0", b"Transfer-Encoding:\r\n chunked", b'Transfer-Encoding: "chunked"'),
    *(b"Host: b.example.com", b"Host: a b", b"host:a.example.com:", b"Host: a.example.com@b", b"HOST:"),
    *(b"Connection: close, Content-Length", b"Connection: Transfer-Encoding", b"Connection: host, cookie"),
    *(b"X: y\n", b"X: \x7f", b"X\x80: y", b"X", b": y", b"X y: z", b"", b"\r", b"X: y\r\n\tz"),
    *(b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA", b"Expect: 100-continue"),
]
HOSTILE_BODIES = [
    SMUGGLED,
    b"0\r\n\r\n" + SMUGGLED,
    b"5\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    b"5;\n" + SMUGGLED,
    b"0\r\nContent-Length: 9\r\nHost: evil\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n" + SMUGGLED,
    b"0\r\nX: y\rZ: 0\r\n\r\n" + SMUGGLED,
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"5_0\r\nhello\r\n0\r\n\r\n",
    b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    b" 5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhelloX\r\n0\r\n\r\n",
    b"5\rX\nhello\r\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"hello",
]
request_lines = st.sampled_from(
    [
        *(b"POST /meant HTTP/1.1", b"GET /meant HTTP/1.1", b"POST /meant HTTP/1.0", b"POST  /meant HTTP/1.1"),
        *(
            b"POST /meant\t HTTP/1.1",
            b"POST /me ant HTTP/1.1",
            b"POST /meant HTTP/1.1 ",
            b"POST /meant HTTP/1.10",
        ),
        *(b"POST /meant", b"POST /meant HTTP/0.9", b"POST /meant RTSP/1.0", b"POST /meant HTTP/1.1\rX: y"),
        *(b"POST http://b.example.com/meant HTTP/1.1", b"POST http://u:p@b.example.com/meant HTTP/1.1"),
        *(
            b"POST /meant#x HTTP/1.1",
            b"POST /meant\xff HTTP/1.1",
            b"POST /meant HTTP/1.1\n",
            b"PO(ST /meant HTTP/1.1",
        ),
        *(b"HEAD /meant HTTP/1.1", b"OPTIONS * HTTP/1.1", b"PRI * HTTP/2.0", b"CONNECT a:1 HTTP/1.1"),
    ]
)


@oracle
@example(
    b"POST /meant HTTP/1.1", [b"Connection: keep-alive, Content-Length", b"Content-Length: 5"], SMUGGLED, None
)
@given(
    request_lines,
    st.lists(st.sampled_from(HOSTILE_LINES), max_size=4),
    st.sampled_from(HOSTILE_BODIES),
    steps,
)
def test_whatever_is_sent_reaches_the_upstream_as_one_request_or_not_at_all(first, extra, body, step):
    exchange = Exchange()
    head = b"\r\n".join(
        [first, *extra, *([] if any(b"ost:" in line for line in extra) else [b"Host: a.example.com"])]
    )
    sent = exchange.ask(head + b"\r\n\r\n" + body, step)
    assert len(exchange.streams) <= 1
    if not sent:
        event("nothing was sent")
        return
    refused = exchange.status >= 400
    try:
        seen = readings_of_request(sent)
    except Unreadable:
        # Not whole: the visitor still owes a part of the body, or was refused and the stream is broken off.
        assert exchange.streams[0].aborted if refused else not exchange.visitor.value()
        head_alone = sent.partition(b"\r\n\r\n")[0]
        assert b"/smuggled" not in head_alone
        assert len(re.findall(rb"(?i)(?:content.length|transfer.encoding) *:", head_alone)) == 1
        event("refused midway" if refused else "not whole")
        return
    event("whole")
    assert not refused
    assert b"smuggled" not in seen[1]


@st.composite
def answers(draw):
    """An answer's status, method, declared body and bytes, framed in one of the ways that are right."""
    method = draw(st.sampled_from([b"GET", b"HEAD", b"POST"]))
    status = draw(st.sampled_from([200, 200, 201, 204, 205, 304, 404, 426, 500, 999]))
    body = draw(bodies)
    way = draw(st.sampled_from(["length", "chunked", "close"]))
    bodiless = method == b"HEAD" or status in (204, 304)
    framing = {
        "length": [(b"Content-Length", b"%d" % len(body))],
        "chunked": [(b"Transfer-Encoding", b"chunked")],
        "close": [],
    }[way]
    named = draw(connections)
    head = [(b"Connection", b", ".join(named)), *framing]
    extra = [pair for pair in draw(fields) if not framed([pair]) and pair[0].lower() != b"burrow-error"]
    head = [*head, *extra] if draw(st.booleans()) else [*extra, *head]
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"]))
    reason = draw(st.sampled_from([b"", b" ", b" OK", b" \xff odd \t one"]))
    interim = b"HTTP/1.1 103 Hints\r\nContent-Length: 9\r\nLink: x\r\n\r\n" if draw(st.booleans()) else b""
    wire = interim + version + b" %d" % status + reason + b"\r\n" + lines(head) + b"\r\n"
    if not bodiless:
        wire += draw(chunked(body)) if way == "chunked" else body
    return method, status, b"" if bodiless else body, wire, way == "close"


@oracle
@given(answers(), steps, st.sampled_from([b"1.1", b"1.0"]), st.booleans())
def test_answer_is_read_as_it_was_meant(answer, step, version, keep):
    method, status, body, wire, until_close = answer
    exchange = Exchange()
    connection = b"keep-alive" if keep else b"close"
    exchange.ask(
        method + b" / HTTP/" + version + b"\r\nHost: a.example.com\r\nConnection: " + connection + b"\r\n\r\n"
    )
    got = exchange.answer(wire, step, end=until_close)
    closed = exchange.visitor.disconnecting
    assert not exchange.visitor.aborted
    assert h11_response(got, method, closed=closed)[::2] == (status, body)
    for reader in CARELESS:
        assert reader.response(got, method, closed=closed)[::2] == (status, body)
    if status == 204:
        assert b"\r\ncontent-length:" not in got.lower().rpartition(b"http/1.1 ")[2]


@oracle
@example(b"HTTP/1.1 200 OK", [b"Connection: content-length", b"Content-Length: 5"], b"hello", None, False)
@given(
    st.sampled_from(
        [
            *(b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 099 X", b"HTTP/1.1 1000 X"),
            *(
                b"HTTP/2.0 200 OK",
                b"HTTP/0.9 200 OK",
                b"ICY 200 OK",
                b"HTTP/1.1  200 OK",
                b"HTTP/1.1 200 O\rK",
            ),
            *(
                b"HTTP/1.1 200 O\0K",
                b"HTTP/1.1 200 OK\n",
                b"HTTP/1.1 101 Switching Protocols",
                b"HTTP/1.1 204 X",
            ),
            *(b"HTTP/1.1 304 X", b"HTTP/1.1 100 Continue", b"hello", b"RTSP/1.0 200 OK"),
        ]
    ),
    st.lists(st.sampled_from(HOSTILE_LINES), max_size=4),
    st.sampled_from([*HOSTILE_BODIES, ANSWER, b"5\r\nhello\r\n0\r\n\r\n" + ANSWER, b"hello" + ANSWER]),
    steps,
    st.booleans(),
)
def test_whatever_is_answered_reaches_the_visitor_as_one_answer(first, extra, body, step, end):
    exchange = Exchange()
    exchange.ask(b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
    got = exchange.answer(b"\r\n".join([first, *extra, b"", body]), step, end=end)
    if exchange.visitor.aborted:
        event("broken off")
        return
    closed = exchange.visitor.disconnecting
    try:
        seen = h11_response(got, b"GET", closed=closed)
    except Unreadable:
        event("not whole")
        assert not closed
        assert len(re.findall(rb"(?m)^HTTP/1.1 [2-9]", got.partition(b"\r\n\r\n")[0])) <= 1
        return
    event(f"status {seen[0]}")
    for reader in CARELESS:
        assert reader.response(got, b"GET", closed=closed)[::2] == (seen[0], seen[2])


def test_readers_tell_two_messages_from_one():
    """The readers themselves see what the edge must not let pass."""
    two = b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED
    with pytest.raises(Behind):
        h11_request(two)
    with pytest.raises(Behind):
        h11_response(ANSWER + ANSWER, b"GET", closed=False)
    for reader in CARELESS:
        with pytest.raises(Behind):
            reader.request(two)
        with pytest.raises(Behind):
            reader.response(b"HTTP/1.1 204 X\r\n\r\n" + ANSWER, b"GET", closed=True)


def test_what_follows_a_switch_that_nobody_asked_for_reaches_nobody():
    exchange = Exchange()
    exchange.ask(b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
    switch = b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    got = exchange.answer(switch + ANSWER)
    assert h11_response(got, b"GET", closed=False)[0] == 502
    assert exchange.streams[0].aborted
