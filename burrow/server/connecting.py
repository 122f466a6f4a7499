"""A stream of an agent's that names a private tunnel, until it is joined to that tunnel's agent."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.clock import cancel
from burrow.errors import BadOption, NotAllowed, Refused, StreamGone, Unavailable, WireError
from burrow.mux.control import (
    BYTES,
    DATAGRAMS,
    QUESTION,
    ConnectAnswer,
    ConnectHead,
    decode_connect_head,
    shown,
    visitor_address,
)
from burrow.mux.pipe import PipeEnd
from burrow.mux.session import Session
from burrow.protocols.base import Reach
from burrow.protocols.udp.private import StreamVisitor
from burrow.server.private import Private, Target
from burrow.server.route import IRoute
from burrow.traffic.record import Record
from burrow.traffic.watched import watch

HEAD_WITHIN = 10.0
"""Seconds until a stream of an agent's is reset whose head has not come whole."""

SCHEME = "private"
"""What the tunnel's agent is told of how such a visitor came."""

_UNKNOWN = IPv4Address("TCP", "0.0.0.0", 0)
"""The address of a visitor whose agent's connection another node relays, of an older release."""


class Connecting(Protocol):
    """
    A stream of an agent's, other than its first: reads its head, and gives it to the tunnel that it names.

    @param token: called for the agent's token, as of its last check.
    """

    log = Logger()
    transport: Any

    def __init__(self, private: Private, session: Session, token: Any) -> None:
        self._private = private
        self._session = session
        self._token = token
        self._data = b""
        self._finding: Deferred[None] | None = None
        self._head_timeout = session.clock.callLater(HEAD_WITHIN, self._give_up)

    def dataReceived(self, data: bytes) -> None:
        """More of the head, or the whole head and what follows."""
        self._data += data
        if self._finding is not None:
            return
        try:
            decoded = decode_connect_head(self._data)
        except WireError as error:
            self._reset(error)
            return
        if decoded is None:
            return
        self._head_timeout.cancel()
        head, self._data = decoded
        self.transport.pauseProducing()
        self._finding = Deferred.fromCoroutine(self._connect(head))
        self._finding.addErrback(self._failed)

    def _give_up(self) -> None:
        self._reset("it named no tunnel in time")

    def _reset(self, why: object) -> None:
        self.log.warn(
            "reset a stream of agent {name!r} at {peer}: {why}",
            name=self._token().name,
            peer=shown(self._session.peer),
            why=why,
        )
        self.transport.abortConnection()

    async def _connect(self, head: ConnectHead) -> None:
        token = self._token()
        name = head.connect
        who = {"name": token.name, "peer": shown(self._session.peer), "tunnel": name[:63]}
        try:
            target = await self._private.known(name, token)
            if head.want == QUESTION:
                self.transport.write(ConnectAnswer("OK", "", target.carries).encode())
                self.transport.loseConnection()
                return
            if head.want != target.carries:
                raise _other(target, head.want)
            protocol = self._protocol(target, await self._private.route(target))
        except Refused as error:
            self.log.info(
                "agent {name!r} at {peer} cannot connect to {tunnel!r}: {error}", **who, error=error
            )
            self.transport.write(ConnectAnswer.refusing(error).encode())
            self.transport.loseConnection()
            return
        self.log.info("agent {name!r} at {peer} connects to the private tunnel {tunnel}", **who)
        self.transport.write(ConnectAnswer("OK", "").encode())
        rest, self._data = self._data, b""
        self._private.joined(protocol)
        self.transport.become(protocol, rest)
        if not isinstance(protocol, PipeEnd):  # which reads when it is joined
            self.transport.resumeProducing()

    def _protocol(self, target: Target, route: IRoute) -> Any:
        """
        What serves the visitor: as on a port, where the kind has ports, since the kind may be more than a
        pipe. @raise Refused: the kind, which is anybody's code, fails.
        """
        peer = self._session.peer
        address = peer if isinstance(peer, IPv4Address | IPv6Address) else _UNKNOWN
        where = visitor_address(address.host, address.port)
        if target.kind.reach is Reach.HOST:
            protocol: Any = _Joined(route, where)
        else:
            self.transport.getPeer = lambda: address  # a kind may ask for a visitor's address, as of a socket
            try:
                factory: Any = target.kind.visitor_factory(target)
                if target.carries == DATAGRAMS:
                    protocol = StreamVisitor(self._session.clock, factory, (address.host, address.port))
                else:
                    protocol = factory.buildProtocol(address)
            except Exception as error:
                self.log.failure("the plugin for tunnels of kind {kind} failed", kind=target.kind.name)
                raise Unavailable("the server's plugin for such tunnels failed: its log says why") from error
            if protocol is None:  # as by --allow and --deny
                raise NotAllowed(f"the tunnel {target.name} takes no connections from this agent's address")
        traffic = self._private.traffic
        if traffic.listening:
            record = Record(target.kind.name, target.name, where, SCHEME)
            watch(traffic, record, protocol)
            traffic.begun(record)
        return protocol

    def _failed(self, reason: Failure) -> None:
        if not reason.check(CancelledError):
            self.log.failure("an agent's connection to a private tunnel failed", reason)
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The agent ended the stream before it was joined."""
        cancel(self._head_timeout)
        if self._finding is not None:
            self._finding.cancel()


def _other(target: Target, want: str) -> BadOption:
    """The refusal of a connection that wants what the tunnel does not carry."""
    name = target.name
    if want not in (BYTES, DATAGRAMS):
        return BadOption("the server is of an older release, which knows no such connections: replace it")
    if target.carries == DATAGRAMS:
        return BadOption(
            f"{name} carries datagrams, and no connections: write `burrow connect {name} --listen PORT`, "
            "which opens a UDP port"
        )
    return BadOption(f"{name} carries connections, and no datagrams: start `burrow connect {name}` again")


class _Joined(PipeEnd):
    """A visitor's stream, joined to one to a tunnel of a kind without ports. @ivar tunnel: its route."""

    def __init__(self, route: IRoute, visitor: str) -> None:
        self.tunnel = route
        self._visitor = visitor

    def connectionMade(self) -> None:
        """Open the other stream."""
        super().connectionMade()
        end = PipeEnd()
        try:
            self.tunnel.connect(end, self._visitor, SCHEME)
        except StreamGone:
            self.transport.abortConnection()
            return
        self.tunnel.requests += 1
        self.join(end)
