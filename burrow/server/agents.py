"""The agents that are connected: checks their tokens and begins their sessions."""

from __future__ import annotations

import re
import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.errors import StoreError
from burrow.limits import UNLIMITED, Limits
from burrow.link.accept import Handshake, HandshakeRefused
from burrow.mux.lifeline import Lifeline
from burrow.mux.session import Session
from burrow.server.agent import Agent
from burrow.server.events import Events
from burrow.server.nodes.cluster import Cluster
from burrow.server.opening import Opening
from burrow.server.private import Private
from burrow.server.revoking import TokenWatch
from burrow.server.routes import Routes
from burrow.server.sessions import Sessions, TooManySessions
from burrow.server.tunnels import Tunnels
from burrow.store.base import IStore, Token
from burrow.store.tokens import check_token, note_use

_AGENT_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")


class Agents:
    """
    All agents that are connected to this server.

    @param limits: the limits of a token that has no settings of its own.
    @param private: finds the private tunnels that agents connect to.
    @param cluster: publishes how many sessions each token has, and knows how many it has on other nodes.
    @ivar connected: every authenticated agent, one per session.
    @ivar resumes: how many connections sessions went on by, so far.
    @ivar turnover: how many sessions began, and how many ended, so far, added.
    @ivar watch: checks regularly whether their tokens are valid.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        store: IStore,
        opening: Opening,
        tunnels: Tunnels,
        routes: Routes,
        cluster: Cluster,
        events: Events,
        limits: Limits = UNLIMITED,
        private: Private | None = None,
    ) -> None:
        self._private = private
        self._limits = limits
        self._events = events
        self._clock = clock
        self._store = store
        self._opening = opening
        self._tunnels = tunnels
        self._routes = routes
        self._cluster = cluster
        self.connected: set[Agent] = set()
        self.resumes = self.turnover = 0
        self._carried = [0, 0]
        self.watch = TokenWatch(clock, store, self.connected)
        cluster.changes.listeners.append(self.watch.changed)
        self._sessions = Sessions(clock, cluster.members.sessions_elsewhere)

    async def authenticate(self, handshake: Handshake) -> Token:
        """See L{burrow.link.accept.Authenticate}."""
        if not handshake.token:
            raise HandshakeRefused(401, "the agent sent no token: run `burrow login`, or give --token")
        try:
            token = await check_token(self._store, handshake.token)
        except StoreError as error:
            self.log.error("cannot check an agent's token, so the agent is refused: {error}", error=error)
            raise HandshakeRefused(503, "the server's store cannot answer now") from error
        if token is None:
            raise HandshakeRefused(401, "the token is unknown or revoked: ask the server's owner for another")
        if token.role == "viewer":
            raise HandshakeRefused(
                403,
                f"the token {token.name!r} has the role viewer, which may not run tunnels",
            )
        if not _AGENT_ID.fullmatch(handshake.agent):
            raise HandshakeRefused(400, "the agent's id must be 8 to 64 letters, digits, - and _")
        try:
            await note_use(self._store, token, time.time())
        except StoreError as error:  # such as a full disk: the token is valid all the same
            self.log.error(
                "cannot write when token {name!r} was last used; its agent is let in: {error}",
                name=token.name,
                error=error,
            )
        return token

    def admit(self, token: Token, handshake: Handshake) -> None:
        """See L{burrow.link.accept.Admit}."""
        try:
            self._sessions.let_in(token.id, handshake.agent, token.limits(self._limits).sessions)
        except TooManySessions as error:
            raise HandshakeRefused(503, str(error)) from error

    async def _allowed(self, agent: Agent) -> Limits:
        """
        Check the token before a command. @raise NotAllowed: it is no longer valid.
        @raise StoreError: the store cannot tell.
        """
        token = await self.watch.ask_again(agent)
        return token.limits(self._limits)

    @staticmethod
    def owner_of(token: Token, handshake: Handshake) -> tuple[str, str]:
        """Who may resume a session: the same agent with the same token."""
        return token.id, handshake.agent

    def begin(self, session: Session, lifeline: Lifeline | None, token: Token, handshake: Handshake) -> None:
        """See L{burrow.link.accept.Begin}."""
        agent = Agent(
            session,
            lifeline,
            token,
            handshake,
            self._allowed,
            self._opening,
            self._tunnels,
            self._routes,
            self._private,
        )
        self.connected.add(agent)
        self.turnover += 1
        self.watch.began(agent)
        self._sessions.began(agent)
        self._cluster.members.session_began(token.id)
        self.log.info("agent {name!r} is connected from {peer}", name=token.name, peer=handshake.peer)
        self._events.add("agent-connected", f"agent {token.name!r} is connected from {handshake.peer}")
        session.on_lost.append(lambda reason: self._lost(agent, reason))
        if lifeline is not None:
            self.resumes -= 1  # the first is no resume
            lifeline.on_attached.append(self._attached)

    def _attached(self, peer: Any) -> None:
        self.resumes += 1

    @property
    def carried(self) -> tuple[int, int]:
        """Bytes received from and sent to the agents of all sessions that can be resumed, so far."""
        received, sent = self._carried
        for agent in self.connected:
            if agent.lifeline is not None:
                received += agent.lifeline.received
                sent += agent.lifeline.sent
        return received, sent

    def _lost(self, agent: Agent, reason: Failure) -> None:
        self.connected.discard(agent)
        self._sessions.ended(agent)
        self.turnover += 1
        if agent.lifeline is not None:
            self._carried[0] += agent.lifeline.received
            self._carried[1] += agent.lifeline.sent
        self._cluster.members.session_ended(agent.token.id)
        self.log.info(
            "the session of agent {name!r} ended: {reason}",
            name=agent.token.name,
            reason=reason.getErrorMessage(),
        )
        self._events.add("agent-gone", f"agent {agent.token.name!r} is gone: {reason.getErrorMessage()}")
        ending = Deferred.fromCoroutine(agent.gone(reason))
        ending.addErrback(
            lambda failure: self.log.failure(
                "cannot close the tunnels of an agent whose session ended", failure
            )
        )
