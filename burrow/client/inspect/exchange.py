"""One request that the inspector sends to an upstream, and its answer."""

from __future__ import annotations

from typing import Any

import httptools
from twisted.internet.defer import CancelledError, Deferred

from burrow.client.inspect.changed import Outgoing
from burrow.clock import cancel
from burrow.mux.pipe import PipeEnd
from burrow.protocols.connecting import Connector
from burrow.protocols.upstream import UpstreamFailed
from burrow.traffic.hub import Traffic
from burrow.traffic.record import Record

MAX_SECONDS = 300.0
"""Seconds that an exchange may take. An event stream has no end of its own."""

MAX_BYTES = 256 * 1024 * 1024
"""Bytes of an answer that are read, at most."""


class _Near:
    """
    The near end's transport in the pipe to the upstream: hands what comes from there to the exchange.

    It has of a transport what L{burrow.mux.pipe} calls.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def write(self, data: bytes) -> None:
        """Bytes from the upstream."""
        self._exchange.received(data)

    def loseWriteConnection(self) -> None:
        """The upstream has closed its half."""
        self._exchange.closed("")

    def loseConnection(self) -> None:
        """The connection to the upstream is closed."""
        self._exchange.closed("")

    def abortConnection(self) -> None:
        """The connection to the upstream was reset."""
        self._exchange.closed("the upstream reset the connection")

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """What comes is never more than can be taken."""

    def unregisterProducer(self) -> None:
        """See L{registerProducer}."""

    def stopProducing(self) -> None:
        """The connection to the upstream is lost: the end of the pipe says so, too."""

    def pauseProducing(self) -> None:
        """There is nothing to send but the request."""

    def resumeProducing(self) -> None:
        """See L{pauseProducing}."""


class Exchange:
    """
    Sends a request, reads its answer, and tells both as a record.

    @param record: of this request, not yet begun.
    @ivar done: fires with None when it is over, however it ended.
    """

    def __init__(
        self, reactor: Any, connector: Connector, traffic: Traffic, record: Record, request: Outgoing
    ) -> None:
        self._reactor = reactor
        self._connector = connector
        self._traffic = traffic
        self._record = record
        self._request = request
        self._end: PipeEnd | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._read = 0
        self._has_length = False
        self.done: Deferred[None] = Deferred()
        self._timer: Any = None

    async def run(self) -> None:
        """Do it. Never fails: what goes wrong is the record's error."""
        record, request = self._record, self._request
        self._traffic.begun(record)
        if request.body:
            record.received = len(request.body)
            self._traffic.body(record, False, request.body)
        self._timer = self._reactor.callLater(
            MAX_SECONDS, self._over, f"it took longer than {MAX_SECONDS:.0f} s"
        )
        try:
            end = self._connector.connect_now() or await self._connector.connect()
        except UpstreamFailed as error:
            self._over(str(error).rstrip("."))
            return
        except CancelledError:
            self._over("it was cancelled")
            return
        if record.ended:
            end.transport.abortConnection()
            return
        record.waited = record.now()
        near = PipeEnd()
        near.makeConnection(_Near(self))
        self._end = end
        near.join(end)
        end.transport.write(request.head() + request.body)
        end.joined()

    def stop(self) -> None:
        """End it now."""
        self._over("the agent stopped")

    def received(self, data: bytes) -> None:
        """Bytes from the upstream."""
        if self._record.ended:
            return
        self._read += len(data)
        if self._read > MAX_BYTES:
            self._over(f"the answer is larger than {MAX_BYTES // 2**20} MiB")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._over("the upstream switched to another protocol")
        except httptools.HttpParserError as error:
            if not self._record.ended:
                self._over(f"the answer is no HTTP: {error}")

    def closed(self, why: str) -> None:
        """The upstream has nothing more to say."""
        if self._record.status is None:
            self._over(why or "the upstream closed the connection without an answer")
        else:
            self._over(why or ("the answer is not whole" if self._has_length else ""))

    def _over(self, error: str) -> None:
        cancel(self._timer)
        self._traffic.ended(self._record, error)
        end, self._end = self._end, None
        if end is not None:
            # Not at once: this may be called in the middle of the end's own work.
            self._reactor.callLater(0, end.transport.abortConnection)
        if not self.done.called:
            self.done.callback(None)

    # -- called by the parser ------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """An answer begins, perhaps after an interim one."""
        self._reason = b""
        self._fields: list[tuple[bytes, bytes]] = []

    def on_status(self, reason: bytes) -> None:
        """A part of the reason."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or one of a trailer."""
        if self._record.status is None:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """The head has come."""
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            return
        record = self._record
        record.status, record.reason = status, self._reason.decode("latin-1")
        record.response_headers = self._fields
        names = {name.lower() for name, _ in self._fields}
        self._has_length = bool(names & {b"content-length", b"transfer-encoding"})
        self._traffic.answered(record)
        if record.method == "HEAD" or status in (204, 304):
            self._over("")

    def on_body(self, data: bytes) -> None:
        """Bytes of the answer's body."""
        if not self._record.ended:
            self._record.sent += len(data)
            self._traffic.body(self._record, True, bytes(data))

    def on_message_complete(self) -> None:
        """The answer is whole, unless it is an interim one."""
        if self._record.status is not None:
            self._over("")
