"""The stream to a tunnel that a visitor's connection keeps for its next request."""

from __future__ import annotations

from burrow.http.remembered import Remembered
from burrow.http.response_head import ResponseHead
from burrow.server.edge.flow import Answering, Reading
from burrow.server.edge.responses import Responses
from burrow.server.edge.sweep import Sweep
from burrow.server.route import IRoute
from burrow.wire.windows import Allowance

LEAVE_WITHIN = 60.0
"""Seconds that an upstream has for the request of a visitor that is gone, until it is reset."""


class KeptStream:
    """
    One stream at a time. It is fed by what is read of the visitor, and feeds what the visitor is sent.

    @param remembered: the heads of answers that came before.
    @param allowance: what its window has in common with those of others of the same connection.
    @ivar responses: the edge's end of the stream; None without one.
    """

    def __init__(
        self,
        sweep: Sweep,
        reading: Reading,
        answers: Answering,
        remembered: Remembered[ResponseHead] | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        self._allowance = allowance
        self._remembered = remembered
        self.responses: Responses | None = None
        self._route: IRoute | None = None
        self._part = b""
        self._sweep = sweep
        self._reading = reading
        self._answers = answers

    @property
    def route(self) -> IRoute | None:
        """The route that the stream is to; None without a stream."""
        return None if self.responses is None else self._route

    def to(self, route: IRoute, address: tuple[str, str]) -> Responses:
        """
        The stream, if it is to this route and another request may be sent on it; else a new one in its place.

        @param address: the visitor's address, C{host:port}, and scheme.
        @raise StreamGone: none can be opened.
        """
        responses = self.responses
        if responses is None or not responses.usable or self._route is not route:
            self.drop()
            responses = Responses(self.forget, self._remembered)
            route.connect(responses, *address, self._allowance)
            self.responses, self._route = responses, route
            self._answers.stream = responses.transport
            responses.transport.registerProducer(self._reading, True)
        return responses

    def use_part(self, part: bytes) -> None:
        """See L{IConnection<burrow.server.edge.connection.IConnection>}."""
        if part != self._part:
            self._part = part
            self.drop()

    def drop(self, *, left: bool = False) -> None:
        """Give the stream up. C{left}: because the visitor is gone: see L{Responses.detach}."""
        responses = self.responses
        if responses is not None:
            self.responses = self._answers.stream = None
            responses.detach(left=left)
            if left and responses.transport.connected:
                self._sweep.add(responses, LEAVE_WITHIN)
            self._reading.resumeProducing()

    def forget(self) -> None:
        """The stream is gone, or another protocol's."""
        self.responses = self._answers.stream = None
        self._reading.resumeProducing()
