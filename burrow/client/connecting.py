"""
Connections to private tunnels of other agents: each is a stream of an agent's session.

The agent keeps no tunnel open. Its session is resumed as any, so that what runs survives a lost connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from burrow.addresses import ListenAddress
from burrow.client.agent import Agent
from burrow.errors import BurrowError, ConfigError, ServerUnreachable, Unavailable, WireError
from burrow.mux.control import QUESTION, ConnectAnswer, ConnectHead, decode_connect_answer
from burrow.mux.pipe import PipeEnd
from burrow.mux.session import Session

MAX_CONNECTIONS = 60
"""Connections at a time: servers take 64 streams from an agent, of which its control channel is one."""

SESSION_WITHIN = 30.0
"""Seconds that a connection waits for a session with the server."""

ANSWER_WITHIN = 60.0
"""Seconds that the server may take to answer: the tunnel's agent may be expected."""

_POLL = 0.05


class Asking(Protocol):
    """
    Our end of a stream that asks for a private tunnel.

    @ivar answered: fires with the server's answer when it has agreed; fails with its refusal, or if the
        stream ends before.
    @ivar closed: fires when the stream has ended: with None, or with a sentence that says how it was broken.
    """

    transport: Any

    def __init__(self, head: ConnectHead) -> None:
        self.answered: Deferred[ConnectAnswer] = Deferred()
        self.closed: Deferred[str | None] = Deferred()
        self._head = head
        self._data = b""

    def connectionMade(self) -> None:
        """Ask for the tunnel."""
        self.transport.write(self._head.encode())

    def dataReceived(self, data: bytes) -> None:
        """The server's answer, and the tunnel's bytes behind it."""
        self._data += data
        if self.answered.called:
            return
        try:
            decoded = decode_connect_answer(self._data)
        except WireError as error:
            self._refused(error)
            return
        if decoded is None:
            return
        answer, rest = decoded
        if (refusal := answer.refusal) is not None:
            self._refused(refusal)
            return
        self._data = b""
        self.agreed(rest)
        self.answered.callback(answer)

    def agreed(self, rest: bytes) -> None:
        """The server has agreed. @param rest: what is behind its answer."""

    def give_up(self) -> None:
        """Nobody wants the tunnel any more."""
        self.transport.abortConnection()

    def _refused(self, error: BurrowError) -> None:
        self.transport.loseConnection()
        if not self.answered.called:
            self.answered.errback(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The stream has ended."""
        if not self.answered.called:
            self.answered.errback(
                Unavailable("the server ended the connection without an answer: is it of an older release?")
            )
        broken = not reason.check(ConnectionDone)
        self.closed.callback("the connection was broken off" if broken else None)


class Remote(Asking, PipeEnd):
    """
    Asks for a tunnel of connections, and is joined to the local end when the server has agreed. If that has a
    method C{agreed}, it is called before.
    """

    def __init__(self, name: str, local: PipeEnd) -> None:
        super().__init__(ConnectHead(name))
        self._local = local

    def dataReceived(self, data: bytes) -> None:
        """The server's answer, then the tunnel's bytes."""
        (Asking if self.other is None else PipeEnd).dataReceived(self, data)

    def agreed(self, rest: bytes) -> None:
        """See L{Asking}."""
        self.transport.pauseProducing()
        agreed = getattr(self._local, "agreed", None)
        if agreed is not None:
            agreed()
        if rest:
            self._local.transport.write(rest)
        self.join(self._local)

    def readConnectionLost(self) -> None:
        """The tunnel's end sends no more; before the server's answer that is the end."""
        if not self.answered.called:
            self.transport.loseConnection()
        super().readConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The stream has ended."""
        PipeEnd.connectionLost(self, reason)
        Asking.connectionLost(self, reason)


class Connector:
    """
    @param agent: has the session with the server; it is started and stopped by who made it.
    @ivar count: connections that are open, or under way.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.reactor = agent.reactor
        self.count = 0

    async def connect(self, name: str, local: PipeEnd) -> Remote:
        """
        Connect to a private tunnel, and join it to C{local}, which is connected. May be cancelled.

        @return: the far end, joined.
        @raise BurrowError: it cannot be; C{local} is still open.
        """
        if self.count >= MAX_CONNECTIONS:
            raise Unavailable(f"{MAX_CONNECTIONS} connections are open, which is the limit")
        remote = Remote(name, local)
        await self.ask(remote)
        return remote

    async def carries(self, name: str) -> str:
        """
        What a tunnel carries: C{BYTES} or C{DATAGRAMS}, of L{burrow.mux.control}. May be cancelled.

        @raise BurrowError: the server does not say, for example since it is not open.
        """
        asking = Asking(ConnectHead(name, QUESTION))
        answer = await self.ask(asking)
        asking.transport.loseConnection()
        return answer.carries

    async def ask(self, asking: Asking) -> ConnectAnswer:
        """Put it on a stream; the server's answer. May be cancelled. @raise BurrowError: there is none."""
        self.count += 1
        try:
            session = await self._session()
            session.open_stream(asking)
        except BaseException:
            self.count -= 1
            raise
        asking.closed.addCallback(self._ended)
        try:
            return await asking.answered.addTimeout(ANSWER_WITHIN, self.reactor)
        except TimeoutError as error:
            asking.give_up()
            raise Unavailable(f"the server did not answer within {ANSWER_WITHIN:g} s") from error
        except BaseException:
            asking.give_up()
            raise

    def _ended(self, broken: str | None) -> str | None:
        self.count -= 1
        return broken

    async def _session(self) -> Session:
        """A session that takes streams, as soon as there is one."""
        reactor = self.reactor
        until = reactor.seconds() + SESSION_WITHIN
        while True:
            linked = self._agent.linked
            if linked is not None and not (linked.session.lost or linked.session.going or linked.leaving):
                return linked.session
            if reactor.seconds() >= until:
                raise ServerUnreachable(f"there is no connection to {self._agent.server}")
            await deferLater(reactor, _POLL)


class Local(PipeEnd):
    """A connection of a program on this machine, to be joined to a tunnel."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening
        self._connecting: Deferred[Any] | None = None

    def connectionMade(self) -> None:
        """Connect to the tunnel."""
        super().connectionMade()
        self.transport.setTcpNoDelay(True)
        listening = self._listening
        self._connecting = Deferred.fromCoroutine(listening.connector.connect(listening.name, self))
        self._connecting.addErrback(self._failed)

    def _failed(self, reason: Failure) -> None:
        if self.transport is not None and self.transport.connected:
            self._listening.failed(reason)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The program has left, perhaps before it was joined."""
        if self._connecting is not None and self.other is None:
            self._connecting.cancel()
        super().connectionLost(reason)


class Listening(Factory):
    """
    Joins each connection of a local port to one tunnel.

    @param failed: called with the failure of a connection that could not be joined.
    """

    noisy = False

    def __init__(self, connector: Connector, name: str, failed: Any) -> None:
        self.connector = connector
        self.name = name
        self.failed = failed

    def buildProtocol(self, addr: Any) -> Local:
        """The protocol of one more connection."""
        return Local(self)


def open_port(listen: Callable[..., Any], address: ListenAddress, what: Any, option: str, **more: Any) -> Any:
    """
    Open a port on this machine.

    @param listen: C{listenTCP} or C{listenUDP} of a reactor. @param option: what the address was given by.
    @raise ConfigError: it is busy.
    """
    try:
        return listen(address.port, what, interface=address.host, **more)
    except CannotListenError as error:
        reason = getattr(error.socketError, "strerror", None) or error.socketError
        raise ConfigError(f"cannot listen on {address}: {reason}; choose another with {option}") from error
