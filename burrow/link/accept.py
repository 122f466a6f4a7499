"""
The server's side of a link: takes an agent's WebSocket, asks who it is, and begins its session.

Refusals are HTTP responses to the handshake: 401 for a token that is wrong, missing or revoked, 403
for one that may not run tunnels, 400 for a client that speaks no subprotocol of ours, 503 when the
store cannot tell.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from burrow import __version__
from burrow.link import AGENT_HEADER, SUBPROTOCOL, VERSION_HEADER
from burrow.link.carrier import PROTOCOL_OPTIONS, CarrierProtocol
from burrow.mux.heartbeat import Heartbeat
from burrow.mux.session import Session

MAX_AGENT_STREAMS = 64
"""Streams an agent may open: its control channel, and room for what comes later."""


class HandshakeRefused(Exception):
    """
    Why an agent is not let in.

    @ivar status: the HTTP status, 4xx or 5xx. @ivar text: a sentence for the person at the agent.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class Handshake:
    """
    What an agent said of itself.

    @ivar token: the bearer token, or an empty string. @ivar agent: its id. @ivar version: its release.
    @ivar peer: its address, for the log.
    """

    token: str
    agent: str
    version: str
    peer: str


_log = Logger()

Authenticate = Callable[[Handshake], Awaitable[Any]]
"""Says who an agent is; raises L{HandshakeRefused}."""

Begin = Callable[[Session, Any, Handshake], None]
"""Called with each new session, with what L{Authenticate} returned, before any byte is read."""


def bearer(header: str) -> str:
    """The token of an Authorization header (RFC 6750 section 2.1); empty if there is none."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class AcceptProtocol(CarrierProtocol, WebSocketServerProtocol):  # type: ignore[misc]
    """One agent's WebSocket, on the server."""

    factory: AcceptFactory

    def onConnect(self, request: ConnectionRequest) -> Deferred[tuple[str, dict[str, str]]]:
        """Autobahn asks whether the handshake may succeed."""
        return Deferred.fromCoroutine(self._check(request))

    async def _check(self, request: ConnectionRequest) -> tuple[str, dict[str, str]]:
        if SUBPROTOCOL not in request.protocols:
            raise ConnectionDeny(400, f"this server speaks the WebSocket subprotocol {SUBPROTOCOL}")
        headers = request.headers
        self.handshake = Handshake(
            token=bearer(headers.get("authorization", "")),
            agent=headers.get(AGENT_HEADER.lower(), "")[:64],
            version=headers.get(VERSION_HEADER.lower(), "")[:32],
            peer=str(request.peer),
        )
        try:
            self.identity = await self.factory.authenticate(self.handshake)
        except HandshakeRefused as refusal:
            _log.info("refused an agent at {peer}: {text}", peer=request.peer, text=refusal.text)
            raise ConnectionDeny(refusal.status, refusal.text) from None
        return SUBPROTOCOL, {VERSION_HEADER: __version__}

    def onOpen(self) -> None:
        """The handshake is done: the session begins."""
        clock = self.factory.clock
        session = Session(clock, client=False, max_streams=MAX_AGENT_STREAMS)
        session.peer = self.transport.getPeer()
        self._heartbeat = Heartbeat(clock, session)
        self.factory.begin(session, self.identity, self.handshake)
        self.begin(session)
        self._heartbeat.start()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The WebSocket is gone."""
        if self.session is not None:
            self._heartbeat.stop()
        super().onClose(wasClean, code, reason)

    def sendHttpErrorResponse(self, code: int, reason: str, responseHeaders: object = None) -> None:
        """Autobahn refuses a handshake: say so as an HTTP client reads it."""
        body = json.dumps({"error": reason, "status": code}).encode() + b"\n"
        lines = [
            f"HTTP/1.1 {code} {_PHRASES.get(code, 'Refused')}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        if code == 401:
            lines.append('WWW-Authenticate: Bearer realm="burrow"')
        self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


_PHRASES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 503: "Service Unavailable"}


class AcceptFactory(WebSocketServerFactory):  # type: ignore[misc]
    """
    Builds the server's side of agents' WebSockets.

    @param authenticate: asked once a handshake. @param begin: told of each session.
    """

    protocol = AcceptProtocol
    noisy = False

    def __init__(self, clock: IReactorTime, authenticate: Authenticate, begin: Begin) -> None:
        super().__init__(protocols=[SUBPROTOCOL], server="Burrow", reactor=clock)
        self.clock = clock
        self.authenticate = authenticate
        self.begin = begin
        self.setProtocolOptions(**PROTOCOL_OPTIONS, webStatus=False)
