"""
One WebSocket as the carrier of a session.

Backpressure: after each message the session sends no more until the socket has taken it all, so
what waits in the process is one pull of the session's, and what waits in the kernel little more than
TCP_NOTSENT_LOWAT. A small stream's bytes go out next, whatever a bulk stream has queued.
"""

from __future__ import annotations

import socket
from typing import Any

from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.link import MAX_MESSAGE
from burrow.mux.interfaces import ICarrier
from burrow.mux.session import Session

NOTSENT_LOWAT = 16 * 1024
"""Bytes unsent in the kernel below which the socket counts as writable again."""

CLOSE_NORMAL, CLOSE_PROTOCOL, CLOSE_UNSUPPORTED, CLOSE_RESTART = 1000, 1002, 1003, 1012
"""WebSocket close codes (RFC 6455 section 7.4.1; 1012 from the IANA registry: service restart)."""

PROTOCOL_OPTIONS = {
    "maxFramePayloadSize": MAX_MESSAGE,
    "maxMessagePayloadSize": MAX_MESSAGE,
    "autoFragmentSize": 0,
    "tcpNoDelay": True,
    "openHandshakeTimeout": 10,
    "closeHandshakeTimeout": 1,
    "utf8validateIncoming": False,
}
"""What both roles set on their Autobahn factories: no fragments, no Nagle, bounded messages."""


def lowest_transport(transport: Any) -> Any:
    """The transport that owns the socket, under whatever TLS there is."""
    while getattr(transport, "transport", None) is not None:
        transport = transport.transport
    return transport


def keep_kernel_queue_short(transport: Any) -> None:
    """Ask the kernel to report room only when little is unsent, where it can be asked (Linux, macOS)."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    handle = getattr(lowest_transport(transport), "socket", None)
    if option is not None and handle is not None:
        try:
            handle.setsockopt(socket.IPPROTO_TCP, option, NOTSENT_LOWAT)
        except OSError:
            return  # a socket of another family: it only loses the shorter queue


@implementer(ICarrier, IPushProducer)
class CarrierProtocol:
    """What the agent's and the server's WebSocket protocols share: mixed into Autobahn's classes."""

    session: Session | None = None
    _always_pauses = False

    # -- what Autobahn gives and calls ----------------------------------------------------------

    transport: Any
    state: int
    sendMessage: Any
    sendClose: Any

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """A message of the peer's."""
        if not isBinary:
            self.sendClose(CLOSE_UNSUPPORTED, "binary messages only")
        elif self.session is not None:
            self.session.carrier_received(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The WebSocket is gone, whoever closed it."""
        session, self.session = self.session, None
        if session is not None:
            error = ConnectionDone(reason or "closed") if wasClean else ConnectionLost(reason or "lost")
            session.carrier_lost(Failure(error))

    # -- for our two roles ------------------------------------------------------------------------

    def begin(self, session: Session) -> None:
        """Carry C{session} from now on."""
        self.session = session
        keep_kernel_queue_short(self.transport)
        lowest = lowest_transport(self.transport)
        if hasattr(lowest, "bufferSize"):
            # The transport pauses its producer when more than this waits in it: at every write.
            lowest.bufferSize = 0
            self._always_pauses = True
        self.transport.registerProducer(self, True)
        session.attach(self)

    # -- ICarrier -----------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send whole frames as one binary message."""
        if self.state != WebSocketProtocol.STATE_OPEN:
            return  # closing: onClose follows
        self.sendMessage(data, True)
        if self._always_pauses and self.session is not None:
            # TLS gathers writes until the end of the reactor turn and pauses us only then.
            self.session.carrier_paused()

    def close(self, reason: str) -> None:
        """Say good-bye; Autobahn drops the connection if the peer does not within a second."""
        self.sendClose(CLOSE_NORMAL, reason[:100])

    def abort(self) -> None:
        """Drop the connection at once."""
        self.transport.abortConnection()

    # -- IPushProducer: the socket asks us to wait or to go on ----------------------------------------

    def pauseProducing(self) -> None:
        """The socket has bytes waiting."""
        if self.session is not None:
            self.session.carrier_paused()

    def resumeProducing(self) -> None:
        """The socket took everything."""
        if self.session is not None:
            self.session.carrier_drained()

    def stopProducing(self) -> None:
        """The connection is lost; onClose follows."""
