"""Tests for L{burrow.server.edge.exchange}: a connection and a route that are the test's, and no sockets."""

import gc

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from zope.interface import implementer
from zope.interface.verify import verifyObject

from burrow.errors import StoreError, StreamGone
from burrow.http.head import BadMessage
from burrow.http.request_head import RequestReader
from burrow.protocols.visits import NO_POLICIES
from burrow.server.edge import pages
from burrow.server.edge.among import MOST
from burrow.server.edge.connection import IConnection
from burrow.server.edge.context import Edge
from burrow.server.edge.exchange import Exchange
from burrow.server.edge.forwarded import Forwarding, Hop
from burrow.server.edge.http1 import VisitorFactory
from burrow.server.edge.responses import IAnswered, Responses
from burrow.server.edge.sweep import Sweep
from burrow.server.edge.tls import Shown
from burrow.server.route import NoRoute, Why
from burrow.server.share import Share
from tests.server.edge.edges import Peer, Wire

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Route:
    """A tunnel whose upstream is the test. @ivar gone: whether no stream can be opened."""

    alive = True
    may_have_moved = False
    policies = NO_POLICIES
    gone = False
    requests = 0
    share = None

    def __init__(self):
        self.streams = []

    def connect(self, protocol, visitor, scheme, allowance=None):
        if self.gone:
            raise StreamGone("no agent")
        stream = Wire(None)
        stream.protocol, stream.visitor = protocol, visitor
        self.streams.append(stream)
        protocol.makeConnection(stream)


@implementer(IConnection)
class Connection:
    """Records what an exchange tells it, in C{told}."""

    ended = False
    only_switches = False
    shown = None

    def __init__(self, edge, own):
        self.hop = Hop(edge.forwarding, Peer(), "https")
        self.own = own
        self.told = []
        self.kept = None
        self.awaited = False

    def use_part(self, part):
        self.part = part

    def stream_to(self, route, address):
        if self.kept is None or not self.kept.usable:
            responses = Responses(lambda: None)
            route.connect(responses, *address)
            self.kept = responses
        return self.kept

    def body_awaited(self):
        self.awaited = True

    def advance(self):
        pass

    def answer_interim(self, head):
        self.told.append(head.status)

    def answer(self, head):
        self.told.append(head.status)

    def answer_data(self, data):
        self.told.append(data)

    def answer_end(self, trailers):
        self.told.append("end")

    def answer_page(self, page, *, linger=False):
        self.told.append(page.code)

    def break_off(self):
        self.told.append("broken")

    def answer_switch(self, head):
        if head.headers.value(b"upgrade") != b"websocket":
            raise BadMessage(502, "not asked for")
        self.told.append(head.status)

    def switch(self, end):
        self.told.append(end)

    def hand_over(self, factory):
        self.told.append(factory)


class Visit:
    """An exchange that has begun."""

    def __init__(self, method="GET", *fields, own=lambda head: None, find=None, shown=None):
        self.clock = Clock()
        self.route = Route()
        self.edge = Edge(
            find=find or (lambda host, asking: self.route),
            own=own,
            sweep=Sweep(self.clock),
            forwarding=Forwarding(),
            domain="example.com",
            idle_timeout=75.0,
            response_timeout=120.0,
        )
        self.edge.sweep.start()
        lines = "".join(f"{line}\r\n" for line in ("Host: t.example.com", *fields))
        head, _ = RequestReader().feed(f"{method} / HTTP/1.1\r\n{lines}\r\n".encode())
        self.connection = Connection(self.edge, own)
        self.connection.shown = shown
        self.again(head)

    def again(self, head):
        """Another exchange on the same connection."""
        self.exchange = Exchange(self.edge, self.connection, head)
        self.exchange.begin()

    @property
    def told(self):
        return self.connection.told

    @property
    def stream(self):
        return self.route.streams[-1]

    def answer(self, data):
        self.stream.protocol.dataReceived(data)
        return self.told

    def lose(self):
        self.stream.connected = False
        self.stream.protocol.connectionLost()
        return self.told


def test_who_provides_the_interfaces():
    visit = Visit()
    assert verifyObject(IConnection, visit.connection)
    assert verifyObject(IAnswered, visit.exchange)
    visitor = VisitorFactory(visit.edge, "https").buildProtocol(None)
    visitor.makeConnection(Wire(Peer()))
    assert verifyObject(IConnection, visitor)


# -- who answers ------------------------------------------------------------------------------------------


def test_request_and_answer():
    visit = Visit()
    assert visit.stream.visitor == "203.0.113.7:4711"
    assert visit.stream.value().startswith(b"GET / HTTP/1.1\r\nHost: t.example.com\r\n")
    assert visit.answer(OK) == [200, b"ok", "end"]
    assert visit.exchange.deadline is None


def test_the_server_answers_itself():
    assert Visit(own=lambda head: pages.Page(200, "own", "Own", "x")).told == ["own"]
    other = Shown("u.example.com", None, frozenset(["u.example.com"]))
    assert Visit(shown=other).told == ["misdirected"]
    assert Visit("OPTIONS", "Max-Forwards: 0").told == ["options"]
    factory = object()
    visit = Visit(own=lambda head: factory)
    assert visit.told == [factory]
    assert visit.exchange.deadline is None
    assert visit.route.streams == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoRoute(Why.UNKNOWN), "no-such-tunnel"),
        (NoRoute(Why.PASSED_ON), "misdirected"),
        (NoRoute(Why.LEFT), "agent-away"),
        (StoreError("away"), "store-away"),
    ],
)
def test_no_route(error, code):
    found = Deferred()
    visit = Visit(find=lambda host, asking: found)
    assert visit.exchange.waits
    found.errback(error)
    assert visit.told == [code]
    assert not visit.exchange.waits


def test_a_route_that_is_waited_for():
    found = Deferred()
    visit = Visit("POST", "Content-Length: 2", find=lambda host, asking: found)
    visit.clock.advance(1000)
    assert visit.told == []
    found.callback(visit.route)
    assert visit.connection.awaited
    visit.exchange.send_body(b"hi", [])
    assert visit.stream.value().endswith(b"\r\n\r\nhi")


def test_who_left_waits_no_more():
    failures = []
    found = Deferred()
    visit = Visit(find=lambda host, asking: found)
    found.addErrback(lambda reason: failures.append(reason.type))
    visit.connection.ended = True
    assert visit.exchange.may_be_gone
    visit.exchange.stop()
    assert visit.told == []
    assert failures == []  # the exchange took it
    assert not visit.exchange.waits
    assert found.called


def test_a_route_that_comes_for_nobody():
    """Its finder cannot be cancelled."""
    found = Deferred(lambda deferred: deferred.callback(visit.route))
    visit = Visit(find=lambda host, asking: found)
    visit.exchange.stop()
    assert visit.told == visit.route.streams == []


def test_no_stream():
    route = Route()
    route.gone = True
    assert Visit(find=lambda host, asking: route).told == ["agent-away"]


# -- the request ------------------------------------------------------------------------------------------


def test_a_chunked_body_is_written_anew():
    visit = Visit("POST", "Transfer-Encoding: chunked")
    assert not visit.exchange.whole
    visit.exchange.send_body(b"abc")
    visit.exchange.send_body(b"")
    visit.exchange.send_body(b"d", [(b"Sum", b"1")])
    assert visit.stream.value().endswith(b"\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\nSum: 1\r\n\r\n")
    assert visit.exchange.whole


def test_who_asks_first_is_not_waited_for():
    assert Visit("POST", "Content-Length: 2").connection.awaited
    assert not Visit("POST", "Content-Length: 2", "Expect: 100-continue").connection.awaited


# -- the answer -------------------------------------------------------------------------------------------


def test_interim_answers_begin_the_time_anew():
    visit = Visit()
    visit.clock.advance(119)
    assert visit.answer(b"HTTP/1.1 103 Early Hints\r\n\r\n") == [103]
    visit.clock.advance(119)
    assert visit.told == [103]
    visit.clock.advance(2)
    assert visit.told == [103, "upstream-timeout"]


def test_an_upstream_that_takes_the_body_has_time():
    visit = Visit("POST", "Content-Length: 2")
    for _ in range(3):
        visit.clock.advance(119)
        visit.stream.granted += 1
        visit.clock.advance(2)
    assert visit.told == []
    visit.clock.advance(121)
    assert visit.told == ["upstream-timeout"]


@pytest.mark.parametrize(
    ("field", "code"), [("refused", "upstream-refused"), ("agent-away", "agent-away"), ("", None)]
)
def test_failure_that_the_agent_tells(field, code):
    answer = f"HTTP/1.1 502 X\r\nBurrow-Error: {field}\r\nContent-Length: 3\r\n\r\nwhy"
    assert Visit().answer(answer.encode()) == ([code] if code else [502, b"why", "end"])


def test_a_begun_answer_is_broken_off():
    visit = Visit()
    visit.answer(OK[:-1])
    assert visit.lose() == [200, b"o", "broken"]


def test_an_answer_that_cannot_be_passed_on():
    assert Visit().answer(b"no HTTP\r\n") == ["upstream-failed"]
    assert Visit().answer(b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\n\r\n") == ["upstream-failed"]


def test_an_upgrade():
    visit = Visit()
    status, end = visit.answer(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\nmore")
    assert status == 101
    assert visit.stream.protocol is end
    assert visit.exchange.deadline is None


def test_a_request_that_only_asks_is_sent_again_on_a_stream_that_was_kept():
    visit = Visit()
    visit.answer(OK)
    visit.again(visit.exchange.request)
    assert len(visit.route.streams) == 1
    visit.lose()
    assert len(visit.route.streams) == 2
    assert visit.answer(OK) == [200, b"ok", "end"] * 2


def test_a_failure_that_was_cut_off_is_forgotten_when_it_is_sent_again():
    visit = Visit()
    visit.answer(OK)
    visit.again(visit.exchange.request)
    visit.answer(b"HTTP/1.1 502 X\r\nBurrow-Error: refused\r\nContent-Length: 3\r\n\r\nw")
    visit.lose()
    assert visit.answer(OK) == [200, b"ok", "end"] * 2


def test_an_agent_that_went_is_looked_for_once_more():
    visit = Visit()
    visit.route.may_have_moved, visit.route.alive = True, False
    visit.lose()
    assert len(visit.route.streams) == 2
    assert visit.lose() == ["agent-away"]


def test_what_does_more_than_ask_is_not_sent_again():
    visit = Visit("DELETE")
    visit.answer(OK)
    visit.again(visit.exchange.request)
    visit.lose()
    assert len(visit.route.streams) == 1
    assert visit.told[3:] == ["upstream-failed"]


def test_an_event_stream_has_no_end():
    visit = Visit()
    assert not visit.exchange.endless
    visit.answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n")
    assert visit.exchange.endless
    visit = Visit()
    visit.answer(OK[:-1])
    assert not visit.exchange.endless


# -- agents that share the name ---------------------------------------------------------------------------

FAILED = b"HTTP/1.1 502 Bad Gateway\r\nBurrow-Error: %b\r\nContent-Length: 0\r\n\r\n"


class Agents:
    """Routes that share a name; the visitor gets the one with the fewest requests open."""

    def __init__(self, count, **options):
        self.routes = [Route() for _ in range(count)]
        for number, route in enumerate(self.routes):
            route.share = Share(f"k{number}", **options)

    def find(self, host, asking):
        return min(self.routes, key=lambda route: (route.share.rests_until, route.share.load))

    @property
    def loads(self):
        return [route.share.load for route in self.routes]


def shared(*, agents=2, method="GET", fields=(), **options):
    agents = Agents(agents, **options)
    return agents, Among(method, *fields, find=agents.find)


def stream_to(visit, route, address):
    responses = Responses(lambda: None)
    route.connect(responses, *address)
    visit.route = route
    return responses


class Among(Visit):
    """A visit whose connection is to whichever route was found."""

    def again(self, head):
        self.connection.stream_to = lambda route, address: stream_to(self, route, address)
        super().again(head)


def test_a_request_is_open_at_one_agent_until_it_is_answered():
    agents, visit = shared()
    assert agents.loads == [1, 0]
    assert visit.answer(OK) == [200, b"ok", "end"]
    assert agents.loads == [0, 0]
    agents, visit = shared()
    visit.exchange.stop()
    assert agents.loads == [0, 0]
    assert visit.exchange.among.cookie == b""


@pytest.mark.parametrize("code", [b"refused", b"timeout", b"unknown-host", b"certificate", b"agent-away"])
def test_another_agent_gets_what_one_could_not_pass_on(code):
    agents, visit = shared()
    assert visit.answer(FAILED % code) == []
    assert agents.loads == [0, 1]
    assert agents.routes[0].share.rests_until > 0
    assert visit.answer(OK) == [200, b"ok", "end"]
    assert agents.loads == [0, 0]


def test_who_gets_no_other_agent():
    for options, code in (
        ({"agents": 1}, b"refused"),
        ({"method": "POST", "fields": ("Content-Length: 2",)}, b"refused"),  # some may have been sent
        ({}, b"failed"),  # the service may have seen the request
    ):
        agents, visit = shared(**options)
        assert visit.answer(FAILED % code) == [f"upstream-{code.decode()}"]
        assert not any(agents.loads)
    agents, visit = shared(agents=5)
    for _ in range(MOST):
        assert visit.told == []
        visit.answer(FAILED % b"refused")
    assert visit.told == ["upstream-refused"]


def test_request_does_not_wait_for_an_agent_that_may_come():
    """One could not pass it on, and who else has the name is not known at once."""
    waiting = [Deferred()]
    _, visit = shared()
    with capturedLogs() as logged:
        visit.edge.find = lambda host, asking: waiting[0]
        assert visit.answer(FAILED % b"refused") == ["upstream-refused"]
        assert waiting[0].called
        waiting.clear()
        gc.collect()
    assert [event for event in logged if "log_failure" in event] == []


def test_a_sticky_visitor_gets_a_cookie_once():
    _, visit = shared(sticky=True)
    assert visit.exchange.among.cookie == b"burrow-agent=k0; Path=/; HttpOnly; SameSite=Lax; Secure"
    _, visit = shared(sticky=True, fields=("Cookie: a=b; burrow-agent=k0",))
    assert visit.exchange.among.cookie == b""
