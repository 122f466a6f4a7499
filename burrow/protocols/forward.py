"""On the agent: joins a visitor's stream to a connection to the upstream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.mux.pipe import PipeEnd
from burrow.protocols.connecting import Connector
from burrow.protocols.upstream import Upstream, UpstreamFailed


class Connectors:
    """
    The L{Connector} of each upstream, by reactor. There are at most as many as the agent has tunnels, since
    all are forgotten when those change.
    """

    _known: WeakKeyDictionary[object, dict[Upstream, Connector]] = WeakKeyDictionary()

    @classmethod
    def get(cls, reactor: object, upstream: Upstream) -> Connector:
        """The connector of an upstream, made when it is first asked for."""
        known = cls._known.setdefault(reactor, {})
        if upstream not in known:
            known[upstream] = Connector(reactor, upstream)
        return known[upstream]

    @classmethod
    def use(cls, reactor: object, upstream: Upstream, connector: Any) -> None:
        """Have an upstream connected to by another object than a L{Connector}: for tests."""
        cls._known.setdefault(reactor, {})[upstream] = connector

    @classmethod
    def forget(cls, reactor: object) -> None:
        """Forget all of a reactor's: they are made anew, from files that may have changed."""
        cls._known.pop(reactor, None)


class Forward(PipeEnd):
    """
    The stream's end of the pipe. The stream is not read until the upstream is connected.

    @param refuse: called with this end and the error when the upstream cannot be connected to: it tells the
        server, in the way of the tunnel's kind, and ends the stream.
    @ivar first: what the upstream is sent before the visitor's bytes.
    @ivar refused: why the upstream could not be connected to, in words that a visitor may read; or empty.
    """

    first = b""
    refused = ""

    log = Logger()

    def __init__(
        self, connector: Connector, upstream: Upstream, refuse: Callable[[Forward, UpstreamFailed], None]
    ) -> None:
        self._connector = connector
        self._upstream = upstream
        self._refuse = refuse
        self._connecting: Deferred[None] | None = None

    def connectionMade(self) -> None:
        """A visitor came: connect to the upstream."""
        end = self._connector.connect_now(self)
        if end is not None:
            self._connected(end)
            return
        self.transport.pauseProducing()
        self._connecting = Deferred.fromCoroutine(self._connect())
        self._connecting.addErrback(self._failed)

    async def _connect(self) -> None:
        try:
            end = await self._connector.connect()
        except UpstreamFailed as error:
            if not error.told:
                self.log.warn("{upstream}: {error}", upstream=str(self._upstream), error=error)
            self.refused = error.public
            self._refuse(self, error)
            return
        finally:
            self._connecting = None
        self._connected(end)

    def _connected(self, end: PipeEnd) -> None:
        if self._upstream.scheme != "unix" and hasattr(end.transport, "setTcpNoDelay"):
            end.transport.setTcpNoDelay(True)
        if self.first:
            end.transport.write(self.first)
        self.join(end)
        end.joined()

    def _failed(self, reason: Failure) -> None:
        if not reason.check(CancelledError, ConnectingCancelledError):  # else the visitor left meanwhile
            self.log.failure("forwarding to {upstream} failed", reason, upstream=str(self._upstream))
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor left, perhaps before the upstream was connected."""
        if self._connecting is not None:
            self._connecting.cancel()
        super().connectionLost(reason)
