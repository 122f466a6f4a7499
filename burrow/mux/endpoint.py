"""Streams as Twisted endpoints: C{connect} opens one, C{listen} takes those that the peer opens."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from zope.interface import implementer

from burrow.errors import StreamGone
from burrow.mux.session import Session
from burrow.mux.stream import StreamAddress


@implementer(IStreamClientEndpoint)
class StreamClientEndpoint:
    """Opens a stream for each C{connect}."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Fires at once with the protocol, whose stream is open. Fails with L{ConnectError} if the session
        takes no more streams, and with what C{buildProtocol} raised.
        """
        protocolFactory.doStart()
        try:
            protocol = protocolFactory.buildProtocol(StreamAddress(self._session.peer, 0))
            if protocol is None:
                raise ConnectError(string="the factory built no protocol")
            self._session.open_stream(protocol)
        except Exception as error:
            protocolFactory.doStop()
            return fail(ConnectError(string=str(error)) if isinstance(error, StreamGone) else error)
        return succeed(protocol)


@implementer(IListeningPort)
class _StreamPort:
    def __init__(self, session: Session, factory: IProtocolFactory) -> None:
        self._session = session
        self._factory = factory

    def startListening(self) -> None:
        self._factory.doStart()
        self._session.listen(self._factory)

    def stopListening(self) -> Deferred[None] | None:
        if self._session.factory is self._factory:
            self._session.stop_listening()
            self._factory.doStop()
        return None

    def getHost(self) -> IAddress:
        return StreamAddress(self._session.peer, 0)


@implementer(IStreamServerEndpoint)
class StreamServerEndpoint:
    """Takes the streams that the peer of a session opens. One factory at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        Fires with the port. Its C{stopListening} leaves the open streams alone. Fails with
        L{CannotListenError} if the session has a factory already.
        """
        if self._session.factory is not None:
            return fail(CannotListenError(self._session, 0, OSError("the session has a factory already")))
        port = _StreamPort(self._session, protocolFactory)
        port.startListening()
        return succeed(port)
