"""What passes between visitors and upstreams, seen at the agent and told to C{Agent.traffic}."""

from __future__ import annotations

from burrow.client.observe.http import HttpObserver
from burrow.client.observe.observer import ConnectionObserver, Observer
from burrow.http.remembered import Memory
from burrow.mux.control import VisitorHead
from burrow.protocols.base import Kind, Reach
from burrow.traffic.hub import Traffic


def observer_of(kind: Kind, head: VisitorHead, traffic: Traffic, memory: Memory) -> Observer:
    """
    The observer of one stream.

    @param kind: the tunnel's. One that is reached by a host carries HTTP; all others are bytes.
    @param memory: of all streams of the agent.
    """
    if kind.reach is Reach.HOST:
        return HttpObserver(traffic, kind.name, head.tunnel, head.visitor, head.scheme, memory)
    return ConnectionObserver(traffic, kind.name, head.tunnel, head.visitor, head.scheme)
