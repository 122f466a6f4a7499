"""A plain ssh client as an agent: its session inside this process, and its tunnels."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

from twisted.conch.avatar import ConchUser
from twisted.conch.ssh.connection import MSG_REQUEST_FAILURE, MSG_REQUEST_SUCCESS
from twisted.conch.ssh.forwarding import unpackGlobal_tcpip_forward
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.errors import BurrowError
from burrow.link.accept import Handshake, HandshakeRefused
from burrow.mux.channel import BoundedAMP
from burrow.mux.control import Drain, Notice, OpenTunnel, VisitorHead, shown
from burrow.mux.endpoint import StreamClientEndpoint
from burrow.mux.session import Session
from burrow.server.agents import Agents
from burrow.server.ssh.channels import Forwarded, Terminal, Visitor, channel_for
from burrow.server.ssh.memory import join_sessions
from burrow.store.base import Token

ANY = "any"
"""The user's name that leaves the tunnel's to the server."""

MAX_VISITORS = 64
"""Connections of visitors to one client at a time; further ones are reset."""

_HTTP_PORTS = (80, 443)


def agent_id(name: str) -> str:
    """An agent's id, by which the server remembers what it chose: the same for the same user's name."""
    return f"ssh-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


class _Control(BoundedAMP):
    """The agent's end of the control channel."""

    def __init__(self, client: SshClient) -> None:
        super().__init__()
        self._client = client

    @Drain.responder
    def drain(self) -> dict[str, str]:
        """An ssh client cannot move. What it is told: see L{burrow.server.leaving}."""
        return {}

    @Notice.responder
    def notice(self, code: str, text: str, tunnel: str | None = None) -> dict[str, str]:
        """See L{Notice}."""
        self._client.say(text)
        return {}


class SshClient(ConchUser):
    """
    One connection. @param agents: takes its session. @param name: the user's. @param token: what it showed.
    """

    log = Logger()

    def __init__(self, clock: Any, agents: Agents, name: str, token: Token) -> None:
        super().__init__()
        self.channelLookup[b"session"] = Terminal
        self._clock = clock
        self._agents = agents
        self._name = name
        self._token = token
        self._session: Session | None = None
        self._control = _Control(self)
        self._opening = DeferredLock()
        self._listening: dict[str, tuple[str, int]] = {}
        self._said: list[str] = []
        self._early: list[tuple[Visitor, VisitorHead]] = []
        self._terminal: Terminal | None = None

    # -- what the client is told ----------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Tell the person, if there is a terminal, now or soon."""
        if self._terminal is not None:
            self._terminal.say(text)
        elif len(self._said) < 20:
            self._said.append(text)

    def shown_on(self, terminal: Terminal) -> None:
        """A terminal is there."""
        self._terminal = terminal
        said, self._said = self._said, []
        if not (said or self._listening or self._opening.locked):
            said = ["no tunnel is open: give -R 80:localhost:3000"]
        for text in said:
            terminal.say(text)

    # -- its tunnels ----------------------------------------------------------------------------------------

    def begin(self) -> Session:
        """The agent's session, begun with the first tunnel. @raise HandshakeRefused: there are too many."""
        if self._session is None:
            clock, agents = self._clock, self._agents
            peer = self.conn.transport.transport.getPeer()
            handshake = Handshake("", agent_id(self._name), "ssh", shown(peer))
            agents.admit(self._token, handshake)
            here = Session(clock, client=False)
            there = Session(clock, client=True, max_streams=MAX_VISITORS)
            there.listen(_Visitors(self))
            agents.begin(here, None, self._token, handshake)
            self._session = there
            there.on_lost.append(self._session_lost)
            join_sessions(clock, there, here, peer)
            connectProtocol(StreamClientEndpoint(there), self._control)
        return self._session

    def _session_lost(self, reason: Failure) -> None:
        """The server ended the session: for a revoked token, or since another client took the name over."""
        said = getattr(reason.value, "args", ())
        self.conn.transport.end(str(said[0]) if said else "the session was ended")

    @property
    def has_visitors(self) -> bool:
        """Whether a visitor has a channel now."""
        return any(isinstance(channel, Forwarded) for channel in self.conn.channels.values())

    async def open(self, address: str, port: int) -> int:
        """Open a tunnel. @return: its port, or the one asked for. @raise BurrowError: it is refused."""
        self.begin()
        name = None if self._name == ANY else self._name
        if name is not None and self._listening:
            name = f"{name}-{port}"
        kind = "http" if port in _HTTP_PORTS else "tcp"
        options = {"port": port} if kind == "tcp" and port else {}
        answer: dict[str, Any] = await self._control.callRemote(
            OpenTunnel,
            kind=kind,
            upstream=f"ssh -R {port}",
            name=name,
            options=json.dumps(options) if options else None,
        )
        url = str(answer["url"])
        got = int(url.rpartition(":")[2]) if kind == "tcp" else port
        self._listening[str(answer["tunnel"])] = address, got
        self.say(url)
        return got

    def visit(self, visitor: Visitor, head: VisitorHead) -> bool:
        """A visitor came. @return: whether there is a tunnel for it, or may be."""
        listening = self._listening.get(head.tunnel)
        if listening is None and not self._opening.locked:
            return False
        if listening is None:  # one that waited for the tunnel may come before the answer that it is open
            self._early.append((visitor, head))
        else:
            channel_for(visitor, head, listening, self.conn)
        return True

    def _visit_early(self) -> None:
        """A tunnel is open, or refused."""
        early, self._early = self._early, []
        for visitor, head in early:
            if not self.visit(visitor, head):
                visitor.fail()

    def forward(self, data: bytes, reply: Any) -> None:
        """The client wants a port forwarded. @param reply: called with the answer's type and data."""
        address, port = unpackGlobal_tcpip_forward(data)
        where = address if isinstance(address, str) else address.decode("latin-1")
        opening = self._opening.run(lambda: Deferred.fromCoroutine(self.open(where, port)))

        def opened(got: int) -> None:
            reply(MSG_REQUEST_SUCCESS, struct.pack(">L", got) if port == 0 else b"")

        def refused(reason: Any) -> None:
            if not reason.check(BurrowError, HandshakeRefused, ConnectionClosed):
                self.log.failure("cannot open a tunnel for an ssh client", reason)
            self.say(f"-R {port}: {reason.getErrorMessage()}")
            reply(MSG_REQUEST_FAILURE, b"")

        opening.addCallbacks(opened, refused)
        # Once the client knows the port: it refuses channels of one that it does not know.
        opening.addCallback(lambda _: self._visit_early())

    def logout(self) -> None:
        """The connection is lost. Who did not say good-bye is expected back: its visitors wait."""
        session, self._session = self._session, None
        if session is None or session.lost:
            return
        farewell = self.conn.transport.farewell
        if farewell:
            session.close(farewell)
        else:
            session.abort()


class _Visitors(Factory):
    """Takes the streams of visitors."""

    noisy = False

    def __init__(self, client: SshClient) -> None:
        self._client = client

    def buildProtocol(self, addr: Any) -> Visitor:
        return Visitor(self._client.visit)
