"""Tests for L{burrow.http.remembered}: what is remembered is what would be read again."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from burrow.http.remembered import MAX_HEAD, Memory, Remembered, cost
from burrow.http.request_head import RequestReader
from burrow.server.edge.pages import Page
from tests.server.edge.edges import Exchange

REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: b.example.com\r\nVia: 1.1 other\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: own.example.com\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a.example.com\n\n",
    b"\r\nGET / HTTP/1.1\r\nHost: a.example.com\r\nX: y \r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a.example.com\r\nConnection: keep-alive\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /p HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a.example.com\r\nX-Forwarded-For: 6.6.6.6\r\nContent-Length: 0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a.example.com\r\nMax-Forwards: 0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a.example.com\r\nMax-Forwards: 3\r\n\r\n",
]
WRONG = b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\n\r\n"
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Domain=example.com\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 502 Bad\r\nBurrow-Error: refused\r\nContent-Length: 3\r\n\r\nwhy",
]
HEAD_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


class Forgetful(Memory):
    """Remembers nothing."""

    def __init__(self):
        super().__init__(each=0)


def own(head):
    return Page(200, "own", "Own", "text") if head.host == "own.example.com" else None


def visit(memory, requests, answers, pieces):
    """All that the upstream and the visitor get of these requests and answers, cut in these pieces."""
    exchange = Exchange(own=own, memory=memory)
    rest, sizes, wire = iter(answers), iter(pieces), b"".join(requests)
    while wire and not exchange.gone(exchange.visitor):
        size = next(sizes, len(wire))
        exchange.ask(wire[:size])
        wire = wire[size:]
        while exchange.streams and not exchange.gone(exchange.streams[-1]):
            responses = exchange.streams[-1].protocol
            if not (responses.waiting and responses.whole):
                break
            answer = next(rest, ANSWERS[0])
            exchange.answer(HEAD_ANSWER if responses._method == b"HEAD" else answer, next(sizes, None))
    visitor = exchange.visitor
    told = re.sub(rb"\r\nDate: [^\r]*", b"", visitor.value())  # of pages: the time of day
    return exchange.upstream, told, visitor.aborted, visitor.disconnecting


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(REQUESTS), max_size=12).flatmap(
        lambda some: st.permutations(some * 3).map(lambda mixed: [*some, *mixed])
    ),
    st.sampled_from([b"", WRONG, LAST]),
    st.lists(st.sampled_from(ANSWERS), max_size=40),
    st.lists(st.sampled_from([1, 2, 7, 40, 70, 200, 10_000]), max_size=60),
)
def test_what_is_remembered_is_what_would_be_read(requests, last, answers, pieces):
    requests = [*requests, last]
    assert visit(Memory(), requests, answers, pieces) == visit(Forgetful(), requests, answers, pieces)


def test_a_head_is_read_once_more_and_then_remembered():
    remembered = Remembered(Memory())
    reader = RequestReader(remembered)
    first, second, third = (reader.feed(REQUESTS[0] + b"rest") for _ in range(3))
    assert first == second == third
    assert first[0] is not second[0]
    assert second[0] is third[0]
    assert list(remembered.known) == [REQUESTS[0]]


def test_no_connection_knows_what_another_was_asked():
    memory = Memory()
    readers = [RequestReader(Remembered(memory)) for _ in range(2)]
    heads = [reader.feed(REQUESTS[0])[0] for reader in readers for _ in range(3)]
    assert heads[1] is heads[2]
    assert heads[4] is heads[5]
    assert heads[2] is not heads[5]


def test_the_same_head_from_another_address_is_passed_on_with_that_address():
    memory = Memory()
    for peer in (b"192.0.2.1", b"192.0.2.2"):
        exchange = Exchange(memory=memory, peer=peer.decode())
        for _ in range(4):
            exchange.ask(REQUESTS[0])
            exchange.answer(ANSWERS[0])
        assert exchange.upstream.count(b"X-Forwarded-For: " + peer + b"\r\n") == 4


def test_a_visitor_with_ever_other_heads_is_bounded():
    memory = Memory(each=10_000)
    remembered = Remembered(memory)
    for number in range(20_000):
        head = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number
        for _ in range(2):
            remembered.came(head, number)
        assert memory.used <= 10_000
    assert 0 < len(remembered.known) <= 10_000 / cost(head)
    assert len(remembered._seen) <= 64


def test_heads_that_come_once_are_not_kept():
    memory = Memory()
    exchange = Exchange(memory=memory)
    for number in range(1000):
        exchange.ask(b"GET /%d HTTP/1.1\r\nHost: a.example.com\r\n\r\n" % number)
        exchange.answer(b"HTTP/1.1 200 OK\r\nX: %d\r\nContent-Length: 0\r\n\r\n" % number)
        assert memory.used == 0


@pytest.mark.parametrize("head", [b"x" * (MAX_HEAD + 1), b"x\r\n" * (MAX_HEAD // 3)])
def test_what_is_too_long_is_not_remembered(head):
    memory = Memory()
    remembered = Remembered(memory)
    for _ in range(3):
        remembered.came(head, None)
    assert not remembered.known
    assert not memory.used


def test_who_began_longest_ago_forgets_when_all_are_too_much():
    size = cost(b"a")
    memory = Memory(limit=3 * size)
    one, two, three = (Remembered(memory) for _ in range(3))
    for holder, head in ((one, b"a"), (two, b"a"), (one, b"b"), (three, b"a")):
        holder.came(head, None)
        holder.came(head, None)
    assert [len(each.known) for each in (one, two, three)] == [0, 1, 1]
    assert memory.used == 2 * size
    for holder in (one, two, three):
        holder.forget()
    assert memory.used == 0


def test_a_connection_that_ends_forgets():
    memory = Memory()
    exchange = Exchange(memory=memory)
    for _ in range(3):
        exchange.ask(REQUESTS[0])
        exchange.answer(ANSWERS[0])
    assert memory.used
    exchange.visitor.protocol.connectionLost()
    assert memory.used == 0
