"""
The server's side of a link: takes an agent's WebSocket, authenticates it, and begins or resumes a session.

Refusals are HTTP responses to the handshake: 401 for a token that is wrong, missing or revoked, 403 for one
that may not run tunnels, 400 for a client that speaks none of our subprotocols, 503 when the store does not
answer.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from burrow import __version__
from burrow.errors import WireError
from burrow.link import (
    AGENT_HEADER,
    INSPECTOR_HEADER,
    PLAIN,
    RECEIVED_HEADER,
    RESUME,
    SESSION_HEADER,
    TOKEN_HEADER,
    VERSION_HEADER,
    count_of,
)
from burrow.link.carrier import PROTOCOL_OPTIONS, CarrierProtocol
from burrow.link.lean import Lean, with_options
from burrow.mux.control import shown
from burrow.mux.heartbeat import Heartbeat
from burrow.mux.lifeline import GRACE, Lifeline
from burrow.mux.session import Session
from burrow.mux.tls import release_buffers

RELEASE_EVERY = 8
"""Checks of the heartbeat, a second apart, between two at which TLS's buffers are released."""

MAX_AGENT_STREAMS = 64
"""Streams an agent may open: its control channel, and room for what comes later."""


class HandshakeRefused(Exception):
    """
    The handshake of an agent is refused.

    @ivar status: the HTTP status, 4xx or 5xx. @ivar text: a sentence for the person at the agent.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class Handshake:
    """
    What an agent's handshake contains.

    @ivar token: the bearer token, or an empty string. @ivar agent: its id. @ivar version: its release.
    @ivar peer: its address, for the log. @ivar inspector: the port of its inspector; 0 if it has none.
    """

    token: str
    agent: str
    version: str
    peer: str
    inspector: int = 0


_log = Logger()

Authenticate = Callable[[Handshake], Awaitable[Any]]
"""Returns the identity of an agent; raises L{HandshakeRefused}."""

Admit = Callable[[Any, Handshake], None]
"""
Called for each handshake that is to begin a new session, with what L{Authenticate} returned; raises
L{HandshakeRefused} if there are too many.
"""

Begin = Callable[[Session, "Lifeline | None", Any, Handshake], None]
"""
Called with each new session, its lifeline if it can be resumed, and what L{Authenticate} returned, before
any byte is read.
"""


def bearer(header: str) -> str:
    """The token of an Authorization header (RFC 6750 section 2.1); empty if there is none."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _port(text: str) -> int:
    """The port in a header; 0 if it is none."""
    port = count_of(text) or 0
    return port if port < 65_536 else 0


def node_of(session_id: str) -> str:
    """The node that holds the session with this id."""
    return session_id.partition(".")[0]


class AcceptProtocol(CarrierProtocol, Lean, WebSocketServerProtocol):  # type: ignore[misc]
    """One agent's WebSocket, on the server."""

    factory: AcceptFactory
    _heartbeat: Heartbeat | None = None
    _lifeline: Lifeline | None = None
    _peer_received = 0
    _checks = 0

    def onConnect(self, request: ConnectionRequest) -> Deferred[tuple[str, dict[str, str]]]:
        """Autobahn asks whether the handshake may succeed."""
        return Deferred.fromCoroutine(self._check(request))

    async def _check(self, request: ConnectionRequest) -> tuple[str, dict[str, str]]:
        subprotocol = next((known for known in (RESUME, PLAIN) if known in request.protocols), None)
        if subprotocol is None:
            raise ConnectionDeny(400, f"this server speaks the WebSocket subprotocols {RESUME} and {PLAIN}")
        headers = request.headers
        self._handshake = Handshake(
            token=bearer(headers.get("authorization", "")),
            agent=headers.get(AGENT_HEADER.lower(), "")[:64],
            version=headers.get(VERSION_HEADER.lower(), "")[:32],
            peer=shown(self.transport.getPeer()),
            inspector=_port(headers.get(INSPECTOR_HEADER.lower(), "")),
        )
        try:
            return await self._answer(subprotocol, headers)
        except HandshakeRefused as refusal:
            _log.info("refused an agent at {peer}: {text}", peer=self._handshake.peer, text=refusal.text)
            raise ConnectionDeny(refusal.status, refusal.text) from None

    async def _answer(self, subprotocol: str, headers: Any) -> tuple[str, dict[str, str]]:
        self._identity = await self.factory.authenticate(self._handshake)
        answer = {VERSION_HEADER: __version__}
        name = self.factory.name_of(self._identity)
        if name:
            answer[TOKEN_HEADER] = name
        self._resumable = subprotocol == RESUME
        if self._resumable:
            asked = headers.get(SESSION_HEADER.lower(), "")
            received = count_of(headers.get(RECEIVED_HEADER.lower(), ""))
            owner = self.factory.owner_of(self._identity, self._handshake)
            if received is None or (lifeline := self.factory.find(asked, owner)) is None:
                self._session_id = self.factory.new_id()
                answer[RECEIVED_HEADER] = "0"
            else:
                self._lifeline, self._session_id, self._peer_received = lifeline, asked, received
                answer[RECEIVED_HEADER] = str(lifeline.received)
            answer[SESSION_HEADER] = self._session_id
        if self._lifeline is None:
            self.factory.admit(self._identity, self._handshake)
        return subprotocol, answer

    def succeedHandshake(self, res: Any) -> None:
        """L{onConnect} has answered. By then the agent may have closed the connection."""
        if self.state == self.STATE_CONNECTING:
            super().succeedHandshake(res)
            self.keep_little("_handshake", "_identity", "_peer_received", "_resumable", "_session_id")
            self.look_whether_usual()

    def onOpen(self) -> None:
        """The handshake is done: begin a session, or resume one."""
        lifeline = self._lifeline
        try:
            session = lifeline.session if lifeline is not None else self._begin()
            self.carry(self._lifeline or session, self._peer_received)
            self.factory.let_in(self.transport)
        except WireError as error:
            _log.warn("{peer} cannot resume its session: {error}", peer=self._handshake.peer, error=error)
            self.user = None
            self.abort()
            return
        self._heartbeat = Heartbeat(self.factory.clock, session, self.abort)
        self._heartbeat.on_check = self._each_second
        self._heartbeat.start()

    def _each_second(self) -> None:
        """Called by the heartbeat at each check, the first of which is now."""
        if self._lifeline is not None:
            self._lifeline.check()
        if self._checks % RELEASE_EVERY == 1:  # not in the handshake, whose tickets wait
            release_buffers(self.transport)
        self._checks += 1

    def _begin(self) -> Session:
        session = Session(self.factory.clock, client=False, max_streams=self.factory.max_streams)
        if self._resumable:
            self._lifeline = self.factory.keep(
                self._session_id, session, self.factory.owner_of(self._identity, self._handshake)
            )
        self.factory.begin(session, self._lifeline, self._identity, self._handshake)
        return session

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The WebSocket is closed."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
        super().onClose(wasClean, code, reason)

    def sendHttpErrorResponse(self, code: int, reason: str, responseHeaders: object = None) -> None:
        """Autobahn refuses a handshake: answer with JSON, and with C{WWW-Authenticate} for a 401."""
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
    Builds the server's side of agents' WebSockets, and keeps the sessions that may be resumed.

    To resume a session an agent needs the token that began it, and the same agent id: its session id alone is
    worthless.

    @param authenticate: called once a handshake. @param begin: called for each new session.
    @param owner_of: makes of an identity and a handshake the owner of a session: only an equal one may resume
        it.
    @param grace: seconds that a detached session is kept.
    @param node: this node's id: its sessions' ids begin with it, so that other nodes know whose they are.
    @param max_streams: how many streams a peer may open. @param admit: called before each new session.
    @param let_in: called with the transport of each agent whose token is good.
    @param name_of: the name of an identity, for the agent's screen: ASCII without spaces, or empty.
    """

    protocol = AcceptProtocol
    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        authenticate: Authenticate,
        begin: Begin,
        owner_of: Callable[[Any, Handshake], Any],
        grace: float = GRACE,
        node: str = "",
        max_streams: int = MAX_AGENT_STREAMS,
        admit: Admit = lambda identity, handshake: None,
        let_in: Callable[[Any], None] = lambda transport: None,
        name_of: Callable[[Any], str] = lambda identity: "",
    ) -> None:
        super().__init__(protocols=[RESUME, PLAIN], server="Burrow", reactor=clock)
        self.clock = clock
        self.authenticate = authenticate
        self.admit = admit
        self.let_in = let_in
        self.name_of = name_of
        self.begin = begin
        self.owner_of = owner_of
        self.max_streams = max_streams
        self._node = node
        self._grace = grace
        self._kept: dict[str, tuple[Lifeline, Any]] = {}
        self.setProtocolOptions(**PROTOCOL_OPTIONS, webStatus=False)
        self.protocol = with_options(self.protocol, self)

    def new_id(self) -> str:
        """An id for a new session."""
        return f"{self._node}.{token_urlsafe(16)}"

    def keep(self, session_id: str, session: Session, owner: Any) -> Lifeline:
        """Make a new session resumable."""
        lifeline = Lifeline(self.clock, session, grace=self._grace)
        self._kept[session_id] = lifeline, owner
        session.on_lost.append(lambda reason: self._forget(session_id))
        return lifeline

    def _forget(self, session_id: str) -> None:
        del self._kept[session_id]

    def find(self, session_id: str, owner: Any) -> Lifeline | None:
        """The session with that id, if it is not lost and belongs to C{owner}."""
        lifeline, kept_owner = self._kept.get(session_id, (None, None))
        return lifeline if lifeline is not None and kept_owner == owner else None
