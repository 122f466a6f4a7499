"""
What a server keeps of agents and tunnels that are idle: bytes of its own objects, as tracemalloc counts them.

The same each time to the byte, with one release of Python: so the bounds are 30 % above. What the process
takes beyond these is in docs/performance.md.
"""

import gc
import tracemalloc

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from burrow.mux.lifeline import Lifeline
from burrow.mux.session import Session
from burrow.server.channel import Asked
from burrow.testing import SessionPair
from tests.server.admin.node import ApiNode

COUNT = 300


@pytest.fixture
def node():
    return ApiNode(max_tunnels=3 * COUNT)


def bytes_each(make):
    """Bytes for each of COUNT things, after as many that make what all of them share."""
    kept = [make(number) for number in range(COUNT)]
    traced = tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        kept += [make(COUNT + number) for number in range(COUNT)]
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / COUNT
    finally:
        if not traced:
            tracemalloc.stop()


def test_bytes_of_a_tunnel(node):
    """2.9 KB."""
    agent, _ = node.open("ann")

    def make(number):
        opening = Deferred.fromCoroutine(agent.open(Asked("http", "localhost:3000", f"t{number}")))
        assert opening.called

    assert bytes_each(make) < 3700


def test_sessions_and_tunnels_that_begin_and_end_are_counted(node):
    _, pair = node.open("ann", "blog", "shop")
    assert (node.agents.turnover, node.tunnels.turnover) == (1, 2)
    pair.agent.close("done")
    pair.pump()
    assert (node.agents.turnover, node.tunnels.turnover) == (2, 4)


def test_bytes_of_a_session(node):
    """4.8 KB, without a stream and a WebSocket."""

    def make(number):
        return Lifeline(node.reactor, Session(node.reactor, client=False))

    assert bytes_each(make) < 6200


def test_bytes_of_a_stream():
    """1.8 KB, both ends."""
    pair = SessionPair(server_factory=Factory.forProtocol(Protocol))

    def make(number):
        pair.agent.open_stream(Protocol())
        pair.pump()

    assert bytes_each(make) < 2300
