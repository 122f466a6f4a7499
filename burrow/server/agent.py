"""One connected agent: executes its commands, and closes its tunnels when it leaves."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from burrow.errors import BadOption, NoSuchTunnel, StoreError, StreamGone, Unavailable
from burrow.limits import Limits
from burrow.link.accept import Handshake
from burrow.mux.control import Drain, Notice, shown
from burrow.mux.interfaces import CloseCode
from burrow.mux.lifeline import Lifeline
from burrow.mux.session import Session
from burrow.server.channel import Asked, ControlChannel
from burrow.server.connecting import Connecting
from burrow.server.opening import Opening
from burrow.server.private import Private
from burrow.server.routes import Routes
from burrow.server.tunnel import Owner, Tunnel
from burrow.server.tunnels import Tunnels
from burrow.store.base import Token

_numbers = count(1)

_HTTP2_UPSTREAMS = ("h2c://", "h2://", "h2c+unix:")
"""How agents write upstreams of kind http that speak HTTP/2."""

_POLL_LEAVING = 1.0
"""Seconds between two checks whether a session that its agent leaves is idle."""


class Agent:
    """
    One connected agent.

    @param allowed: checks the agent's token, and returns its limits.
    @param private: finds the private tunnels that it connects to; without, it gets no stream after the first.
    @ivar token: the token's record as of the last check. @ivar tunnels: the agent's open tunnels by name.
    @ivar number: its session's, unique in this process. @ivar since: when it began, seconds since the epoch.
    """

    log = Logger()

    def __init__(
        self,
        session: Session,
        lifeline: Lifeline | None,
        token: Token,
        handshake: Handshake,
        allowed: Callable[[Agent], Awaitable[Limits]],
        opening: Opening,
        tunnels: Tunnels,
        routes: Routes,
        private: Private | None = None,
    ) -> None:
        self._allowed = allowed
        self._private = private
        self._opening = opening
        self._all_tunnels = tunnels
        self._routes = routes
        self._ended = False
        self.number = next(_numbers)
        self.since = time.time()
        self.session = session
        self.lifeline = lifeline
        self.token = token
        self.handshake = handshake
        self.tunnels: dict[str, Tunnel] = {}
        self._under_way: dict[str, list[list[Deferred[None]]]] = {}
        self._owner = Owner(
            token.id, handshake.agent, session, self._displaced, self._released, self._took_over
        )
        self._channel: ControlChannel | None = None
        self._drain_sent = False
        self._closed_idle = False
        self._leaving: LoopingCall | None = None
        session.listen(_Streams(self))
        session.on_go_away.append(self._on_go_away)
        if lifeline is not None:
            lifeline.on_attached.append(self._attached)
            lifeline.on_detached.append(self._detached)

    def next_stream(self) -> IProtocol | None:
        """The protocol for a stream that the agent opens: on the first, the control channel."""
        if self._channel is not None:
            if self._private is None:
                return None
            return Connecting(self._private, self.session, lambda: self.token)
        self._channel = ControlChannel(self)
        return self._channel

    @property
    def agent_id(self) -> str:
        """The agent's id, from its handshake."""
        return self.handshake.agent

    @property
    def attached(self) -> bool:
        """Whether the agent has a connection now."""
        return self.session.connected

    async def open(self, asked: Asked) -> dict[str, Any]:
        """Answer L{OpenTunnel}."""
        name = asked.name
        waiting: list[Deferred[None]] = []
        if name is not None:
            self._under_way.setdefault(name, []).append(waiting)
        try:
            return await self._open(asked)
        finally:
            if name is not None:
                others = [other for other in self._under_way.pop(name) if other is not waiting]
                if others:
                    self._under_way[name] = others
            for one in waiting:
                self.session.clock.callLater(0, one.callback, None)  # after this was answered

    async def _open(self, asked: Asked) -> dict[str, Any]:
        limits = await self._allowed(self)
        try:
            parsed = json.loads(asked.options or "{}")
        except (ValueError, RecursionError):  # RecursionError: lists nested thousands deep
            parsed = None
        if not isinstance(parsed, dict):
            raise BadOption("the tunnel's options are not a JSON object")
        if self.session.going:
            raise Unavailable("this session has ended for visitors (its agent sent a go away): use a new one")
        tunnel = await self._opening.open(
            self._owner,
            asked.kind,
            asked.upstream,
            asked.name,
            parsed,
            limits,
            (asked.oldest, asked.version),
        )
        # It was open while the other nodes were told of it, and nobody knew that it is this agent's.
        if self.session.lost:
            await self._all_tunnels.close(tunnel)
            raise StreamGone("the agent left while its tunnel was being opened")
        if not self._all_tunnels.has(tunnel):
            raise Unavailable(
                f"{tunnel.url} was taken away while it was being opened, by another session of its token or "
                "by the server's owner; the agent tries again"
            )
        self.tunnels[tunnel.name] = tunnel
        if asked.upstream.startswith(_HTTP2_UPSTREAMS) and not self._opening.http2:
            text = (
                f"visitors of {tunnel.name} come by HTTP/1.1 alone: web pages and WebSockets work so, "
                "gRPC does not until the server's owner starts it with --http2"
            )
            self.tell(Notice, code="http1-only", text=text, tunnel=tunnel.name)
        answer = {"tunnel": tunnel.name, "name": tunnel.name, "url": tunnel.url}
        return answer if tunnel.version == 1 else {**answer, "version": tunnel.version}

    async def close(self, name: str) -> dict[str, str]:
        """Answer L{CloseTunnel}, after the L{OpenTunnel} commands for the name that came before it."""
        before: list[Deferred[None]] = [Deferred() for _ in self._under_way.get(name, ())]
        for waiting, one in zip(self._under_way.get(name, ()), before, strict=True):
            waiting.append(one)
        for one in before:
            await one
        with contextlib.suppress(StoreError):  # an agent may close a tunnel while the store is away
            await self._allowed(self)
        tunnel = self.tunnels.pop(name, None)
        if tunnel is None:
            raise NoSuchTunnel(f"this agent has no tunnel {name[:63]!r} open")
        await self._all_tunnels.close(tunnel)
        return {}

    def end(self, why: str) -> None:
        """
        The token is no longer valid: tell the agent why, and close the session. The second call, at the next
        check, cuts it without waiting for the agent.
        """
        if self._ended:
            self.session.abort()
        elif not self.session.lost:
            self._ended = True
            self.tell(Notice, code="revoked", text=why)
            self.session.close(why, CloseCode.REVOKED)

    def give_way(self) -> None:
        """End the session at once: its agent has no connection, and begins another session."""
        self.session.abort()

    def send_away(self) -> None:
        """
        Ask the agent to move to another node, and close its session once it has no tunnel and no stream here.
        To be called again until it has.

        A yamux go away cannot ask this, since some implementations end the session on one.
        """
        if not self._drain_sent:
            self._drain_sent = True
            self.tell(Drain)
        for tunnel in list(self.tunnels.values()):
            if tunnel.share is not None and self._routes.shared.elsewhere(tunnel.name):
                del self.tunnels[
                    tunnel.name
                ]  # agents on other nodes serve it, perhaps this one's next session
                closing = Deferred.fromCoroutine(self._all_tunnels.close(tunnel))
                closing.addErrback(lambda reason: self.log.failure("cannot close a shared tunnel", reason))
        if not self.tunnels:
            self._close_if_idle("the server restarts", CloseCode.RESTART)

    def _close_if_idle(self, reason: str, code: int = CloseCode.NORMAL) -> None:
        """Close the session if it has no stream but the control channel."""
        if self.session.stream_count <= (1 if self._channel is not None else 0):
            self._closed_idle = True
            self.session.close(reason, code)

    def _on_go_away(self, code: int) -> None:
        """
        The agent sent a go away: its streams may end. New visitors wait for its next session, for a while, as
        if it had left without a good-bye.
        """
        if self._leaving is not None or self.session.lost:
            return
        self.log.info(
            "agent {name!r} is stopping (go away, code {code}); its session ends when nothing runs on it",
            name=self.token.name,
            code=code,
        )
        for name in self.tunnels:
            self._routes.expect(name)
        self._leaving = LoopingCall(self._close_if_idle, "the agent sent a go away")
        self._leaving.clock = self.session.clock
        self._leaving.start(_POLL_LEAVING, now=False)

    def channel_lost(self, violation: str) -> None:
        """
        The control channel ended.

        @param violation: how the agent violated the protocol on it, or empty.
        """
        if not self.session.lost:
            if violation:
                self.log.warn(
                    "agent {name!r} at {peer} violated the protocol, its session is closed: {why}",
                    name=self.token.name,
                    peer=shown(self.session.peer),
                    why=violation,
                )
                self.session.close(violation, CloseCode.PROTOCOL_ERROR)
            else:
                self.session.close("the control channel ended")

    def tell(self, command: type[amp.Command], **arguments: Any) -> None:
        """Send the agent a command whose answer does not matter, unless too many are unanswered already."""
        channel = self._channel
        if channel is not None and channel.transport is not None and not channel.congested:
            sending = channel.callRemote(command, **arguments)
            if sending is not None:
                sending.addErrback(lambda reason: None)  # an old agent does not know the command

    def _displaced(self, tunnel: Tunnel, by: Owner | None) -> bool:
        """Another session of the same token has opened the tunnel, and has it now."""
        if self.tunnels.get(tunnel.name) is tunnel:
            del self.tunnels[tunnel.name]
        stays = not self._drain_sent and not self.session.going
        connected = self.session.connected
        if stays:
            # The server cannot tell which of the two, since all agents on a machine have one id.
            text = (
                f"another agent with the same token, or another session of this one, opened {tunnel.url} "
                f"{self._whence(by)}and has the tunnel now; this agent does not take it back: to have both, "
                "start one with another --name"
            )
            self.tell(Notice, code="taken-over", text=text, tunnel=tunnel.name)
        if not self.tunnels and not self.session.connected:
            self.session.abort()  # its agent has another session, and will not come back to this one
        return stays and connected

    def _took_over(self, tunnel: Tunnel, before: Owner) -> None:
        """This session opened a tunnel that an agent with the same token had, which is told of it, too."""
        text = (
            f"took {tunnel.url} over from another agent with the same token, or an earlier session of "
            f"this one, that opened it {self._whence(before)}".rstrip()
        )
        self.tell(Notice, code="took-over", text=text, tunnel=tunnel.name)

    def _whence(self, other: Owner | None) -> str:
        """Where another session of the token is, for a sentence; with a space behind it."""
        if other is None:
            return "on another node "
        which = f" (agent {other.agent})" if other.agent != self.agent_id else ""
        return f"from {shown(other.session.peer)}{which} "

    def _released(self, tunnel: Tunnel, why: str) -> None:
        """The name no longer belongs to this agent's token: the tunnel is being closed."""
        if self.tunnels.get(tunnel.name) is tunnel:
            del self.tunnels[tunnel.name]
        self.tell(Notice, code="released", text=why, tunnel=tunnel.name)

    def _attached(self, peer: IAddress) -> None:
        for tunnel in self.tunnels.values():
            self._routes.agent_connected(tunnel.name)

    def _detached(self, reason: Failure) -> None:
        self.log.info(
            "agent {name!r} lost its connection, and its session waits for it: {reason}",
            name=self.token.name,
            reason=reason.getErrorMessage(),
        )

    async def gone(self, reason: Failure) -> None:
        """The session is lost: close its tunnels."""
        if self._leaving is not None and self._leaving.running:
            self._leaving.stop()
        tunnels, self.tunnels = self.tunnels, {}
        said_good_bye = reason.check(ConnectionDone)
        for tunnel in tunnels.values():
            if not said_good_bye and self.lifeline is None:
                self._routes.expect(
                    tunnel.name
                )  # with a lifeline, visitors have waited during the grace time
            elif said_good_bye and not self._closed_idle:
                self._routes.expect_no_more(tunnel.name)
            await self._all_tunnels.close(tunnel)


class _Streams(Factory):
    """Takes the streams that an agent opens."""

    noisy = False

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def buildProtocol(self, addr: Any) -> Any:
        return self._agent.next_stream()
