"""
Requests and answers that are alike, over a visitor's HTTP/2 connection: they are read and written once, and
mean what they would mean if they were read and written each time.
"""

import re
from types import SimpleNamespace

import pytest
from h2.events import DataReceived, ResponseReceived, StreamEnded
from hypothesis import given
from hypothesis import strategies as st

from burrow.http.remembered import Memory
from burrow.policy.base import Policy
from burrow.protocols.visits import Policies
from burrow.server.edge import pages
from burrow.server.edge.exchange import Exchange as Asked
from tests.server.edge.edges import Exchange
from tests.server.edge.http2_visitors import HOST, OK, Connection


def heads(monkeypatch):
    """The heads that requests are made of, as objects."""
    made, before = [], Asked.__init__

    def init(self, edge, connection, request):
        made.append(request)
        before(self, edge, connection, request)

    monkeypatch.setattr(Asked, "__init__", init)
    return made


def test_request_that_comes_again_is_not_read_again(monkeypatch):
    made = heads(monkeypatch)
    one = Connection()
    for number in range(6):
        one.ask(1 + 2 * number, b"GET", b"/a", (b"x", b"y"))
        one.answer(OK)
    assert made[3] is made[4] is made[5]
    asked = one.edge.streams[0].value().split(b"\r\n\r\n")[:-1]
    assert len(asked) == 6
    ids = {re.search(rb"X-Request-Id: (\S+)", each)[1] for each in asked}
    assert len(ids) == 6
    assert len({re.sub(rb"X-Request-Id: \S+", b"", each) for each in asked}) == 1


def test_body_is_each_requests_own():
    one = Connection()
    for number in range(6):
        body = b"%d" % number * (number + 1)
        one.ask(1 + 2 * number, b"POST", b"/a", body=body, end=True)
        assert one.upstream().endswith(b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        one.answer(OK)
    one.ask(13, b"POST", b"/a")  # the same head, without one
    assert b"chunked" not in one.upstream().split(b"\r\n\r\n")[-2]


def test_what_one_connection_asked_is_not_known_to_another(monkeypatch):
    made = heads(monkeypatch)
    edge = Exchange()
    ones = [Connection(edge) for _ in range(2)]
    for number in range(4):
        for one in ones:
            one.ask(1 + 2 * number)
            one.answer(OK)
    assert made[-1] is not made[-2]
    assert made[-1] is made[-3]
    assert made[-2] is made[-4]


@pytest.mark.parametrize("what", ["WebSockets", "refusals"])
def test_what_is_not_remembered(what):
    """A WebSocket gets a key of its own each time."""
    one = Connection()
    fields = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"https")]
    fields += [(b":path", b"/"), (b":authority", HOST)]
    if what == "refusals":
        fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", HOST)]
    for number in range(5):
        one.client.send_headers(1 + 2 * number, fields, end_stream=what == "refusals")
        one.pump()
    if what == "refusals":
        assert [one.status(1 + 2 * number) for number in range(5)] == [400] * 5
    else:
        keys = [re.search(rb"Sec-WebSocket-Key: (\S+)", each.value())[1] for each in one.edge.streams]
        assert len(set(keys)) == 5


def test_connection_that_ends_forgets():
    memory = Memory()
    one = Connection(Exchange(memory=memory))
    for number in range(5):
        one.ask(1 + 2 * number)
        one.answer(OK)
    assert memory.used
    one.protocol.connectionLost()
    assert memory.used == 0


def test_answers_have_their_own_ids_and_bodies():
    one = Connection()
    ids = set()
    for number in range(6):
        stream = 1 + 2 * number
        one.ask(stream)
        one.answer(b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 2\r\n\r\n%02d" % number)
        assert (one.status(stream), one.headers(stream)[b"x-a"]) == (200, b"b")
        assert one.body(stream) == b"%02d" % number
        ids.add(one.headers(stream)[b"x-request-id"])
        assert b"X-Request-Id: " + one.headers(stream)[b"x-request-id"] in one.upstream()
    assert len(ids) == 6


def test_answers_to_requests_with_ids_of_the_visitors():
    one = Connection()
    for number, given_id in enumerate([b"a", b"b", b"a", b"longer", b"a", b"b", b"", b"c"]):
        one.ask(1 + 2 * number, b"GET", b"/", (b"x-request-id", given_id))
        one.answer(OK)
        answered = one.headers(1 + 2 * number)[b"x-request-id"]
        assert answered == given_id or (not given_id and len(answered) == 16)


def test_answers_that_show_an_id_of_the_upstreams():
    one = Connection()
    for number in range(5):
        one.ask(1 + 2 * number)
        one.answer(OK.replace(b"\r\n\r\n", b"\r\nX-Request-Id: theirs\r\n\r\n"))
        fields = one.of(ResponseReceived, 1 + 2 * number)[0].headers
        assert [value for name, value in fields if name == b"x-request-id"] == [b"theirs"]


def test_answer_to_head_is_not_the_one_to_get():
    one = Connection()
    for number, method in enumerate([b"GET", b"GET", b"GET", b"HEAD", b"GET", b"HEAD", b"GET"]):
        stream = 1 + 2 * number
        one.ask(stream, method)
        one.answer(OK if method == b"GET" else OK[:-2])
        assert one.headers(stream)[b"content-length"] == b"2"
        assert one.body(stream) == (b"ok" if method == b"GET" else b"")
        assert one.of(StreamEnded, stream)


def test_answers_that_a_rule_changes():
    """Of two tunnels on one connection, of which one changes the same answers."""
    edge, other = Exchange(), Exchange()

    def rule(visit):
        visit.on_answer.append(lambda fields: [*fields, (b"X-Rule", b"yes")])

    other.policies = Policies(Policy([SimpleNamespace(visit=rule)]), None)
    edge.edge.find = lambda host, asking: other if host.startswith("u") else edge
    one = Connection(edge)
    for number in range(8):
        stream = 1 + 2 * number
        ruled = number % 2 == 1
        head = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/")]
        head.append((b":authority", b"u.example.com" if ruled else HOST))
        one.client.send_headers(stream, head, end_stream=True)
        one.pump()
        (other if ruled else edge).streams[-1].protocol.dataReceived(OK)
        one.pump()
        assert one.headers(stream).get(b"x-rule") == (b"yes" if ruled else None)


FIELDS = st.lists(
    st.tuples(st.sampled_from([b"x-a", b"cookie", b"accept"]), st.sampled_from([b"1", b"2", b""])), max_size=2
)
SPECS = st.tuples(
    st.sampled_from([b"/", b"/b"]), FIELDS, st.sampled_from([None, b"", b"x"]), st.sampled_from([0, 1, 2])
)
ORDER = st.lists(st.integers(0, 2), min_size=5, max_size=25)


@given(
    st.lists(SPECS, min_size=2, max_size=3), st.lists(st.integers(0, 2), min_size=5, max_size=25), st.data()
)
def test_alike_or_not_each_is_read_and_answered_as_the_first(specs, order, chosen):
    """Against a connection of its own for each."""

    def ask(one, stream, spec):
        path, fields, body, answer = spec
        one.ask(stream, b"GET" if body is None else b"POST", path, *fields, body=body, end=True)
        asked = one.upstream().split(b" HTTP/1.1\r\n")[-1]
        asked = re.sub(rb"X-Request-Id: \S+", b"", asked)
        value = [b"A: 1", b"A: 2\r\nDate: x", b"B: 3"][answer]
        one.answer(b"HTTP/1.1 20%d OK\r\n%b\r\nContent-Length: 2\r\n\r\nok" % (answer, value))
        (head,) = one.of(ResponseReceived, stream)
        fields = [tuple(pair) for pair in head.headers if pair[0] != b"x-request-id"]
        return asked, fields, one.body(stream), bool(one.of(StreamEnded, stream))

    one = Connection()
    alone = [ask(Connection(), 1, spec) for spec in specs]
    for number, which in enumerate(order):
        which %= len(specs)
        if chosen.draw(st.integers(0, 9)) == 0:
            one.client.update_settings({1: chosen.draw(st.sampled_from([0, 100, 4096]))})
        assert ask(one, 1 + 2 * number, specs[which]) == alone[which]


def test_what_the_requests_of_one_read_bring_goes_out_in_one_write():
    one = Connection(Exchange(own=lambda head: pages.Page(404, "own", "Own", "text")))
    written = []
    one.wire.write = written.append
    head = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", HOST)]
    for number in range(10):
        one.client.send_headers(1 + 2 * number, head, end_stream=True)
    one.protocol.dataReceived(one.client.data_to_send())
    assert len(written) == 1
    events = one.client.receive_data(written[0])
    assert sum(isinstance(event, DataReceived) for event in events) == 10
