"""A tunnel's policy at the edge: a visitor's connection, a tunnel and its upstream, without sockets."""

import zlib

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from burrow.errors import ConfigError
from burrow.http.body import ChunkedBody
from burrow.policy.base import Answer, Policy
from burrow.policy.breaker import CircuitBreaker
from burrow.policy.fields import parse_answer_set, parse_set
from burrow.policy.host import parse_host_header
from burrow.protocols.http import HttpProtocol
from burrow.protocols.options import read_options
from burrow.protocols.visits import UNREADABLE, Policies, policies, settled
from burrow.server.edge.http1 import VisitorFactory
from tests.policy.visiting import World, outcome, visit
from tests.server.edge.edges import Exchange, Peer, Wire

GET = b"GET /a HTTP/1.1\r\nHost: t.example.com\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: t.example.com\r\nContent-Length: 5\r\n\r\nhello"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: t.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Origin: https://t.example.com\r\n\r\n"
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\n\r\nBlocked"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
NO = Answer(403, "not-you", "Not for you", "Ask the owner.", [(b"X-Why", b"because")])


class Rule:
    """Returns what it is given; notes whom it was asked for."""

    def __init__(self, outcome=None, change=None):
        self.outcome, self.change, self.asked = outcome, change, []

    def visit(self, visit):
        self.asked.append(visit)
        if self.change is not None:
            self.change(visit)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def tunnel(*rules, options=None, upstream="http://localhost:3000"):
    """An exchange whose tunnel has a policy: of rules, or of the options of kind http."""
    exchange = Exchange()
    exchange.policies = Policies(Policy(rules), None)
    if options is not None:
        kind = HttpProtocol()
        exchange.policies = policies(kind, settled(kind, read_options(kind.options, options), upstream))
    return exchange


def asked(exchange, number=-1):
    """The head of a request that the upstream got."""
    return exchange.streams[number].value()


# -- rules ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [GET, UPGRADE])
def test_who_is_kept_out_never_reaches_the_upstream(request_):
    first, second = Rule(NO), Rule()
    exchange = tunnel(first, second)
    exchange.ask(request_)
    assert exchange.streams == []
    assert second.asked == []
    said = exchange.visitor.value()
    assert said.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"X-Why: because\r\n" in said
    assert b"Ask the owner." in said
    assert first.asked[0].address == "203.0.113.7"
    assert first.asked[0].origin == b"https://t.example.com"


def test_body_of_who_is_kept_out_is_dropped():
    exchange = tunnel(Rule(NO))
    exchange.ask(POST[:-2])
    exchange.ask(POST[-2:])
    assert exchange.streams == []
    assert exchange.visitor.value().count(b"HTTP/1.1 ") == 1
    assert b"Connection: close\r\n" in exchange.visitor.value()


def test_answer_that_takes_time():
    for said in (None, NO):
        waits = Deferred()
        exchange = tunnel(Rule(waits), after := Rule())
        exchange.ask(POST)
        assert exchange.streams == []
        assert exchange.visitor.value() == b""
        waits.callback(said)
        assert len(exchange.streams) == (said is None)
        assert len(after.asked) == (said is None)
        if said is None:
            assert asked(exchange).endswith(b"\r\n\r\nhello")
            assert exchange.answer(OK).startswith(b"HTTP/1.1 200 OK")
        else:
            assert exchange.visitor.value().startswith(b"HTTP/1.1 403 ")


def test_visitor_that_leaves_while_a_rule_waits():
    cancelled = []
    exchange = tunnel(Rule(Deferred(cancelled.append)))
    exchange.ask(GET)
    exchange.visitor.protocol.connectionLost()
    assert len(cancelled) == 1
    assert exchange.streams == []


@pytest.mark.parametrize("late", [False, True])
def test_rule_that_fails_lets_nobody_in(late):
    logged = []
    globalLogPublisher.addObserver(logged.append)
    waits = Deferred()
    exchange = tunnel(Rule(waits if late else RuntimeError("broken")))
    exchange.ask(GET)
    if late:
        waits.errback(RuntimeError("broken"))
    globalLogPublisher.removeObserver(logged.append)
    assert exchange.streams == []
    assert exchange.visitor.value().startswith(b"HTTP/1.1 500 ")
    assert b"broken" not in exchange.visitor.value()
    assert [event for event in logged if event.get("log_failure")]


def test_body_that_is_too_large():
    def limit(visit):
        visit.body_limit = 4

    exchange = tunnel(Rule(change=limit))
    exchange.ask(POST)
    assert exchange.visitor.value().startswith(b"HTTP/1.1 413 ")
    assert b"hello" not in asked(exchange)
    exchange = tunnel(Rule(change=limit))
    exchange.ask(POST.replace(b"5\r\n\r\nhello", b"4\r\n\r\nfour"))
    assert exchange.answer(OK).startswith(b"HTTP/1.1 200 ")


class Reads:
    """Reads the body whole and lets the visitor in, whatever has come of it."""

    def visit(self, visit):
        return visit.read_body(4).addCallback(lambda body: None)


@pytest.mark.parametrize("announced", [True, False])
def test_body_too_large_to_be_read_whole_is_refused_though_its_rule_says_nothing(announced):
    chunked = POST.replace(
        b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )
    exchange = tunnel(Reads())
    exchange.ask(POST if announced else chunked)
    assert exchange.visitor.value().startswith(b"HTTP/1.1 413 ")
    assert exchange.streams == []


def test_framing_of_an_answer_is_neither_shown_to_rules_nor_taken_from_them():
    seen = []

    def meddle(fields):
        seen.extend(name.lower() for name, _ in fields)
        return [*fields, (b"Connection", b"X-App"), (b"Content-Length", b"1"), (b"X-Added", b"yes")]

    exchange = tunnel(Rule(change=lambda visit: visit.on_answer.append(meddle)))
    exchange.ask(GET)
    said = exchange.answer(OK.replace(b"\r\n\r\n", b"\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-App: 1\r\n\r\n"))
    assert b"content-length" not in seen
    assert b"connection" not in seen
    assert b"\r\nX-Added: yes\r\n" in said
    assert b"\r\nX-App: 1\r\n" in said
    assert b"X-Hop" not in said
    assert said.lower().count(b"content-length") == 1
    assert said.endswith(b"\r\n\r\nok")


def test_fields_change_both_ways_and_the_next_request_has_its_own():
    def change(visit):
        if visit.target == b"/a":
            visit.on_request.append(parse_set("X-Env: staging"))
            visit.on_answer.append(parse_answer_set("Server: mine"))
            visit.target = b"/b?c"

    exchange = tunnel(Rule(change=change))
    for _ in range(3):  # the same heads are remembered from the second time on
        exchange.ask(GET)
        assert asked(exchange).startswith(b"GET /b?c HTTP/1.1\r\nHost: t.example.com\r\n")
        assert b"\r\nX-Env: staging\r\n" in asked(exchange)
        assert b"\r\nServer: mine\r\n" in exchange.answer(OK)
        exchange.streams[-1].clear()
        exchange.visitor.clear()
        exchange.ask(GET.replace(b"/a", b"/other"))
        assert b"X-Env" not in asked(exchange)
        assert b"Server: mine" not in exchange.answer(OK)
        exchange.streams[-1].clear()
        exchange.visitor.clear()


def test_options_of_the_kind():
    exchange = tunnel(
        options={
            "request-header-set": ["X-Env: staging"],
            "response-header-remove": ["Server"],
            "host-header": "preserve",
        }
    )
    exchange.ask(GET)
    assert b"X-Env: staging" in asked(exchange)
    assert b"Host: t.example.com\r\n" in asked(exchange)
    assert b"Server" not in exchange.answer(OK.replace(b"\r\n\r\n", b"\r\nServer: x\r\n\r\n"))


def test_tunnel_with_options_that_this_release_does_not_know():
    exchange = tunnel()
    exchange.policies = UNREADABLE
    exchange.ask(GET)
    assert exchange.streams == []
    assert exchange.visitor.value().startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_compressed_answer(version):
    exchange = tunnel(options={"compress": True})
    head = b"\r\nAccept-Encoding: gzip\r\nConnection: %b\r\n\r\n" % (
        b"close" if version == b"1.0" else b"keep-alive"
    )
    exchange.ask(GET.replace(b"\r\n\r\n", head).replace(b"1.1", version))
    body = b"the same again " * 1000
    came = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
    exchange.answer(came + body[:20])
    said, _, data = exchange.visitor.value().partition(b"\r\n\r\n")
    assert b"\r\nContent-Encoding: gzip" in said
    assert b"Content-Length" not in said
    unpacker = zlib.decompressobj(31)
    if version == b"1.0":
        assert unpacker.decompress(data) == body[:20]  # nothing is held back
        data = exchange.answer(body[20:]).partition(b"\r\n\r\n")[2][len(data) :]
    else:
        assert b"Transfer-Encoding: chunked" in said
        data = exchange.answer(body[20:]).partition(b"\r\n\r\n")[2]
        reader = ChunkedBody(frozenset())
        data, rest = reader.feed(data)
        assert reader.done
        assert rest == b""
        assert unpacker.decompress(data) == body
        data = b""
    assert unpacker.decompress(data) in (body[20:], b"")
    assert unpacker.eof


def test_circuit_opens_when_the_upstream_fails():
    exchange = tunnel(options={"circuit-breaker": "2/30s", "host-header": "preserve"})
    for _ in range(2):
        exchange.ask(GET)
        exchange.answer(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
    exchange.streams[-1].clear()
    exchange.visitor.clear()
    exchange.ask(GET)
    assert exchange.visitor.value().startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: " in exchange.visitor.value()
    assert asked(exchange) == b""


@pytest.mark.parametrize("table", [False, True])
def test_a_stranger_whose_body_is_awaited_does_not_use_up_the_one_try(table):
    broken = {"policy": ['circuit-breaker = "1/1s"']} if table else {"circuit-breaker": "1/1s"}
    options = {**broken, "host-header": "preserve", "verify": ["github=s"], "basic-auth": ["a:b"]}
    policy = tunnel(options=options).policies.usual
    rules = [getattr(rule, "rule", rule) for rule in policy.rules]
    breaker = next(rule for rule in rules if isinstance(rule, CircuitBreaker))
    world = Clock()
    breaker._now = world.seconds

    def entitled():
        made = visit(World(), fields=[("Authorization", "Basic YTpi")])
        return made, outcome(policy.visit(made))

    made, answer = entitled()
    assert answer is None
    made.on_end[0](502)
    assert entitled()[1].status == 503
    world.advance(1)
    signed = ("X-Hub-Signature-256", "sha256=" + "0" * 64)
    stranger = visit(World(), method="POST", fields=[signed], body=b"x")
    stranger.body = lambda limit: Deferred()
    assert isinstance(policy.visit(stranger), Deferred), "it is still asked what it signed"
    assert stranger.on_end == []
    assert entitled()[1] is None


@pytest.mark.parametrize("request_", [GET, POST, UPGRADE])
def test_tables_keep_out_requests_of_each_kind(request_):
    exchange = tunnel(options={"policy": ['path = ["/a", "/ws"], address = "203.0.113.0/24", respond = 403']})
    exchange.ask(request_)
    assert exchange.visitor.value().startswith(b"HTTP/1.1 403 ")
    assert exchange.streams == []
    exchange = tunnel(options={"policy": ['path = "/a*", address = "198.51.100.0/24", respond = 403']})
    exchange.ask(request_)
    assert len(exchange.streams) == 1


def test_requests_for_several_upstreams_have_a_stream_each():
    exchange = tunnel(options={"route": ["/api"], "rewrite-path": ["/old/*=/api/*"]})
    for target, streams in ((b"/", 1), (b"/x", 1), (b"/api/x", 2), (b"/old/y", 2), (b"/apis", 3)):
        exchange.ask(GET.replace(b"/a ", target + b" "))
        assert len(exchange.streams) == streams
        assert exchange.answer(OK).endswith(b"ok")
        assert exchange.visitor.value().count(b"HTTP/1.1 200 OK") == 1
        exchange.visitor.clear()
        exchange.streams[-1].clear()


# -- the upstream's own Host ------------------------------------------------------------------------------


def test_own_host_where_it_is_asked_for():
    for value in ("upstream", "localhost:3000"):
        exchange = tunnel(options={"host-header": value})
        exchange.ask(GET)
        assert b"\r\nHost: localhost:3000\r\n" in asked(exchange)
        assert b"\r\nX-Forwarded-Host: t.example.com\r\n" in asked(exchange)
        moved = b"HTTP/1.1 302 Found\r\nLocation: http://localhost:3000/b\r\nContent-Length: 0\r\n\r\n"
        assert b"Location: https://t.example.com/b\r\n" in exchange.answer(moved)


def test_upstream_that_takes_any_host_keeps_the_visitors():
    exchange = tunnel(options={})
    assert exchange.policies.usual is None  # nothing is asked on the way of a request
    exchange.ask(GET)
    assert b"\r\nHost: t.example.com\r\n" in asked(exchange)
    assert exchange.answer(OK).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(("request_", "good"), [(GET, OK), (UPGRADE, SWITCHED)])
@pytest.mark.parametrize("status", [b"403 Forbidden", b"400 Bad Request", b"421 Misdirected Request"])
@pytest.mark.parametrize("kept", [False, True])
def test_upstream_that_answers_to_its_own_host_alone(request_, good, status, kept):
    exchange = tunnel(options={})
    exchange.ask(request_)
    refused = REFUSED.replace(b"403 Forbidden", status)
    if not kept:
        refused = refused.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert exchange.answer(refused[:-3]) == b""
    assert exchange.answer(refused[-3:]) == b""  # the visitor sees nothing of it
    second = exchange.streams[-1].value()
    assert b"\r\nHost: localhost:3000\r\n" in second
    if request_ is UPGRADE:
        assert b"\r\nOrigin: http://localhost:3000\r\n" in second
    said = exchange.answer(good)
    assert said.count(b"HTTP/1.1 ") == 1
    assert said.startswith(good[:12])
    # From now on all requests are for its own host, POST, too; or all handshakes, if it was one.
    for again, own in ((POST, request_ is GET), (request_, True)):
        other = Exchange()
        other.policies = exchange.policies
        other.ask(again)
        host = b"localhost:3000" if own else b"t.example.com"
        assert b"\r\nHost: " + host + b"\r\n" in asked(other)
        assert other.answer(good if again is request_ else OK).count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "answer", [b"Unauthorized", b"", REFUSED.replace(b"403 Forbidden", b"401 Unauthorized")]
)
def test_handshake_that_is_refused_in_other_ways(answer):
    """Next.js answers with what is no HTTP, others close the connection, C{ws} says 401."""
    exchange = tunnel(options={})
    exchange.ask(UPGRADE)
    assert exchange.answer(answer, end=True) == b""
    assert b"\r\nOrigin: http://localhost:3000\r\n" in asked(exchange)
    assert exchange.answer(SWITCHED).startswith(b"HTTP/1.1 101 ")
    assert len(exchange.policies.usual.rules) == 1


@pytest.mark.parametrize("status", [b"", b"401 Unauthorized"])
def test_handshake_that_is_refused_with_the_own_host_too(status):
    exchange = tunnel(options={})
    answer = REFUSED.replace(b"403 Forbidden", status) if status else b"Unauthorized"
    exchange.ask(UPGRADE)
    exchange.answer(answer, end=not status)
    assert exchange.answer(answer, end=not status).startswith(b"HTTP/1.1 " + (status or b"502 Bad Gateway"))
    assert exchange.upstream.count(b"GET /ws ") == 2
    assert exchange.policies.usual is None


def test_page_refused_after_a_handshake_was():
    """First handshakes alone have the upstream's Host, then all; each refusal is asked about once."""
    exchange = tunnel(options={})
    exchange.ask(UPGRADE)
    exchange.answer(REFUSED)
    exchange.answer(SWITCHED)
    refused, page = Exchange(), Exchange()
    refused.policies = page.policies = exchange.policies
    refused.ask(UPGRADE)
    assert refused.answer(REFUSED).startswith(b"HTTP/1.1 403 ")
    assert refused.upstream.count(b"GET /ws ") == 1
    page.ask(GET)
    page.answer(REFUSED)
    assert page.answer(OK).startswith(b"HTTP/1.1 200 ")
    assert len(page.policies.usual.rules) == 1
    assert page.policies.own_host is None


def test_two_handshakes_that_are_refused_at_once():
    exchange = tunnel(options={})
    exchange.ask(UPGRADE)
    other = VisitorFactory(exchange.edge, "https").buildProtocol(None)
    Wire(Peer()).become(other, b"")
    other.dataReceived(UPGRADE)
    for answer in (REFUSED, SWITCHED):
        for stream in exchange.streams:
            stream.protocol.dataReceived(answer)
    assert exchange.upstream.count(b"Host: localhost:3000\r\n") == 2
    assert len(exchange.policies.usual.rules) == 1


def test_page_that_wants_a_password_is_not_asked_for_twice():
    exchange = tunnel(options={})
    exchange.ask(GET)
    wanted = REFUSED.replace(b"403 Forbidden", b"401 Unauthorized")
    assert exchange.answer(wanted).startswith(b"HTTP/1.1 401 ")
    assert exchange.upstream.count(b"GET /") == 1


def test_upstream_that_refused_the_visitors_host_is_told_it_nowhere():
    exchange = tunnel(options={})
    exchange.ask(GET)
    first = len(asked(exchange))
    exchange.answer(REFUSED)
    second = asked(exchange)[first:].lower()
    assert b"t.example.com" not in second
    assert b"x-forwarded-proto" not in second
    assert b"\r\nx-forwarded-for: 203.0.113.7\r\n" in second
    assert b"\r\nforwarded: for=203.0.113.7\r\n" in second


def test_upstream_that_refuses_whatever_host_has_its_answer_passed_on():
    exchange = tunnel(options={})
    for _ in range(2):
        exchange.ask(GET)
        exchange.answer(REFUSED)
        exchange.visitor.clear()
        said = exchange.answer(REFUSED.replace(b"Blocked", b"Private"))
        assert said.count(b"HTTP/1.1 403 ") == 1
        assert said.endswith(b"Private")
        assert exchange.policies.usual is None


def test_refused_request_with_a_body_is_not_sent_twice():
    exchange = tunnel(options={})
    exchange.ask(POST)
    assert exchange.answer(REFUSED).endswith(b"Blocked")
    assert len(exchange.streams) == 1


def test_upstream_that_breaks_off_its_refusal_is_asked_again():
    exchange = tunnel(options={})
    exchange.ask(GET)
    exchange.answer(REFUSED[:-2])
    exchange.streams[-1].connected = False
    exchange.streams[-1].protocol.connectionLost()
    assert b"\r\nHost: localhost:3000\r\n" in asked(exchange)
    assert exchange.answer(OK).startswith(b"HTTP/1.1 200 OK")


def test_description_that_names_no_host_changes_nothing():
    exchange = tunnel(options={}, upstream="an app")
    exchange.ask(GET)
    assert exchange.answer(REFUSED).endswith(b"Blocked")
    assert len(exchange.streams) == 1


def test_header_options_hold_with_the_own_host_too():
    exchange = tunnel(options={"request-header-set": ["X-Env: staging"]})
    exchange.ask(GET)
    exchange.answer(REFUSED)
    assert b"X-Env: staging" in asked(exchange)
    assert b"\r\nHost: localhost:3000\r\n" in asked(exchange)


@pytest.mark.parametrize("text", ["auto=http://localhost:3000", "upstream", "x"])
def test_private_tunnels_have_none_of_it(text):
    kind = HttpProtocol()
    options = read_options(kind.options, {"private": True})
    assert policies(kind, {**options, "host-header": parse_host_header(text)}) == Policies(None, None)


def test_rules_by_options():
    exchange = tunnel(
        options={
            "max-body": "4",
            "rate-limit": "4/h",
            "respond": ["/admin*=403 no"],
            "redirect": ["/old=/new"],
            "rewrite-path": ["/api/*=/*"],
            "host-header": "preserve",
        }
    )
    exchange.ask(GET.replace(b"/a", b"/admin/x"))
    assert exchange.visitor.value().endswith(b"\r\n\r\nno")
    exchange.visitor.clear()
    exchange.ask(GET.replace(b"/a", b"/old"))
    assert b"\r\nLocation: /new\r\n" in exchange.visitor.value()
    assert exchange.streams == []
    exchange.visitor.clear()
    exchange.ask(GET.replace(b"/a", b"/api/b"))
    assert asked(exchange).startswith(b"GET /b HTTP/1.1\r\n")
    exchange.answer(OK)
    exchange.visitor.clear()
    exchange.ask(POST)
    assert exchange.visitor.value().startswith(b"HTTP/1.1 413 ")
    other = Exchange()
    other.policies = exchange.policies
    other.ask(GET)
    assert other.streams == []
    assert other.visitor.value().startswith(b"HTTP/1.1 429 Too Many Requests\r\n")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rate-limit-by": "x-key"}, "add --rate-limit"),
        ({"cors-credentials": True}, "add --cors"),
        ({"cors-credentials": True, "cors": ["*"]}, "name the origins"),
        ({"redirect": [f"/{number}=/x" for number in range(101)]}, "100 paths"),
        ({"request-header-set": [f"X-{number}: 1" for number in range(51)]}, "50 header fields"),
        ({"private": True, "max-body": "1M"}, "--max-body is for visitors of a public URL"),
        ({"private": True, "host-header": "upstream"}, "--host-header is for visitors of a public URL"),
    ],
)
def test_options_that_do_not_go_together(options, text):
    kind = HttpProtocol()
    with pytest.raises(ConfigError, match=text):
        kind.check_options(read_options(kind.options, options))


@pytest.mark.parametrize("value", [b"/\r\nSet-Cookie: a=b", b"/\n", b"/\0", b"/\x7f"])
def test_an_answer_whose_field_would_end_early_is_not_sent(value):
    exchange = tunnel(Rule(Answer(303, "x", "x", "x", [(b"Location", value)])))
    exchange.ask(GET)
    assert exchange.status == 500
    assert b"Set-Cookie" not in exchange.visitor.value()
    assert exchange.streams == []
