"""
HTTP under the admin API and the dashboard: twisted.web on a visitor's connection, one request at a time.

The edge reads a request's head (L{burrow.server.edge.http1}), finds that it is for the server itself, and
hands the connection over. After the answer the connection goes back to the edge, since its next request may
be for another host: proxies in front send the requests of many visitors on one connection. If the next one
came before the answer, the connection is closed behind the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from zope.interface import implementer

from burrow.http.request_head import RequestHead
from burrow.server.edge.context import Edge
from burrow.server.edge.forwarded import Hop
from burrow.server.edge.pace import Pace
from burrow.sockets import swap_protocol, taken

MAX_BODY = 64 * 1024
"""Bytes of a request's body, at most."""

BODY_TIMEOUT = 30
"""Seconds without a byte in which a request's body has to go on."""

MAX_CAME = 2 * 1024 * 1024
"""Bytes that may come while one request is served, of it and of others behind it."""

CLOSE_WITHIN = 1.0
"""Seconds that a connection has to take its last answer, if more requests came before that."""

FLUSH_WITHIN = 60
"""Seconds that a connection has to take the rest of an answer after which it is closed."""


class AdminRequest(Request):
    """
    A request to the server itself.

    @ivar address: the visitor's address, as far as it can be believed, without a port.
    @ivar secure: whether the visitor came by HTTPS. @ivar host: the host asked for, lower case, without port.
    @ivar authority: the same with the port, as it was written.
    @ivar too_large: whether its body had more than L{MAX_BODY} bytes: it was thrown away.
    """

    channel: Any
    defaultContentType = None

    def __init__(self, channel: Any, queued: Any = None) -> None:
        super().__init__(channel)
        self.address: str = channel.address
        self.secure: bool = channel.scheme == "https"
        self.host: str = channel.head.host
        self.authority: str = channel.head.authority.decode("latin-1")
        self.too_large = False
        self._length = 0
        self._parsePOSTFormSubmission = False  # what is read of a body is the resource's matter

    def isSecure(self) -> bool:
        """See L{Request}: also behind a proxy that is believed."""
        return self.secure

    def getHeader(self, key: Any) -> Any:
        """See L{Request}, which fails at a text that is not UTF-8. What came twice is the last."""
        if isinstance(key, bytes):
            return super().getHeader(key)
        value = super().getHeader(key.encode())
        return None if value is None else value.decode("latin-1")

    def gotLength(self, length: int | None) -> None:
        """See L{Request}. The body stays in memory, since it is short."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """See L{Request}. Of a body that is too large nothing is kept."""
        self._length += len(data)
        if self._length > MAX_BODY:
            self.too_large = True
            self.content = BytesIO()
            self.channel.persistent = False
        else:
            super().handleContentChunk(data)
        if self._length > 16 * MAX_BODY:
            self.channel.give_up()

    @property
    def gone(self) -> bool:
        """Whether whoever asked has left."""
        return self.channel is None or self._disconnected

    @property
    def origin(self) -> str:
        """The origin (RFC 6454) that this request was sent to."""
        return f"{'https' if self.secure else 'http'}://{self.authority}".lower()

    @property
    def foreign(self) -> bool:
        """Whether a browser sent this for a page of another origin, or of none."""
        given: str | None = self.getHeader("origin")
        if given is not None:
            return given.lower() != self.origin
        return self.getHeader("sec-fetch-site") in ("cross-site", "same-site")


@implementer(IHalfCloseableProtocol)
class AdminChannel(HTTPChannel):
    """
    One request, then the connection goes back to the edge.

    @param head: the request's. @param address: the visitor's, and C{scheme}, as far as they can be believed.
    """

    totalHeadersSize = 128 * 1024
    requestFactory: Any = AdminRequest
    timeOut = BODY_TIMEOUT

    def __init__(self, owner: AdminWeb, head: RequestHead, address: str, scheme: str) -> None:
        super().__init__()
        self.site = self.factory = owner.site
        self.callLater = owner.clock.callLater  # type: ignore[method-assign]
        self.address = address
        self.scheme = scheme
        self.head = head
        self._owner = owner
        self._over = self._ended = False
        self._answered: Request | None = None
        self._came = 0
        self._takes = Pace(owner.edge.sweep, owner.edge.rate, self._taken, self._too_slow)
        owner.open.add(self)

    def dataReceived(self, data: bytes) -> None:
        """See L{HTTPChannel}."""
        self._came += len(data)
        if not self._over and self._came <= MAX_CAME:
            super().dataReceived(data)
        elif not self._over:
            self.give_up()  # no request is so long; who sends so many more does not wait for answers

    def pauseProducing(self) -> None:
        """See L{HTTPChannel}: what is written waits for the visitor, which has to take some of it."""
        super().pauseProducing()
        self._stop_reading()
        self._takes.watch()

    def resumeProducing(self) -> None:
        """See L{HTTPChannel}: the visitor has taken everything."""
        super().resumeProducing()
        self._takes.fast_enough()
        answered, self._answered = self._answered, None
        if answered is not None and not self._over:
            self._give_back(answered)

    def _stop_reading(self) -> None:
        """What comes behind this request waits in the kernel."""
        transport: Any = self.transport
        transport.pauseProducing()

    def _taken(self) -> int | None:
        return taken(self.transport) if self._waitingForTransport and not self._over else None

    def _too_slow(self) -> None:
        self._leave()
        transport: Any = self.transport
        transport.abortConnection()

    def give_up(self) -> None:
        """Close the connection, whatever still comes."""
        if not self._over:
            self._leave()
            self.loseConnection()

    def allHeadersReceived(self) -> None:
        """See L{HTTPChannel}. A connection that the edge would close is closed here, too."""
        super().allHeadersReceived()
        if not self.head.keep_alive or self._owner.draining():
            self.persistent = False
            self.requests[-1].responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def requestDone(self, request: Request) -> None:
        """See L{HTTPChannel}: the answer is written."""
        if not self.persistent:
            self._leave()
            super().requestDone(request)
            if self._abortingCall is None:
                # Who does not take the rest does not keep it here.
                self._abortingCall = self.callLater(FLUSH_WITHIN, self.forceAbortClient)
            return
        if self._waitingForTransport:
            self._answered = request  # the connection goes back when the visitor has taken the answer
        else:
            self._give_back(request)

    def _give_back(self, request: Request) -> None:
        """
        The connection goes back to the edge. If more requests came without waiting for this answer, it is
        closed instead, and their sender asks again (RFC 9112 section 9.3.2).
        """
        self.requests.remove(request)
        behind = any(self._dataBuffer) or self.clearLineBuffer()  # behind a body Twisted adds what is empty
        self._leave()
        self.setTimeout(None)
        transport: Any = self.transport
        transport.unregisterProducer()
        if behind:
            transport.loseConnection()
            self._stop_reading()  # TLS would read on, until its peer has closed
            self._abortingCall = self.callLater(CLOSE_WITHIN, self.forceAbortClient)
            return
        protocol: Any = self._owner.back.buildProtocol(transport.getPeer())
        swap_protocol(transport, protocol)
        transport.resumeProducing()
        if self._ended:
            IHalfCloseableProtocol(protocol).readConnectionLost()

    def readConnectionLost(self) -> None:
        """
        See L{IHalfCloseableProtocol}: the asker sends no more, and may still read the answer. One that goes
        on has no end, so there it means that the reader left.
        """
        if self._handlingRequest and not self.requests[0].startedWriting:
            self._ended = True
        else:
            self.give_up()

    def writeConnectionLost(self) -> None:
        """See L{IHalfCloseableProtocol}."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{HTTPChannel}."""
        self._leave()
        super().connectionLost(reason)

    def _leave(self) -> None:
        self._over = True
        self._takes.stop()
        self._owner.open.discard(self)


class AdminWeb:
    """
    Takes connections over from the edge.

    @param root: what is served. @param back: builds what serves a connection after an answer.
    @param edge: where the connections come from. @param scheme: "https" or "http": how visitors come.
    @param draining: returns whether this server goes away.
    @ivar open: the connections that are served now.
    """

    def __init__(
        self,
        clock: Any,
        root: IResource,
        back: IProtocolFactory,
        edge: Edge,
        scheme: str,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self.edge = edge
        self.clock = clock
        self.site = Site(root, reactor=clock)
        self.back = back
        self.open: set[AdminChannel] = set()
        self.draining = draining
        self._scheme = scheme

    def factory(self, head: RequestHead) -> IProtocolFactory:
        """What takes over the connection on which this request came."""
        return _OneRequest(self, head)

    def build(self, head: RequestHead, addr: Any) -> AdminChannel:
        """What serves one request."""
        added = Hop(self.edge.forwarding, addr, self._scheme).added(head.headers, head.authority)
        return AdminChannel(self, head, added.visitor, added.scheme)

    def stop(self) -> None:
        """Close the connections that are served now: the live answers among them have no end of their own."""
        for channel in list(self.open):
            channel.loseConnection()


class _OneRequest(Factory):
    noisy = False

    def __init__(self, owner: AdminWeb, head: RequestHead) -> None:
        self._owner = owner
        self._head = head

    def buildProtocol(self, addr: Any) -> AdminChannel:
        return self._owner.build(self._head, addr)
