"""
What comes by HTTP/2 has one meaning behind the edge, too: what an upstream of HTTP/1.1 reads is what was
asked, or nothing.

Hypothesis builds heads and bodies; h11 and careless readers (C{readers.py}) read what the edge made of them.
"""

from unittest import mock

import pytest
from h2.errors import ErrorCodes
from h2.events import StreamReset
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from tests.server.edge.http2_visitors import HOST, Connection
from tests.server.edge.readers import CARELESS, h11_request

pytestmark = pytest.mark.slow

oracle = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a.example.com\r\n\r\n"
EVIL = [b"\r\nevil: 1", b"\r\n\r\n" + SMUGGLED, b"\n", b"\r", b"\0", b" ", b"\t", b"\x7f", b"\x0b", b"\x85"]


def evil(draw, value):
    """A value with something evil before, in or behind it."""
    at = draw(st.integers(0, len(value)))
    return value[:at] + draw(st.sampled_from(EVIL)) + value[at:]


METHODS = [b"GET", b"POST", b"POST", b"PUT", b"OPTIONS", b"CONNECT", b"get"]
PATHS = [b"/meant", b"/meant?a=b", b"//meant", b"/m%0d%0a", b"/", b"*", b"", b"meant", b"/meant#x"]
AUTHORITIES = [HOST, HOST, HOST.upper(), HOST + b":443", HOST + b":8", b"user@" + HOST, b"", b"a,b"]
SCHEMES = [b"HTTPS", b"http", b"ftp", b""]
NAMES = [
    *(b"x-a", b"x-b", b"accept", b"cookie", b"cookie", b"x-forwarded-for", b"expect", b"trailer", b"X-A"),
    *(b"content-length", b"content-length", b"Content-Length", b"content_length", b"transfer_encoding"),
    *(b"transfer-encoding", b"host", b"Host", b"connection", b"upgrade", b"te", b"keep-alive"),
    *(b":path", b":method", b":authority", b":scheme", b":status", b":protocol", b":x", b""),
    *(b"http2-settings", b"proxy-connection", b"x_forwarded_for"),
]
VALUES = [b"", b"b", b"c", b"0", b"5", b"+5", b"5, 5", b"chunked", HOST, b"evil.example.com", b"\xff"]
VALUES += [b"trailers", b"gzip", b"100-continue", b"close", b"websocket", b"/smuggled", b"%d" % len(SMUGGLED)]


harmless = st.tuples(
    st.sampled_from([b"x-a", b"x-b", b"accept", b"cookie", b"x-forwarded-for", b"trailer"]),
    st.sampled_from([b"", b"b", b"c, d", b"chunked", b"5", b"\xff"]),
)
odd = st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES))


@st.composite
def requests(draw):
    """The pseudo-header fields and others of a request that is right but for two things at most."""
    head = {b":method": b"POST", b":scheme": b"https", b":path": b"/meant", b":authority": HOST}
    head[b":method"] = draw(st.sampled_from([b"GET", b"POST", b"PUT"]))
    fields = draw(st.lists(harmless, max_size=3))
    for _ in range(draw(st.integers(0, 2))):
        way = draw(st.sampled_from(["method", "path", "authority", "scheme", "field", "field", "evil"]))
        if way == "field":
            fields.append(draw(odd))
        elif way == "evil":
            name, value = draw(harmless)
            spoil = draw(st.booleans())
            fields.append((evil(draw, name), value) if spoil else (name, evil(draw, value)))
        else:
            name = b":" + way.encode()
            choices = {"method": METHODS, "path": PATHS, "authority": AUTHORITIES, "scheme": SCHEMES}[way]
            head[name] = draw(st.sampled_from(choices))
            if draw(st.booleans()):
                head[name] = evil(draw, head[name])
    return [*head.items(), *fields]


def name_is_framing(name):
    return name.lower().replace(b"_", b"-") in (b"content-length", b"transfer-encoding")


def readings(data):
    """Method, target and body of the one request, as every reader sees it."""
    method, target, _, body = h11_request(data)[:4]
    for reader in CARELESS:
        assert reader.request(data)[:2] + reader.request(data)[3:] == (method, target, body)
    return method, target, body


def asking(*fields, method=b"POST"):
    """A request of these fields."""
    head = [(b":method", method), (b":scheme", b"https"), (b":path", b"/meant"), (b":authority", HOST)]
    return [*head, *fields]


@oracle
@example(asking((b":status", b"100-continue")), b"", None, True)
@example(asking(), b"hello", [(b":status", b"100-continue")], True)
@example(asking((b"content-length", b"5")), b"", None, True)
@example(asking((b"content-length", b"5")), b"", [(b"x", b"y")], True)
@example(asking((b":protocol", b"websocket"), method=b"CONNECT"), SMUGGLED, None, False)
@example(asking((b"transfer-encoding", b"chunked")), SMUGGLED, None, True)
@given(
    requests(),
    st.sampled_from([b"", b"hello", SMUGGLED, b"0\r\n\r\n" + SMUGGLED]),
    st.one_of(st.none(), st.lists(st.one_of(harmless, odd), max_size=2)),
    st.sampled_from([True, True, False]),
)
def test_whatever_is_asked_by_http_2_is_one_request_of_http_1_or_none(head, body, trailers, end):
    one = Connection(sane=False)
    method, path, authority = (dict(head[:4])[name] for name in (b":method", b":path", b":authority"))
    alone = end and not body and trailers is None
    # h2 takes a head with ":status" of 1xx for an answer's, which it would not send so.
    with mock.patch("h2.stream.is_informational_response", return_value=False):
        one.client.send_headers(1, head, end_stream=alone)
        if body:
            one.client.send_data(1, body, end_stream=end and trailers is None)
        if trailers is not None:
            one.client.send_headers(1, trailers or [(b"x", b"y")], end_stream=True)
    one.pump()
    assert len(one.edge.streams) <= 1
    sent = one.upstream()
    if not sent or one.edge.streams[0].aborted:
        event("refused")
        assert one.code is not None or one.of(StreamReset) or one.status() >= 400
        if sent:
            assert b"smuggled" not in sent.partition(b"\r\n\r\n")[0].replace(b"/smuggled\r\n", b"")
        return
    start, _, rest = sent.partition(b"\r\n\r\n")
    # What is asked is what the pseudo-header fields said.
    first, host, *lines = start.split(b"\r\n")
    asked = b"GET" if method == b"CONNECT" else method
    assert first == b"%b %b HTTP/1.1" % (asked, path)
    assert host == b"Host: " + authority
    assert not any(line.lower().startswith((b"host:", b"evil:")) for line in lines)
    framing = [line for line in lines if name_is_framing(line.partition(b":")[0])]
    assert len(framing) <= 1
    if method == b"CONNECT":
        event("websocket")
        assert (framing, rest) == ([], b"")  # what follows waits for the 101
        return
    if not (alone or end or trailers is not None):
        event("not whole")
        return
    event("whole")
    assert readings(sent) == (asked, path, body)


@pytest.mark.parametrize("size", [0, 1, 4, 6, 100])
@pytest.mark.parametrize("trailers", [False, True])
def test_content_length_that_disagrees_with_the_data(size, trailers):
    one = Connection(sane=False)
    head = [(b":method", b"POST"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", HOST)]
    one.client.send_headers(1, [*head, (b"content-length", b"5")], end_stream=not size and not trailers)
    if size:
        one.client.send_data(1, bytes(size), end_stream=not trailers)
    if trailers:
        one.client.send_headers(1, [(b"x", b"y")], end_stream=True)
    one.pump()
    if not size and not trailers:
        assert one.status() == 400
        assert one.edge.streams == []
        return
    assert all(stream.aborted for stream in one.edge.streams)
    assert one.code == ErrorCodes.PROTOCOL_ERROR or one.of(StreamReset)
