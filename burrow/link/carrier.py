"""
One WebSocket as the carrier of a session.

Backpressure: after each message the session sends no more until the socket has taken it all, so
what waits in the process is one pull of the session's, and what waits in the kernel little more than
TCP_NOTSENT_LOWAT. A small stream's bytes go out next, whatever a bulk stream has queued.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPullProducer, ITCPTransport
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.link import MAX_MESSAGE
from burrow.link.messages import BinaryMessages
from burrow.mux.interfaces import CloseCode, ICarrier
from burrow.mux.lifeline import Lifeline
from burrow.mux.session import Session
from burrow.sockets import lowest_transport, read_large

NOTSENT_LOWAT = 16 * 1024
"""Bytes unsent in the kernel below which the socket counts as writable again."""

PROTOCOL_OPTIONS = {
    "maxFramePayloadSize": MAX_MESSAGE,
    "maxMessagePayloadSize": MAX_MESSAGE,
    "autoFragmentSize": 0,
    "openHandshakeTimeout": 10,
    "closeHandshakeTimeout": 1,
    "utf8validateIncoming": False,
    "failByDrop": False,
}
"""
What both roles set on their Autobahn factories: no fragments, bounded messages, and a close frame for a peer
that breaks the WebSocket protocol.
"""


def keep_kernel_queue_short(transport: Any) -> None:
    """Have the kernel report room only when little is unsent, where it has the option (Linux, macOS)."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    transport = lowest_transport(transport)
    handle = getattr(transport, "socket", None)
    if option is not None and handle is not None:
        try:
            handle.setsockopt(socket.IPPROTO_TCP, option, NOTSENT_LOWAT)
        except OSError:
            return  # a socket of another family, whose queue stays longer
        if sys.platform == "linux":
            transport.room_below = NOTSENT_LOWAT


_autobahn = Logger("autobahn")  # one that is a class's attribute would have the class's name


class _LibraryLog:
    """
    Autobahn's log, of which only errors are kept. Lower levels contain whole handshakes, tokens included,
    and its warnings are about connections that are dropped, which are logged elsewhere, as errors of TLS are.
    """

    def debug(self, *args: object, **kwargs: object) -> None:
        """Drop the line."""

    info = trace = warn = debug

    def error(self, text: str, **kwargs: Any) -> None:
        """An error of the library's."""
        if not text.startswith("SSL error"):
            _autobahn.error("{text}", text=text.format(**kwargs))

    warning = failure = error


@implementer(ICarrier, IPullProducer)
class CarrierProtocol(BinaryMessages):
    """
    One WebSocket as a carrier: mixed into Autobahn's protocol classes, on the agent and on the server.

    @ivar user: the session or lifeline that it carries; None before and after.
    """

    log: Any = _LibraryLog()
    _socket: Any = None
    _waiting = False
    _ponging = False
    _next_pong: bytes | None = None

    # -- what Autobahn has and calls ------------------------------------------------------------

    sendClose: Any
    sendPong: Any
    closeHandshakeTimeoutCall: Any

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Bytes for the socket, without Autobahn's debug line. C{sync} and C{chopsize} are not used here."""
        self.transport.write(data)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """A message of the peer's that Autobahn read: see L{BinaryMessages}."""
        if not isBinary:
            self.close("binary messages only", CloseCode.UNSUPPORTED)
        elif self.user is not None:
            self.user.carrier_received(payload)

    def onPing(self, payload: bytes) -> None:
        """
        A ping of the peer's. While the socket has not taken the last pong, only the newest ping is kept, and
        answered after it (RFC 6455 section 5.5.3), so that a peer which does not read makes no queue of
        pongs.
        """
        if self._ponging:
            self._next_pong = payload
        else:
            self._ponging = True
            self.sendPong(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The WebSocket is closed, by either side."""
        if self.closeHandshakeTimeoutCall is not None:  # Autobahn forgets it, as after a second breach
            self.closeHandshakeTimeoutCall.cancel()
            self.closeHandshakeTimeoutCall = None
        user, self.user = self.user, None
        if user is not None:
            error = ConnectionDone(reason or "closed") if wasClean else ConnectionLost(reason or "lost")
            user.carrier_lost(Failure(error))

    # -- for the agent's and the server's class ---------------------------------------------------

    def carry(self, user: Session | Lifeline, peer_received: int = 0) -> None:
        """
        Carry a session from now on.

        @param user: the session, or its lifeline if it has one.
        @param peer_received: how many bytes of the lifeline's the peer has.
        @raise WireError: the lifeline cannot go on from there.
        """
        self.user = user
        keep_kernel_queue_short(self.transport)
        # A pull producer of the socket's own transport, under TLS: asked whenever the socket took everything.
        self._socket = lowest_transport(self.transport)
        self.zero_mask = isinstance(self.transport, TLSMemoryBIOProtocol)
        if ITCPTransport.providedBy(self._socket):
            self._socket.setTcpNoDelay(True)  # Autobahn's own option does not reach an agent's socket
        read_large(self._socket)
        self._socket.registerProducer(self, False)
        if isinstance(user, Lifeline):
            before = user.attach_carrier(self, peer_received, self.transport.getPeer())
            if isinstance(before, CarrierProtocol):
                before.user = None
                before.abort()
        else:
            user.attach(self, self.transport.getPeer())

    # -- ICarrier -----------------------------------------------------------------------------------

    def send(self, data: bytes, header: bytes = b"") -> bool:
        """
        Send whole frames behind C{header} as one binary message; the socket asks for more once it has taken
        them.
        """
        if self.state != WebSocketProtocol.STATE_OPEN:
            return True  # closing: what is sent is dropped, and onClose follows
        self.send_message(data, header)
        self._waiting = True
        return False

    def close(self, reason: str, code: int) -> None:
        """Send a close frame; Autobahn drops the connection if the peer does not answer within a second."""
        self.sendClose(int(code), reason)  # as much of it as the frame takes (RFC 6455 section 5.5)

    def abort(self) -> None:
        """Drop the connection at once."""
        self.transport.abortConnection()

    # -- IPullProducer: the socket asks for more ------------------------------------------------------

    def resumeProducing(self) -> None:
        """The socket took everything; or TLS closes it, since the peer has closed TLS."""
        if getattr(self._socket, "disconnecting", False):
            self._socket.unregisterProducer()  # it waits for that before it closes
            return
        if self._ponging:
            self._ponging = False
            payload, self._next_pong = self._next_pong, None
            if payload is not None:
                self.onPing(payload)
        if self._waiting and self.user is not None:
            self._waiting = False
            self.user.carrier_drained()

    def stopProducing(self) -> None:
        """The connection is lost; onClose follows."""
