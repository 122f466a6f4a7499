"""The agents that are connected: who they are, and what they ask on their control channel."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from burrow.errors import StoreError
from burrow.link.accept import Handshake, HandshakeRefused
from burrow.link.carrier import CLOSE_RESTART
from burrow.mux.control import BadOption, CloseTunnel, Drain, NoSuchTunnel, Notice, OpenTunnel
from burrow.mux.lifeline import Lifeline
from burrow.mux.session import Session
from burrow.server.events import Events
from burrow.server.tunnels import Owner, Tunnel, Tunnels
from burrow.store.base import Token
from burrow.store.tokens import check_token

_AGENT_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")


class ControlChannel(amp.AMP):
    """The server's end of one agent's control channel: AMP on the agent's first stream."""

    log = Logger()

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self._agent = agent

    @OpenTunnel.responder
    def open_tunnel(
        self, kind: str, upstream: str, name: str | None = None, options: str | None = None
    ) -> Deferred[dict[str, str]]:
        """See L{OpenTunnel}."""
        return Deferred.fromCoroutine(self._agent.open(kind, upstream, name, options))

    @CloseTunnel.responder
    def close_tunnel(self, tunnel: str) -> Deferred[dict[str, str]]:
        """See L{CloseTunnel}."""
        return Deferred.fromCoroutine(self._agent.close(tunnel))


class Agent:
    """
    One connected agent.

    @ivar tunnels: its open tunnels by name.
    """

    log = Logger()

    def __init__(
        self,
        session: Session,
        lifeline: Lifeline | None,
        token: Token,
        handshake: Handshake,
        tunnels: Tunnels,
    ) -> None:
        self.session = session
        self.lifeline = lifeline
        self.token = token
        self.handshake = handshake
        self.tunnels: dict[str, Tunnel] = {}
        self._all = tunnels
        self._owner = Owner(token.id, handshake.agent, session, self._displaced, lifeline)
        self._channel: ControlChannel | None = None
        self._told_to_leave = False
        session.factory = _FirstStream(self)
        if lifeline is not None:
            lifeline.on_attached = self._attached
            lifeline.on_detached = self._detached

    def control_channel(self) -> ControlChannel | None:
        """The protocol for the agent's next stream: only the first has one."""
        if self._channel is not None:
            return None
        self._channel = ControlChannel(self)
        return self._channel

    async def open(self, kind: str, upstream: str, name: str | None, options: str | None) -> dict[str, str]:
        """Answer L{OpenTunnel}."""
        try:
            parsed = json.loads(options or "{}")
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise BadOption("the tunnel's options are no JSON object")
        tunnel = await self._all.open(self._owner, kind, upstream, name, parsed)
        self.tunnels[tunnel.name] = tunnel
        return {"tunnel": tunnel.name, "name": tunnel.name, "url": tunnel.url}

    async def close(self, name: str) -> dict[str, str]:
        """Answer L{CloseTunnel}."""
        tunnel = self.tunnels.pop(name, None)
        if tunnel is None:
            raise NoSuchTunnel(f"this agent has no tunnel {name[:63]!r} open")
        await self._all.close(tunnel)
        return {}

    def leave(self) -> None:
        """Ask the agent to go to another node; then, when nothing runs here any more, say good-bye."""
        if not self._told_to_leave and self._channel is not None and self._channel.transport is not None:
            self._told_to_leave = True
            self.tell(Drain)
            self.session.go_away()
        if self._told_to_leave and not self.tunnels and self.session.stream_count <= 1:
            self.session.close("the server restarts", CLOSE_RESTART)

    def tell(self, command: type[amp.Command], **arguments: Any) -> None:
        """Send the agent a command whose answer does not matter."""
        if self._channel is not None and self._channel.transport is not None:
            sending = self._channel.callRemote(command, **arguments)
            if sending is not None:
                sending.addErrback(lambda reason: None)  # the agent is old, or gone: it was told

    def _displaced(self, tunnel: Tunnel) -> None:
        """Another session of the same token's opened the tunnel: it is ours no more."""
        if self.tunnels.get(tunnel.name) is tunnel:
            del self.tunnels[tunnel.name]
        text = f"another agent with the same token opened {tunnel.url}: it has the tunnel now"
        self.tell(Notice, code="taken-over", text=text, tunnel=tunnel.name)

        if not self.tunnels and self.lifeline is not None and not self.lifeline.attached:
            self.session.abort()  # its successor is here: nobody comes back to this one

    def _attached(self) -> None:
        for tunnel in self.tunnels.values():
            self._all.arrived(tunnel)

    def _detached(self, reason: Failure) -> None:
        self.log.info(
            "agent {name!r} lost its connection, and is expected back: {reason}",
            name=self.token.name,
            reason=reason.getErrorMessage(),
        )

    async def gone(self, *, expected: bool) -> None:
        """The session is lost: so are its tunnels. C{expected}: the agent said no good-bye."""
        tunnels, self.tunnels = self.tunnels, {}
        for tunnel in tunnels.values():
            if expected:
                self._all.expect(tunnel.name)
            await self._all.close(tunnel)


class _FirstStream(Factory):
    """Puts the control channel on the agent's first stream; its other streams are reset."""

    noisy = False

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def buildProtocol(self, addr: Any) -> ControlChannel | None:
        return self._agent.control_channel()


class Agents:
    """
    All agents that are connected to this server.

    @ivar connected: they, bounded by the WebSockets that showed a token.
    """

    log = Logger()

    def __init__(self, clock: Any, store: Any, tunnels: Tunnels, events: Events) -> None:
        self._events = events
        self._clock = clock
        self._store = store
        self._tunnels = tunnels
        self.connected: set[Agent] = set()

    async def authenticate(self, handshake: Handshake) -> Token:
        """See L{burrow.link.accept.Authenticate}."""
        if not handshake.token:
            raise HandshakeRefused(401, "no token was shown: run `burrow login`, or give --token")
        try:
            token = await check_token(self._store, handshake.token)
        except StoreError as error:
            self.log.error("cannot check a token: {error}", error=error)
            raise HandshakeRefused(503, "the server's store cannot answer now") from error
        if token is None:
            raise HandshakeRefused(401, "the token is unknown or revoked: ask the server's owner for another")
        if token.role == "viewer":
            raise HandshakeRefused(403, f"the token {token.name!r} may look, not run tunnels")
        if not _AGENT_ID.fullmatch(handshake.agent):
            raise HandshakeRefused(400, "the agent's id must be 8 to 64 letters, digits, - and _")
        try:
            await self._store.token_used(token.id, time.time())
        except StoreError as error:  # a full disk, for one: no reason to refuse whom it knows
            self.log.error("cannot note that a token was used: {error}", error=error)
        return token

    @staticmethod
    def owner_of(token: Token, handshake: Handshake) -> tuple[str, str]:
        """Who may go on with a session: the same token's same agent."""
        return token.id, handshake.agent

    def begin(self, session: Session, lifeline: Lifeline | None, token: Token, handshake: Handshake) -> None:
        """See L{burrow.link.accept.Begin}."""
        agent = Agent(session, lifeline, token, handshake, self._tunnels)
        self.connected.add(agent)
        self.log.info("agent {name!r} is connected from {peer}", name=token.name, peer=handshake.peer)
        self._events.add("agent-connected", f"agent {token.name!r} is connected from {handshake.peer}")
        session.on_lost = lambda reason: self._lost(agent, reason)

    def _lost(self, agent: Agent, reason: Failure) -> None:
        self.connected.discard(agent)
        self.log.info(
            "agent {name!r} is gone: {reason}", name=agent.token.name, reason=reason.getErrorMessage()
        )
        self._events.add("agent-gone", f"agent {agent.token.name!r} is gone: {reason.getErrorMessage()}")
        # One that could be resumed was waited for already.
        expected = agent.lifeline is None and not reason.check(ConnectionDone)
        ending = Deferred.fromCoroutine(agent.gone(expected=expected))
        ending.addErrback(lambda failure: self.log.failure("an agent's tunnels were not closed", failure))
