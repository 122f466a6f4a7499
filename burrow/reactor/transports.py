"""
TCP transports that send at the end of the reactor's turn. Twisted's own ask epoll to say when the socket
takes something, which costs two more system calls and a turn for each write; here epoll is asked only when
the kernel did not take everything, or where room has to be waited for.
"""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet import tcp
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST

_NOT_NOW = (errno.EWOULDBLOCK, errno.ENOBUFS, errno.EINTR)


class TurnTransport(tcp.Connection):
    """
    What the two transports share. All writes of a turn go out together, with one system call, and no write
    calls anybody, save a push producer that is to pause.
    """

    reactor: Any
    _queued = False
    """Whether this turn sends for it."""

    _armed = False
    """Whether epoll tells when the socket takes more."""

    _was_reset = False
    """Whether the kernel has told, when something was to be sent, that the connection is broken."""

    def write(self, data: bytes) -> None:
        """See L{twisted.internet.interfaces.ITransport}. The plain case costs none of Twisted's calls."""
        if self.TLS or type(data) is not bytes or self.producer is not None:
            super().write(data)
        elif data and self.connected and not self._writeDisconnected:
            self._tempDataBuffer.append(data)
            self._tempDataLen += len(data)
            self.startWriting()

    def startWriting(self) -> None:
        """Have L{send} called at the end of this turn; while it connects, have epoll tell when it has."""
        if not self.connected:
            self._arm()
        elif not (self._queued or self._armed):
            self._queued = True
            self.reactor.send_at_turn_end(self)

    def stopWriting(self) -> None:
        """Nothing is left to send."""
        if self._armed:
            self._armed = False
            super().stopWriting()

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            super().startWriting()

    def send(self) -> Any:
        """
        Send what waits, as far as the kernel takes it. Called by the reactor.

        @return: why the connection is to be closed; None if it is not.
        """
        self._queued = False
        if not self.connected or self._aborting or self._armed:
            return None
        if self._tempDataLen and not self.dataBuffer:
            buffer = self._tempDataBuffer
            data = buffer[0] if len(buffer) == 1 else b"".join(buffer)
            # If it never takes anything again, epoll tells, and what has come is read before that counts.
            sent = self._try_to_send(data) or 0
            self._tempDataBuffer = []
            self._tempDataLen = 0
            if sent < len(data):
                self.dataBuffer = data
                self.offset = sent
        if self.dataBuffer or self._waits_for_room():
            self._arm()
        elif self.producerPaused or self.disconnecting or self._writeDisconnecting:
            return self.doWrite()  # with nothing to send: it does what is to be done then
        return None

    def _try_to_send(self, data: bytes) -> int | None:
        """
        Send some of C{data}.

        @return: how much; None if the connection is broken. The kernel tells a reset once, here, and then an
            end of what is read, as if the peer had closed.
        """
        most = self.SEND_LIMIT
        try:
            return self.socket.send(data if len(data) <= most else memoryview(data)[:most])
        except OSError as error:
            if error.errno in _NOT_NOW:
                return 0
            self._was_reset = self._was_reset or error.errno != errno.EPIPE
            return None

    def writeSomeData(self, data: bytes) -> Any:
        """See L{tcp.Connection}. Sending nothing asks the kernel nothing: what has come is read first."""
        sent = self._try_to_send(data) if data else 0
        return CONNECTION_LOST if sent is None else sent

    def doWrite(self) -> Any:
        """The socket takes more. A pull producer is asked without the system call of sending nothing."""
        if self._tempDataLen or self.dataBuffer or not self._waits_for_room():
            return super().doWrite()
        self.stopWriting()
        self.producer.resumeProducing()  # type: ignore[union-attr]
        return None

    def _waits_for_room(self) -> bool:
        """
        Whether a pull producer is registered. It is asked for more once the socket is writable, that is, once
        less than TCP_NOTSENT_LOWAT waits in the kernel.
        """
        return self.producer is not None and not self.streamingProducer

    def doRead(self) -> Any:
        """Read once. See L{twisted.internet.interfaces.IReadDescriptor}."""
        try:
            data = self.socket.recv(self.bufferSize)
        except OSError as error:
            return None if error.errno in _NOT_NOW else CONNECTION_LOST
        if not data:
            return CONNECTION_LOST if self._was_reset else CONNECTION_DONE
        self.protocol.dataReceived(data)
        return None


class Server(TurnTransport, tcp.Server):
    """A connection that was accepted, or adopted."""

    def __init__(self, sock: Any, *arguments: Any) -> None:
        super().__init__(sock, *arguments)
        self.setTcpNoDelay(True)  # else what a turn sends may wait for the ACK of the turn before


class Client(TurnTransport, tcp.Client):
    """A connection that was dialled."""

    def _connectDone(self) -> None:
        self.setTcpNoDelay(True)
        super()._connectDone()


class Port(tcp.Port):
    """Accepts L{Server}s."""

    transport = Server  # type: ignore[assignment]


class Connector(tcp.Connector):
    """Dials a L{Client}."""

    def _makeTransport(self) -> Client:
        return Client(self.host, self.port, self.bindAddress, self, self.reactor)
