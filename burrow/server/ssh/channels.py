"""The channels of an SSH connection (RFC 4254): visitors' to the client, and the client's terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.connection import MSG_GLOBAL_REQUEST, MSG_REQUEST_FAILURE, SSHConnection
from twisted.conch.ssh.forwarding import packOpen_forwarded_tcpip
from twisted.internet.error import ConnectionAborted
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from burrow.errors import WireError
from burrow.mux.control import VisitorHead, decode_visitor_head
from burrow.mux.pipe import PipeEnd
from burrow.protocols.http import answer_failure
from burrow.protocols.upstream import UpstreamFailed
from burrow.wire.windows import INITIAL_WINDOW

WINDOW = 256 * 1024
"""Bytes of one visitor that are sent and not taken by the client, at most."""

SSH_AWAY = UpstreamFailed("refused", "the ssh client could not connect to the service")


class DebugLog(Logger):
    """Conch tells much that nobody needs, of each visitor: all of it at the level debug."""

    def emit(self, level: Any, format: str | None = None, **kwargs: Any) -> None:
        """See L{Logger}."""
        super().emit(LogLevel.debug, format, **kwargs)


QUIET: Any = DebugLog("burrow.server.ssh")


class FlowingConnection(SSHConnection):
    """
    Lets a client send no more on a channel whose reader is paused; and answers later what takes a while, as
    opening a tunnel.
    """

    _log = QUIET

    def ssh_GLOBAL_REQUEST(self, packet: bytes) -> None:
        """RFC 4254 section 4. Conch's own answers at once."""
        transport: Any = self.transport
        kind, rest = getNS(packet)
        wants_reply, data = rest[:1] != b"\0", rest[1:]

        def reply(answer: int, more: bytes) -> None:
            if wants_reply:
                transport.sendPacket(answer, more)

        if kind == b"tcpip-forward":
            transport.avatar.forward(data, reply)
        else:
            reply(MSG_REQUEST_FAILURE, b"")

    def ask_for_life(self) -> None:
        """
        Ask something that every client answers, mostly by a refusal (RFC 4254 section 4). OpenSSH's servers
        ask the same.
        """
        transport: Any = self.transport
        transport.sendPacket(MSG_GLOBAL_REQUEST, NS(b"keepalive@openssh.com") + b"\1")

    def ssh_REQUEST_SUCCESS(self, packet: bytes) -> None:
        """
        An answer, or what a client says unasked. That it came is all there is to know. Conch's own keeps a
        Deferred for each question, and fails where there was none.
        """

    ssh_REQUEST_FAILURE = ssh_REQUEST_SUCCESS

    def adjustWindow(self, channel: Any, bytesToAdd: int) -> None:
        """Conch's own returns what was received at once."""
        if not getattr(channel, "paused", False):
            super().adjustWindow(channel, bytesToAdd)


class _ChannelTransport:
    """A channel as a transport, for L{PipeEnd}."""

    disconnecting = False

    def __init__(self, channel: Forwarded) -> None:
        self._channel = channel
        self._producer: Any = None
        self._full = self._half = False

    @property
    def connected(self) -> bool:
        """Whether the channel is open."""
        return not self._channel.localClosed

    def write(self, data: bytes) -> None:
        """Send it, as far as the client's window goes; the rest waits, and the producer is paused."""
        if self.connected and not self.disconnecting:
            self._channel.write(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See L{IConsumer<twisted.internet.interfaces.IConsumer>}."""
        self._producer = producer
        if self._full:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """See L{IConsumer<twisted.internet.interfaces.IConsumer>}."""
        self._producer = None

    def full(self) -> None:
        """The client's window is used up."""
        self._full = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def flushed(self) -> None:
        """All that waited is sent."""
        self._full = False
        if self._half:
            self._half = False
            self._channel.conn.sendEOF(self._channel)
        if self._producer is not None:
            self._producer.resumeProducing()

    def pauseProducing(self) -> None:
        """Let the client send no more than what its window still allows."""
        self._channel.paused = True

    def resumeProducing(self) -> None:
        """Let the client send."""
        channel = self._channel
        channel.paused = False
        used = channel.localWindowSize - channel.localWindowLeft
        if used > channel.localWindowSize // 2 and self.connected:
            channel.conn.adjustWindow(channel, used)

    def stopProducing(self) -> None:
        """See L{IPushProducer<twisted.internet.interfaces.IPushProducer>}."""
        self.loseConnection()

    def loseWriteConnection(self) -> None:
        """Send EOF behind what waits."""
        if self._full:
            self._half = True
        elif self.connected:
            self._channel.conn.sendEOF(self._channel)

    def loseConnection(self) -> None:
        """Close the channel behind what waits."""
        if self.connected:
            self.disconnecting = True
            self._channel.loseConnection()

    def abortConnection(self) -> None:
        """Close the channel at once."""
        self._channel.buf = b""
        self.loseConnection()


class Forwarded(SSHChannel):
    """A visitor's channel to the client. @param visitor: the end of its stream."""

    name = b"forwarded-tcpip"
    conn: Any
    _log = QUIET
    paused = False

    def __init__(self, visitor: Visitor, conn: Any) -> None:
        super().__init__(conn=conn)
        self._visitor = visitor
        self._end: PipeEnd | None = None
        self._transport = _ChannelTransport(self)

    def channelOpen(self, specificData: bytes) -> None:
        """The client has connected to the service, or will."""
        self.remoteWindowLeft = min(self.remoteWindowLeft, WINDOW)  # bounds the socket's buffer
        if self._visitor.lost:
            self.loseConnection()
            return
        end = self._end = PipeEnd()
        transport: Any = self._transport
        end.makeConnection(transport)
        if self._visitor.early:
            self._transport.write(self._visitor.early)
        self._visitor.join(end)

    def openFailed(self, reason: Any) -> None:
        """The client could not connect to the service."""
        self._visitor.fail()

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the service's."""
        if self._end is not None:
            self._end.dataReceived(data)

    def eofReceived(self) -> None:
        """The service sends no more."""
        if self._end is not None:
            self._end.readConnectionLost()

    def closed(self) -> None:
        """Both sides have closed it."""
        end, self._end = self._end, None
        if end is not None:
            broken = not (end.ended or self._transport.disconnecting)
            end.connectionLost(Failure(ConnectionAborted()) if broken else connectionDone)

    def stopWriting(self) -> None:
        """See L{SSHChannel}."""
        self._transport.full()

    def addWindowBytes(self, data: int) -> None:
        """The client took some."""
        super().addWindowBytes(data)
        if self._transport._full and not self.buf and not self.localClosed:
            self._transport.flushed()


class Visitor(PipeEnd):
    """
    A visitor's stream: reads its head, and opens a channel for it.

    @param open_channel: called with this and the L{VisitorHead}; opens the channel, or returns False.
    @ivar early: what came behind the head before the channel was open. @ivar lost: whether it is gone.
    """

    log = Logger()
    lost = False

    def __init__(self, open_channel: Callable[[Visitor, VisitorHead], bool]) -> None:
        self._open_channel = open_channel
        self._head: VisitorHead | None = None
        self.early = b""

    def connectionMade(self) -> None:
        """The head comes first."""

    def dataReceived(self, data: bytes) -> None:
        """Some of the head, or of what follows."""
        if self.other is not None:
            super().dataReceived(data)
            return
        self.early += data
        if self._head is not None:
            return
        try:
            decoded = decode_visitor_head(self.early)
        except WireError:
            self.transport.abortConnection()
            return
        if decoded is not None:
            self._head, self.early = decoded
            if self._head.window < INITIAL_WINDOW:
                self.transport.limit(self._head.window)
            self.transport.pauseProducing()
            if not self._open_channel(self, self._head):
                self.fail()

    def fail(self) -> None:
        """Nobody serves it."""
        if self.lost or self._head is None:
            return
        if self._head.scheme.startswith("http"):
            answer_failure(self, SSH_AWAY)
        else:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor left."""
        self.lost = True
        super().connectionLost(reason)


def channel_for(visitor: Visitor, head: VisitorHead, listening: tuple[str, int], conn: Any) -> None:
    """
    Open a channel to the client for a visitor.

    @param listening: the address and port that the client asked to have forwarded (RFC 4254 section 7.2).
    """
    host, _, port = head.visitor.rpartition(":")
    conn.openChannel(
        Forwarded(visitor, conn), packOpen_forwarded_tcpip(listening, (host.strip("[]"), int(port or 0)))
    )


class Terminal(SSHChannel):
    """
    What a client without -N opens: it shows what there is to say, and ends the connection at Ctrl-C.
    """

    name = b"session"
    _log = QUIET

    def channelOpen(self, specificData: bytes) -> None:
        """Nothing is said before the client asks for a shell."""

    def request_pty_req(self, data: bytes) -> int:
        """Any terminal will do."""
        return 1

    def request_env(self, data: bytes) -> int:
        """The client's environment is of no use."""
        return 0

    def request_window_change(self, data: bytes) -> int:
        """Lines are short."""
        return 1

    def request_shell(self, data: bytes) -> int:
        """Say what was said so far, and what comes."""
        avatar: Any = self.avatar
        avatar.shown_on(self)
        return 1

    request_exec = request_shell

    def say(self, text: str) -> None:
        """One line."""
        self.write(text.encode() + b"\r\n")

    def dataReceived(self, data: bytes) -> None:
        """Keys."""
        if b"\3" in data or b"\4" in data:
            self._leave()

    def eofReceived(self) -> None:
        """Its standard input is at its end, as with < /dev/null: no reason to leave."""

    def closed(self) -> None:
        """See L{SSHChannel}."""

    def _leave(self) -> None:
        connection: Any = self.conn
        connection.transport.end("the ssh client left")
