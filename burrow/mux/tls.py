"""
TLS whose two directions close one after the other, as a socket's do.

Twisted's own TLS ends both when the peer closes one. Here C{readConnectionLost} of a protocol that is an
L{IHalfCloseableProtocol} is called for the peer's close_notify (RFC 8446 section 6.1), or for a FIN without
one, and the protocol may go on writing. For any other protocol nothing changes.

A server's session tickets (RFC 8446 section 4.6.1) wait for the first bytes that follow them. A client that
sends its request and closes without having read them would reset the connection (RFC 1122 section
4.2.2.13), and what its own system had not sent yet would be lost. Since nothing of ours then carries the
acknowledgement of its Finished, that is sent by itself, if no request came with it: a client without
TCP_NODELAY holds its request back until it comes (RFC 9293 section 3.7.4), and the system delays it by 40 ms.

The other direction needs no change: after C{loseConnection} Twisted's TLS sends close_notify behind what is
written, and delivers what still comes until the peer closes, too.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.protocols.tls import BufferingTLSTransport
from zope.interface import implementer

from burrow.mux.openssl import DirectConnection
from burrow.sockets import acknowledge_now


class HalfClosingTLS(BufferingTLSTransport):
    """
    One TLS connection. Its factory's creator must make L{HalfClosingConnection}s.

    @ivar socket_ended: whether the peer's FIN has come.
    """

    transport: Any
    socket_ended = False
    _read_told = False

    def __conform__(self, interface: Any) -> Any:
        """The socket asks so whether its protocol, which is this, outlives a FIN: if the one inside does."""
        if interface is IHalfCloseableProtocol and self._half_closeable() is not None:
            return _SocketEnd(self)
        return None

    def _half_closeable(self) -> Any:
        return IHalfCloseableProtocol(self.wrappedProtocol, None)

    def read_ended(self) -> bool:
        """
        The peer has closed its direction.

        @return: whether the protocol inside goes on; if not, close the connection.
        """
        inside = self._half_closeable()
        if self.disconnecting or inside is None:
            return False
        if not self._read_told:
            self._read_told = True
            inside.readConnectionLost()
        return True

    def read_socket_ended(self) -> None:
        """The peer's FIN."""
        self.socket_ended = True
        # Not while our close_notify still waits for what is to be written before it.
        if not self.read_ended() and self.getHandle().get_shutdown() & SSL.SENT_SHUTDOWN:
            self.transport.loseConnection()


class HalfClosingConnection(DirectConnection):
    """
    The state of one TLS connection, for a L{HalfClosingTLS}.

    @param tls: the protocol that asks it.
    """

    _owes_acknowledgement = False
    """Whether the handshake's end is not acknowledged, and nothing of the visitor's has come behind it."""

    def __init__(self, context: SSL.Context, tls: HalfClosingTLS) -> None:
        super().__init__(context, None)
        self._tls = tls

    def do_handshake(self) -> None:
        """
        Shake hands. In TLS 1.3 only session tickets remain to be sent once that is done; while they wait, two
        methods of this object are replaced.
        """
        super().do_handshake()
        if self.get_protocol_version_name() == "TLSv1.3":
            self.bio_read = self._bio_read_while_tickets_wait  # type: ignore[method-assign]
            self.send = self._send_after_tickets  # type: ignore[method-assign]
            self._owes_acknowledgement = True

    def _bio_read_while_tickets_wait(self, bufsiz: int) -> bytes:
        raise SSL.WantReadError

    def _send_after_tickets(self, buf: Any, flags: int = 0) -> int:
        self._let_tickets_go()
        return super().send(buf, flags)

    def _let_tickets_go(self) -> None:
        """Give the methods of the class back: what waits is sent with what comes next."""
        self.__dict__.pop("bio_read", None)
        self.__dict__.pop("send", None)

    def release_buffers(self) -> None:
        """See L{DirectConnection}. Behind the peer's FIN the buffers stay: the first of them knows of it."""
        if not self._tls.socket_ended:
            super().release_buffers()

    def recv(self, bufsiz: int, flags: int | None = None) -> bytes:
        """
        Decrypted bytes. A close_notify that the protocol outlives raises C{WantReadError}, as if more might
        come.
        """
        try:
            received = super().recv(bufsiz, flags)
            self._owes_acknowledgement = False  # the answer carries it
            return received
        except SSL.WantReadError:
            if self._owes_acknowledgement:
                self._owes_acknowledgement = False
                acknowledge_now(self._tls.transport)
            raise
        except SSL.ZeroReturnError:
            self._let_tickets_go()
            if not self._tls.read_ended():
                raise
        except SSL.Error:
            self._let_tickets_go()  # there may be an alert
            if not self._tls.socket_ended:
                raise
        raise SSL.WantReadError

    def shutdown(self) -> bool:
        """Send close_notify. @return: whether nothing more can come, so that the socket may be closed."""
        self._let_tickets_go()
        return super().shutdown() or self._tls.socket_ended


def release_buffers(transport: Any) -> None:
    """See L{HalfClosingConnection.release_buffers}. Without TLS there is nothing to do."""
    connection = transport.getHandle() if isinstance(transport, HalfClosingTLS) else None
    if connection is not None:
        connection.release_buffers()


@implementer(IHalfCloseableProtocol)
class _SocketEnd:
    """Receives the socket's half-close events."""

    def __init__(self, tls: HalfClosingTLS) -> None:
        self._tls = tls

    def readConnectionLost(self) -> None:
        self._tls.read_socket_ended()

    def writeConnectionLost(self) -> None:
        """We never close this half alone."""
