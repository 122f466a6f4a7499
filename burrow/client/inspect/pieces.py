"""A long answer written piece by piece, so that the reactor does other work between two of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer
from zope.interface import implementer

from burrow.clock import cancel


@implementer(IPushProducer)
class Pieces:
    """
    Writes one piece in each turn of the reactor, while who asked reads them.

    @param request: an L{InspectorRequest<burrow.client.inspect.web.InspectorRequest>} whose answer's head is
        set. @param pieces: made when they are written.
    """

    def __init__(self, reactor: Any, request: Any, pieces: Iterator[bytes]) -> None:
        self._reactor = reactor
        self._request = request
        self._pieces = pieces
        self._next: IDelayedCall | None = None

    def start(self) -> None:
        """Write the first piece."""
        self._request.registerProducer(self, True)
        self._request.notifyFinish().addErrback(lambda reason: self.stopProducing())
        self._write()

    def _write(self) -> None:
        self._next = self._reactor.callLater(0, self._write)
        try:
            piece = next(self._pieces)
        except StopIteration:
            self.pauseProducing()
            self._request.unregisterProducer()
            self._request.finish()
        else:
            self._request.write(piece)  # may pause

    def pauseProducing(self) -> None:
        """Who asked does not read."""
        call, self._next = self._next, None
        cancel(call)

    def resumeProducing(self) -> None:
        """It reads again."""
        if self._next is None:
            self._next = self._reactor.callLater(0, self._write)

    def stopProducing(self) -> None:
        """It is gone."""
        self.pauseProducing()
