"""
The links that other nodes dial to this one: serves the streams on them, or passes them on to a third node.

Each stream begins with one box (L{burrow.server.nodes.boxes}).
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.errors import BurrowError, WireError
from burrow.link.accept import AcceptFactory, Handshake, HandshakeRefused
from burrow.mux.control import tcp_address
from burrow.mux.lifeline import Lifeline
from burrow.mux.pipe import PipeEnd
from burrow.mux.session import Session
from burrow.protocols.http import answer_failure
from burrow.protocols.upstream import UpstreamFailed
from burrow.server.edge.pages import AGENT_AWAY
from burrow.server.nodes.asking import Asked, questions_on
from burrow.server.nodes.boxes import AgentBox, AskBox, RefreshBox, VisitorBox, decode
from burrow.server.route import IRoute
from burrow.server.waiting import Asking
from burrow.wire.windows import INITIAL_WINDOW, Told

GRACE = 5.0
"""Seconds that a link's streams wait for its next connection, when one was lost."""

Find = Callable[[str, int, Asking, str], Awaitable[IRoute | None]]
"""
See L{Routes.of_node<burrow.server.routes.Routes.of_node>}.
"""


class Arrivals:
    """
    @param secret: what other nodes must send. @param find: finds the route of a visitor from another node.
    @param refresh: reads what changed in the store, or takes the lease that it is given.
    @param agents: accepts agents' WebSockets that other nodes relay. @param asked: answers their questions.
    @ivar factory: accepts the connections of other nodes.
    """

    def __init__(
        self,
        reactor: Any,
        own_id: str,
        secret: str,
        find: Find,
        refresh: Callable[[str], Awaitable[None]],
        agents: IProtocolFactory,
        asked: Asked,
    ) -> None:
        self._secret = secret
        self._streams = _Streams(find, refresh, agents, asked)
        self._accepted: set[Session] = set()
        self.factory = AcceptFactory(
            reactor,
            self._authenticate,
            self._begin,
            lambda identity, handshake: identity,
            GRACE,
            node=own_id,
            max_streams=65_536,
        )

    @property
    def busy(self) -> bool:
        """Whether streams of other nodes run here, but for their questions."""
        return any(session.stream_count > questions_on(session) for session in self._accepted)

    @property
    def serves_visitors(self) -> bool:
        """
        Whether visitors from other nodes are served here. Relayed agents do not count: this node ends their
        sessions itself.
        """
        return any(
            isinstance(protocol, _ArrivingStream)
            for session in self._accepted
            for protocol in session.protocols
        )

    def stop(self) -> None:
        """End all links that other nodes dialled."""
        for session in list(self._accepted):
            session.abort()

    async def _authenticate(self, handshake: Handshake) -> str:
        if not hmac.compare_digest(handshake.token.encode(), self._secret.encode()):
            raise HandshakeRefused(401, "this port is for the other nodes of this server's store")
        return handshake.agent

    def _begin(self, session: Session, lifeline: Lifeline | None, node: Any, handshake: Handshake) -> None:
        session.listen(self._streams)
        self._accepted.add(session)
        session.on_lost.append(lambda reason: self._accepted.discard(session))


MAX_REFUSED = 100
"""Sentences that are remembered, about streams that were reset: each is logged once."""


class _Streams(Factory):
    """Accepts the streams that other nodes open."""

    log = Logger()
    noisy = False

    def __init__(
        self, find: Find, refresh: Callable[[str], Awaitable[None]], agents: IProtocolFactory, asked: Asked
    ) -> None:
        self.find = find
        self.refresh = refresh
        self.agents = agents
        self.asked = asked
        self._refused: set[str] = set()

    def refused(self, why: str) -> None:
        """A stream was reset. A node of a newer release may open many that are not known here."""
        if why not in self._refused:
            if len(self._refused) >= MAX_REFUSED:
                self._refused.clear()
            self._refused.add(why)
            self.log.warn("reset a stream from another node: {why}", why=why)

    def buildProtocol(self, addr: Any) -> PipeEnd:
        return _ArrivingStream(self)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """What C{host:port} says, IPv6 hosts in brackets; None if it is no address."""
    try:
        parts = urlsplit(f"//{text}")
        return tcp_address(parts.hostname or "", parts.port or 0)
    except ValueError:
        return None


class _ArrivingStream(PipeEnd):
    """A stream from another node: reads its box, then serves what it asks for."""

    log = Logger()

    def __init__(self, streams: _Streams) -> None:
        self._streams = streams
        self._data = b""
        self._answering: Deferred[None] | None = None

    def connectionMade(self) -> None:
        """Wait for the box."""

    def dataReceived(self, data: bytes) -> None:
        """More of the box, or of what follows it."""
        if self.other is not None:
            super().dataReceived(data)
            return
        self._data += data
        if self._answering is not None:
            return
        try:
            decoded = decode(self._data)
        except WireError as error:
            self._streams.refused(str(error))
            self.transport.abortConnection()
            return
        if decoded is None:
            return
        box, self._data = decoded
        if isinstance(box, AgentBox | AskBox):
            protocol: Any
            if isinstance(box, AskBox):
                protocol = self._streams.asked(box)
            else:
                if (peer := _address(box.peer)) is not None:
                    self.transport.getPeer = lambda: peer  # for the log, and for services
                protocol = self._streams.agents.buildProtocol(self.transport.getPeer())
            self.transport.become(protocol, self._data)
            return
        self.transport.pauseProducing()
        answering = self._refresh(box) if isinstance(box, RefreshBox) else self._serve(box)
        self._answering = Deferred.fromCoroutine(answering)
        self._answering.addErrback(self._failed)

    async def _refresh(self, box: RefreshBox) -> None:
        await self._streams.refresh(box.lease)
        self.transport.loseConnection()

    async def _serve(self, box: VisitorBox) -> None:
        route = await self._streams.find(box.tunnel, box.hops, self.transport, box.to)
        if route is None:
            self._refuse(box)
            return
        end = PipeEnd()
        if box.window < INITIAL_WINDOW:
            self.transport.limit(box.window)
            route.connect(end, box.visitor, box.scheme, Told(box.window))
        else:
            route.connect(end, box.visitor, box.scheme)
        rest, self._data = self._data, b""
        if rest:
            end.transport.write(rest)
        self.join(end)

    def _refuse(self, box: VisitorBox) -> None:
        """There is no route: answer as an agent does whose upstream is away."""
        if box.scheme in ("http", "https"):
            answer_failure(self, UpstreamFailed(AGENT_AWAY, "the agent is away"))
        else:
            self.transport.abortConnection()

    def _failed(self, reason: Failure) -> None:
        if reason.check(CancelledError):
            return
        if not reason.check(BurrowError):
            self.log.failure("cannot serve a visitor from another node; its stream is reset", reason)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other node ended the stream."""
        if self._answering is not None and self.other is None:
            self._answering.cancel()
        super().connectionLost(reason)
