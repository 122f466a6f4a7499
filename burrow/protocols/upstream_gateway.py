"""
An upstream that speaks HTTP/2, as the connection that one of HTTP/1.1 would have been: so whoever connects to
upstreams need not know. What is translated, and how, is in L{burrow.protocols.upstream_http2}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.mux.pipe import PipeEnd
from burrow.protocols.upstream import NotHttp2, UpstreamFailed
from burrow.protocols.upstream_http2 import Translator

MAX_CONTROL = 64 * 1024
"""Bytes of frames without data that an upstream may ask for while its socket takes nothing."""


class _Side:
    """What both sides' transports have. @ivar producer: what brings bytes to this side; None without any."""

    def __init__(self, gateway: Gateway) -> None:
        self.producer: Any = None
        self._paused = False
        self._gateway = gateway
        self._translator = gateway.translator

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """What brings bytes."""
        self.producer = producer

    def unregisterProducer(self) -> None:
        """Nothing brings any."""
        self.producer = None

    def take(self, takes: bool) -> None:
        """Whether bytes are taken now."""
        if takes == self._paused and self.producer is not None:
            self._paused = not takes
            if takes:
                self.producer.resumeProducing()
            else:
                self.producer.pauseProducing()


@implementer(IPushProducer)
class _Front(_Side):
    """The transport of the end that HTTP/1.1 is spoken on."""

    def write(self, data: bytes) -> None:
        """Bytes of a request."""
        self._translator.visitor(data)
        self._gateway.pump()

    def pauseProducing(self) -> None:
        """Answers are not taken now."""
        self._translator.visitor_full(True)

    def resumeProducing(self) -> None:
        """They are."""
        self._translator.visitor_full(False)
        self._gateway.pump()

    def stopProducing(self) -> None:
        """They never are again, which the end's protocol is told."""

    def loseWriteConnection(self) -> None:
        """No more requests come."""
        self._translator.visitor_ended()
        self._gateway.pump()

    def loseConnection(self) -> None:
        """The visitor is gone."""
        self._translator.cancel()
        self._gateway.pump()

    abortConnection = loseConnection


@implementer(IPushProducer)
class _Back(_Side):
    """The transport of the end that is joined with the upstream's connection."""

    def write(self, data: bytes) -> None:
        """Frames of the upstream's."""
        self._gateway.received(data)

    def pauseProducing(self) -> None:
        """The upstream's socket takes no more."""
        self._translator.upstream_full(True)

    def resumeProducing(self) -> None:
        """It takes more."""
        self._translator.upstream_full(False)
        self._gateway.pump()

    def stopProducing(self) -> None:
        """It never does again, which the end's protocol is told."""

    def loseWriteConnection(self) -> None:
        """The upstream has closed its half, or all of its connection."""
        self._gateway.ended()

    loseConnection = abortConnection = loseWriteConnection


class Gateway:
    """
    @param end: the upstream's connection, not joined. @param scheme: see L{Translator}.
    @param again: called when another connection is needed, since the upstream has gone away, and a request is
        there for it; its Deferred may be cancelled. It calls L{use} or L{failed}.
    @ivar front: the end that speaks HTTP/1.1, not joined.
    @ivar settled: fires once the upstream has spoken HTTP/2 on the connection that is used; fails with
        L{NotHttp2}, or with why the connection was lost.
    """

    log = Logger()

    def __init__(self, end: PipeEnd, scheme: str, again: Callable[[Gateway], Deferred[None]]) -> None:
        self.translator = Translator(scheme)
        self.front = PipeEnd()
        self._again = again
        self._dialling: Deferred[None] | None = None
        self._end: PipeEnd | None = None
        self._pumping = self._finished = self._half_closed = False
        self._front = _Front(self)
        self.front.makeConnection(self._front)
        self._use(end)

    def use(self, end: PipeEnd) -> None:
        """Another connection to the upstream, not joined."""
        self.translator.connected_again()
        self._use(end)

    def _use(self, end: PipeEnd) -> None:
        self._end, self._control = end, 0
        self.settled: Deferred[None] = Deferred()
        self._back, side = PipeEnd(), _Back(self)
        self._back_side = side
        self._back.makeConnection(side)
        self._back.join(end)
        self.pump()
        end.joined()

    def failed(self, error: UpstreamFailed) -> None:
        """There is no other connection."""
        self.translator.failed(error)
        self.pump()

    def received(self, data: bytes) -> None:
        """Frames of the upstream's."""
        try:
            self.translator.upstream(data)
        except NotHttp2 as error:
            self._fail(error)
        self.pump()

    def ended(self) -> None:
        """No more comes of it."""
        try:
            self.translator.upstream_ended()
        except NotHttp2 as error:
            self._fail(error)
        self.pump()

    def abort(self) -> None:
        """Give the connection up."""
        self.translator.cancel()
        self.pump()

    def _fail(self, error: NotHttp2) -> None:
        """Who waits for L{settled} ends it."""
        if not self.settled.called:
            self.settled.errback(error)

    def pump(self) -> None:
        """Carry what is to be sent, both ways."""
        if self._pumping or self._finished:
            return
        self._pumping = True
        translator = self.translator
        try:
            while True:
                frames, answer = translator.to_upstream(), translator.take_answer()
                if not frames and not answer:
                    break
                if frames:
                    self._control = self._control + len(frames) if translator.upstream_waits else 0
                    if self._control > MAX_CONTROL:
                        translator.cancel()
                    assert self._end is not None
                    self._end.transport.write(frames)
                if answer:
                    self.front.dataReceived(answer)
        finally:
            self._pumping = False
        if translator.settled and not self.settled.called:
            self.settled.callback(None)
        if translator.half_closed and not self._half_closed:
            self._half_closed = True
            self.front.readConnectionLost()
        if translator.over:
            self._finish()
            return
        if translator.away:
            self._leave()
            if translator.waits and self._dialling is None:
                self._dial()
        self._front.take(translator.takes)
        self._back_side.take(translator.reads)

    def _dial(self) -> None:
        self._dialling = dialling = self._again(self)
        dialling.addBoth(self._dialled)

    def _dialled(self, result: Any) -> None:
        self._dialling = None
        if isinstance(result, Failure) and not self._finished:  # else the visitor has left meanwhile
            self.log.failure("cannot connect to the upstream again; the request is reset", result)
            self.abort()

    def _leave(self) -> None:
        """Leave the upstream's connection."""
        end, self._end = self._end, None
        if end is not None:
            end.other = self._back.other = None
            self._back_side.take(True)  # to see the end
            self._back_side.producer = None
            end.transport.unregisterProducer()
            end.transport.loseConnection()

    def _finish(self) -> None:
        self._finished = True
        self._leave()
        if self._dialling is not None:
            self._dialling.cancel()
        cleanly = self.translator.over == "closed"
        self.front.connectionLost(Failure(ConnectionDone() if cleanly else ConnectionLost()))
