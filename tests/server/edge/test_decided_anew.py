"""A request that another tunnel gets is decided by that one's rules: the former verdict does not count."""

import time
from types import SimpleNamespace

import pytest

from burrow.policy.shown import Presented
from burrow.protocols.http import HttpProtocol
from burrow.protocols.visits import policies, settled
from burrow.server.edge.http1 import VisitorFactory
from burrow.server.given import read_given
from tests.policy.authorities import Signed
from tests.server.edge.edges import Exchange, Peer, Wire

KIND = HttpProtocol()
GET = b"GET /secret HTTP/1.1\r\nHost: t.example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def rules(**options):
    return policies(KIND, settled(KIND, read_given(KIND, options), "http://localhost:3000"))


class Successor:
    """The tunnel that has the name now."""

    name, alive, may_have_moved, share, requests = "t", True, False, None, 0

    def __init__(self, **options):
        self.policies, self.streams = rules(**options), []

    def connect(self, protocol, visitor, scheme, allowance=None):
        stream = Wire(None)
        stream.protocol = protocol
        self.streams.append(stream)
        protocol.makeConnection(stream)


def replaced(exchange, **options):
    """The tunnel of an exchange has a successor, and its own streams are lost."""
    successor = Successor(**options)
    exchange.edge.find = lambda host, asking: successor
    exchange.streams[-1].protocol.connectionLost()
    return successor


@pytest.mark.parametrize("before", [{}, {"compress": True}, {"request-header-set": ["X-A: b"]}])
def test_an_agent_that_went_leaves_its_requests_to_its_successors_doors(before):
    exchange = Exchange()
    exchange.policies = rules(**before)
    exchange.ask(GET)
    exchange.may_have_moved, exchange.alive = True, False
    successor = replaced(exchange, respond=["/secret=401"])
    assert exchange.visitor.value().startswith(b"HTTP/1.1 401 ")
    assert successor.streams == []


def test_changes_of_the_former_tunnel_are_not_made_for_its_successor():
    exchange = Exchange()
    exchange.policies = rules(**{"request-header-set": ["X-Env: old"], "rewrite-path": ["/secret=/old"]})
    assert b"X-Env: old" in exchange.ask(GET)
    exchange.may_have_moved, exchange.alive = True, False
    (stream,) = replaced(exchange, compress=True).streams
    assert stream.value().startswith(b"GET /secret HTTP/1.1\r\n")
    assert b"X-Env" not in stream.value()


@pytest.mark.parametrize("before", [{}, {"compress": True}])
def test_a_kept_stream_that_is_lost_is_no_way_past_the_successors_doors(before):
    exchange = Exchange()
    exchange.policies = rules(**before)
    exchange.ask(GET)
    exchange.answer(OK)
    exchange.visitor.clear()
    exchange.ask(GET)
    count = len(exchange.streams)
    successor = replaced(exchange, respond=["/secret=401"])
    assert exchange.visitor.value().startswith(b"HTTP/1.1 401 ")
    assert (len(exchange.streams), successor.streams) == (count, [])


def test_a_kept_stream_that_is_lost_asks_the_same_rules_no_second_time():
    exchange = Exchange()
    exchange.policies = rules(**{"rate-limit": "2/h"})
    exchange.ask(GET)
    exchange.answer(OK)
    exchange.ask(GET)
    exchange.streams[-1].protocol.connectionLost()
    exchange.visitor.clear()
    assert exchange.answer(OK).startswith(b"HTTP/1.1 200 ")


def test_a_certificate_of_the_former_tunnels_ca_does_not_let_in():
    now = time.time()
    one, two = (Signed(name, ca=True, at=now) for name in ("one", "two"))
    presented = Presented(Signed("admin", one, at=now).certificate)
    shown = SimpleNamespace(
        name="t.example.com",
        asked=True,
        names=frozenset(),
        presented=lambda: presented,
        covers=lambda host: True,
    )
    exchange = Exchange()
    exchange.policies = rules(**{"client-ca": one.pem})
    visitor = Wire(Peer())
    visitor.shown = shown
    visitor.protocol = VisitorFactory(exchange.edge, "https").buildProtocol(None)
    visitor.protocol.makeConnection(visitor)
    visitor.protocol.dataReceived(GET)
    assert b"Burrow-User" in exchange.streams[-1].value()
    exchange.may_have_moved, exchange.alive = True, False
    successor = replaced(exchange, **{"client-ca": two.pem})
    assert visitor.value().startswith(b"HTTP/1.1 401 ")
    assert successor.streams == []
