"""The streams to tunnels that a visitor's HTTP/2 connection keeps for its next requests."""

import pytest
from twisted.internet.defer import Deferred

from burrow.policy.base import Policy
from burrow.policy.routing import RouteByPath
from burrow.protocols.visits import Policies
from burrow.server.edge.http2 import STREAM_WINDOW
from burrow.wire.pieces import SMALL
from tests.server.edge.edges import Exchange
from tests.server.edge.http2_visitors import OK, Connection


class Slow:
    """A rule that takes time for requests with a body. @ivar asked: what it has to say of each."""

    def __init__(self):
        self.asked = []

    def visit(self, visit):
        if visit.request.method == b"GET":
            return None
        self.asked.append(Deferred())
        return self.asked[-1]


@pytest.mark.parametrize(
    ("fields", "body"),
    [([(b"content-length", b"5")], b"hello"), ([], b"5\r\nhello\r\n0\r\n\r\n")],
)
@pytest.mark.parametrize("path", [b"/a", b"/b"])
def test_body_that_waits_for_a_rule_gets_to_another_upstream_than_the_last_request(path, fields, body):
    edge, rule = Exchange(), Slow()
    edge.policies = Policies(Policy([rule, RouteByPath(["/b"])]), None)
    one = Connection(edge)
    one.ask(1, b"GET", b"/a")
    one.answer(OK)  # its stream is kept
    one.ask(3, b"POST", path, *fields, body=b"hello", end=True)
    rule.asked[0].callback(None)
    one.pump()
    assert len(edge.streams) == (2 if path == b"/b" else 1)
    assert one.upstream().endswith(b"\r\n\r\n" + body)
    one.answer(OK)
    assert one.ask(5, b"GET", path).partition(b"hello")[2].count(b"GET " + path) == 1


def test_body_that_comes_byte_by_byte_and_waits_takes_few_pieces():
    one = Connection()
    one.ask(1, b"POST", body=b"")
    lane = one.edge.streams[0]
    lane.producer.pauseProducing()
    sent = 20_000
    for _ in range(sent):
        one.client.send_data(1, b"x")
    one.pump()
    (stream,) = one.protocol._streams.values()
    assert len(stream._held) <= sent // SMALL + 1
    lane.producer.resumeProducing()
    one.pump()
    assert one.upstream().partition(b"\r\n\r\n")[2].count(b"x") == sent
    assert one.client.local_flow_control_window(1) > STREAM_WINDOW // 2
    one.client.end_stream(1)
    one.pump()
    assert one.upstream().endswith(b"\r\n0\r\n\r\n")
