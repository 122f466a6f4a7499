"""
Watches the requests of a visitor's stream, one after the other, as the edge writes them.

The edge writes each head anew, with X-Request-Id as its last field: heads of one stream mostly differ in that
alone, and are read once (L{burrow.http.remembered}). Anything that cannot be read ends the watching of the
stream; a request that is under way is told to have ended then.
"""

from __future__ import annotations

from collections import deque

from burrow.http.body import Body, ChunkedBody, LengthBody, UntilCloseBody
from burrow.http.failure import FAILURE_HEADER
from burrow.http.headers import Fields
from burrow.http.remembered import Memory, Remembered
from burrow.http.request_head import RequestHead, RequestReader
from burrow.http.response_head import ResponseHead, ResponseReader
from burrow.observe.events import EventStreamReader
from burrow.observe.observer import BROKEN, LEFT, Observer
from burrow.observe.upgraded import UpgradedObserver
from burrow.traffic.hub import Traffic
from burrow.traffic.record import Record

_END = b"\r\n\r\n"
_ID = b"\r\nX-Request-Id: "
_DIGITS = 16
_TAIL = _DIGITS + len(_END)
_FAILURE = FAILURE_HEADER.lower()

MAX_PENDING = 16
"""Requests of one stream that wait for their answers; the edge sends no second one before."""

MAX_EARLY = 8 * 1024
"""Bytes of an answer that came before its request was read: the agent's own, that no upstream is there."""


def _body(head: ResponseHead) -> Body:
    """What finds the end of an answer's body."""
    if head.chunked:
        return ChunkedBody()
    return UntilCloseBody() if head.length is None else LengthBody(head.length)


class _Asked:
    """What a request's head says, as records have it."""

    __slots__ = ("fields", "host", "length", "method", "size", "target", "verb")

    def __init__(self, head: RequestHead) -> None:
        self.verb = head.method
        self.method = head.method.decode("latin-1")
        self.target = head.target.decode("latin-1")
        self.host = head.host
        self.length = head.length
        self.fields: Fields = head.headers.without((b"x-request-id",))
        self.size = head.headers.size


class HttpObserver(Observer):
    """See the module's docstring. @param memory: of all streams of the agent."""

    def __init__(
        self, traffic: Traffic, kind: str, tunnel: str, visitor: str, scheme: str, memory: Memory
    ) -> None:
        super().__init__(traffic, kind, tunnel, visitor, scheme)
        self._known: Remembered[_Asked] = Remembered(memory)
        self._heads: Remembered[ResponseHead] = Remembered(memory)
        self._requests = RequestReader()
        self._responses = ResponseReader(self._heads)
        self._stream_began: Record | None = None
        self._pending: deque[tuple[Record, bytes]] = deque()
        self._asking: Record | None = None
        self._request_body: Body | None = None
        self._response_body: Body | None = None
        self._events: EventStreamReader | None = None
        self._failure: bytearray | None = None
        self._early = b""
        self._upgraded: UpgradedObserver | None = None

    def begun(self) -> None:
        """See L{Observer}. The first request is waiting already, while the upstream is connected to."""
        self._stream_began = Record(self.kind, self.tunnel, self.visitor, self.scheme)

    # -- requests -------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """See L{Observer}."""
        if self._upgraded is not None:
            self._upgraded.received(data)
            return
        while data:
            if self._request_body is None:
                asked, data = self._read_head(data)
                if asked is None:
                    return
                if asked.length != 0:
                    self._request_body = ChunkedBody() if asked.length is None else LengthBody(asked.length)
                if self._early:
                    early, self._early = self._early, b""
                    self.sent(early)
                continue
            payload, data = self._request_body.feed(data)
            if payload and self._asking is not None:
                self._asking.received += len(payload)
                if self.traffic.bodies:
                    self.traffic.body(self._asking, False, payload)
            if self._request_body.done:
                self._request_body = None

    def _read_head(self, data: bytes) -> tuple[_Asked | None, bytes]:
        """Begin the next request's record. @return: what it asks, None for now; what is behind its head."""
        start, rest = b"", b""
        if not self._requests.started:
            end = data.find(_END) + len(_END)
            at = end - _TAIL
            if at > 0 and data.startswith(_ID, at - len(_ID)):
                start, request_id, rest = data[:at], data[at : at + _DIGITS], data[end:]
                known = self._known.known.get(start)
                if known is not None:
                    self._begin(known, request_id)
                    return known, rest
        result = self._requests.feed(data)
        if result is None:
            return None, b""
        head, rest = result
        asked = _Asked(head)
        if start:
            self._known.came(start, asked)
        self._begin(asked, head.headers.value(b"x-request-id"))
        return asked, rest

    def _begin(self, asked: _Asked, request_id: bytes) -> None:
        if len(self._pending) >= MAX_PENDING:
            raise ValueError("more requests than answers")
        record = self._stream_began or Record(self.kind, self.tunnel, self.visitor, self.scheme)
        record.waited = record.now() if self._stream_began is not None else 0.0
        self._stream_began = None
        record.method, record.target, record.host = asked.method, asked.target, asked.host
        record.request_id = request_id.decode("latin-1")
        record.request_headers = (
            [*asked.fields, (b"X-Request-Id", request_id)] if request_id else asked.fields
        )
        record.request_size = asked.size
        self._asking = record
        self._pending.append((record, asked.verb))
        self.traffic.begun(record)

    # -- answers --------------------------------------------------------------------------------------------

    def sent(self, data: bytes) -> None:
        """See L{Observer}."""
        if self._upgraded is not None:
            self._upgraded.sent(data)
            return
        while data:
            if not self._pending:
                self._early += data
                if len(self._early) > MAX_EARLY:
                    raise ValueError("an answer to no request")
                return
            record, verb = self._pending[0]
            body = self._response_body
            if body is None:
                result = self._responses.feed(data, verb)
                if result is None:
                    return
                head, data = result
                if head.status < 200:
                    if head.status != 101:
                        continue
                    self._answered(record, head)
                    self._switch(record, head, data)
                    return
                self._answered(record, head)
                if head.length == len(data):  # all of it, in one piece: as most answers come
                    if data:
                        self._pass(record, data)
                    self._end(record)
                    return
                body = self._response_body = _body(head)
            else:
                payload, data = body.feed(data)
                if payload:
                    self._pass(record, payload)
            if body.done:
                self._end(record)

    def _answered(self, record: Record, head: ResponseHead) -> None:
        """An answer's head has come."""
        record.status, record.reason = head.status, head.reason.decode("latin-1")
        record.response_headers, record.response_size = head.headers.fields, head.headers.size
        if _FAILURE in head.headers:
            self._failure = bytearray()
        elif self.traffic.bodies and head.headers.value(b"content-type").lower().startswith(
            b"text/event-stream"
        ):
            self._events = EventStreamReader()
        self.traffic.answered(record)

    def _pass(self, record: Record, payload: bytes) -> None:
        record.sent += len(payload)
        if self._failure is not None:
            self._failure += payload[: MAX_EARLY - len(self._failure)]
        if self.traffic.bodies:
            self.traffic.body(record, True, payload)
            if self._events is not None:
                for message in self._events.feed(payload):
                    self.traffic.message(record, True, message)

    def _end(self, record: Record, error: str = "") -> None:
        """The answer to the first pending request is over."""
        self._pending.popleft()
        failure, self._failure = self._failure, None
        self._response_body = self._events = None
        if failure is not None:
            error = failure.decode("utf-8", "replace")
        self.traffic.ended(record, error)

    def _switch(self, record: Record, head: ResponseHead, rest: bytes) -> None:
        """Another protocol follows."""
        self._pending.popleft()
        self._upgraded = UpgradedObserver(self.traffic, record, head.headers)
        if rest:
            self._upgraded.sent(rest)

    # -- ends -----------------------------------------------------------------------------------------------

    def upstream_ended(self) -> None:
        """See L{Observer}."""
        if self._upgraded is not None or not self._pending:
            return
        record, _ = self._pending[0]
        if isinstance(self._response_body, UntilCloseBody):
            self._end(record)
        self._end_all("the upstream closed the connection before the end of its answer")

    def broken(self) -> None:
        """See L{Observer}."""
        if self._upgraded is not None:
            self._upgraded.ended(BROKEN)
        self._end_all(BROKEN)

    def lost(self, error: str) -> None:
        """See L{Observer}."""
        if self._upgraded is not None:
            self._upgraded.ended(error)
        self._end_all(LEFT)
        self._known.forget()
        self._heads.forget()

    def stop(self) -> None:
        """See L{Observer}."""
        super().stop()
        self._end_all("the agent cannot read the rest of it")

    def _end_all(self, error: str) -> None:
        while self._pending:
            record, _ = self._pending[0]
            self._end(record, error)
