"""
What a server keeps of things that are idle: bytes of its own objects for each, as tracemalloc counts them.

Run as a program it prints them as JSON. A process of its own: after other tests in the same process the
figure of a tunnel was a third higher once.
"""

import gc
import json
import tracemalloc

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from burrow.mux.lifeline import Lifeline
from burrow.mux.session import Session
from burrow.server.channel import Asked
from burrow.testing import SessionPair
from tests.server.admin.node import ApiNode

COUNT = 300


def bytes_each(make):
    """Bytes for each of COUNT things, after as many that make what all of them share."""
    kept = [make(number) for number in range(COUNT)]
    tracemalloc.start()
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    kept += [make(COUNT + number) for number in range(COUNT)]
    gc.collect()
    found = (tracemalloc.get_traced_memory()[0] - before) / COUNT
    tracemalloc.stop()
    return found


def of_a_tunnel():
    """Of one agent's."""
    agent, _ = ApiNode(max_tunnels=3 * COUNT).open("ann")

    def make(number):
        opening = Deferred.fromCoroutine(agent.open(Asked("http", "localhost:3000", f"t{number}")))
        assert opening.called

    return bytes_each(make)


def of_a_session():
    """Without a stream and a WebSocket."""
    reactor = ApiNode().reactor
    return bytes_each(lambda number: Lifeline(reactor, Session(reactor, client=False)))


def of_a_stream():
    """Both ends."""
    pair = SessionPair(server_factory=Factory.forProtocol(Protocol))

    def make(number):
        pair.agent.open_stream(Protocol())
        pair.pump()

    return bytes_each(make)


if __name__ == "__main__":
    print(json.dumps({"tunnel": of_a_tunnel(), "session": of_a_session(), "stream": of_a_stream()}))
