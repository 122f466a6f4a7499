"""
What a tunnel kind is: an object that provides L{ITunnelProtocol}.

The server asks it how visitors arrive, the agent what to do with one visitor's stream. Between the two
there is nothing but a byte stream, so any pair of Twisted protocols will do.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import Attribute


class Reach(Enum):
    """Where visitors reach a tunnel."""

    HOST = "host"
    """A name under the base domain, on the edge's HTTP and HTTPS ports."""

    TCP_PORT = "tcp-port"
    """A TCP port of its own, from the server's range."""


class ITunnelProtocol(IPlugin):
    """One kind of tunnel. Both roles have one object of it; it keeps nothing of a single tunnel."""

    name = Attribute("What commands and the wire call it: lower-case letters and digits.")
    summary = Attribute("One line for --help.")
    reach = Attribute("A L{Reach}.")
    scheme = Attribute("The scheme of a public URL that is not HTTP's, as in tcp://host:port.")

    def parse_upstream(text):  # type: ignore[no-untyped-def]
        """
        On the agent: the upstream that a person named.

        @return: a L{burrow.protocols.upstream.Upstream}.
        @raise ConfigError: it names none; the text says what would.
        """

    def visitor_factory(tunnel):  # type: ignore[no-untyped-def]
        """
        On the server, for kinds with a port of their own: the factory of visitors' protocols.

        @param tunnel: has C{found()}, which fires with the tunnel where it is now, since an agent may move
            from node to node; that has C{connect(protocol, visitor, scheme)}, which opens a stream to the
            agent. Both raise L{StreamGone}. @return: an L{IProtocolFactory}.
        """

    def agent_protocol(reactor, upstream, head):  # type: ignore[no-untyped-def]
        """
        On the agent: the protocol of one visitor's stream.

        @param upstream: what C{parse_upstream} returned. @param head: the visitor's
            L{VisitorHead<burrow.mux.control.VisitorHead>}. @return: an L{IProtocol}, to be connected to the
            stream.
        """


Kind = Any
"""A provider of L{ITunnelProtocol}, for annotations."""
