"""Sends an agent's WebSocket to the node that has its session, or to this one for a new session."""

from __future__ import annotations

from twisted.internet.interfaces import IProtocolFactory

from burrow.http.request_head import RequestHead
from burrow.link import SESSION_HEADER
from burrow.link.accept import AcceptFactory, node_of
from burrow.server.edge import pages
from burrow.server.nodes.links import Links

_SESSION_FIELD = SESSION_HEADER.lower().encode()


class AgentDoor:
    """@param here: accepts agents on this node. @param links: the links to the other nodes."""

    def __init__(self, here: AcceptFactory, links: Links) -> None:
        self._here = here
        self._links = links

    def factory_for(self, head: RequestHead) -> IProtocolFactory | pages.Page:
        """
        The factory for the connection of an agent with this request, or a page that asks it to try again.
        """
        asked = head.headers.value(_SESSION_FIELD).decode("latin-1")
        if not asked:
            return self._here
        node = node_of(asked)
        there = self._links.agent_factory(node)
        if there is not None:
            return there
        if self._links.may_reach(node):
            # A new session here would end the one on that node, and all its streams.
            text = "The node that has this agent's session is not linked yet. Try again."
            return pages.Page(503, "node-away", "The server is not ready", text, ((b"Retry-After", b"1"),))
        return self._here
