"""Watches a stream after a 101: counts its bytes, and reads WebSocket messages if somebody wants them."""

from __future__ import annotations

from burrow.http.headers import Headers
from burrow.observe.websocket import MessageReader, context_takeover
from burrow.traffic.hub import Traffic
from burrow.traffic.record import Record


class UpgradedObserver:
    """
    @param record: of the request that was answered by 101.
    @param headers: those of that answer, which negotiate extensions.
    """

    def __init__(self, traffic: Traffic, record: Record, headers: Headers) -> None:
        self._traffic = traffic
        self._record = record
        websocket = b"websocket" in headers.tokens(b"upgrade")
        record.protocol = "websocket" if websocket else "upgraded"
        self._readers: list[MessageReader | None] = [None, None]
        if websocket and traffic.bodies:
            both = context_takeover(headers.get(b"sec-websocket-extensions", ()))
            self._readers = [MessageReader(takeover) for takeover in both]

    def received(self, data: bytes) -> None:
        """Bytes of the visitor's."""
        self._record.received += len(data)
        self._read(False, data)

    def sent(self, data: bytes) -> None:
        """Bytes of the upstream's."""
        self._record.sent += len(data)
        self._read(True, data)

    def ended(self, error: str) -> None:
        """The connection is over."""
        self._traffic.ended(self._record, error)

    def _read(self, outbound: bool, data: bytes) -> None:
        reader = self._readers[outbound]
        if reader is not None:
            for message in reader.feed(data):
                self._traffic.message(self._record, outbound, message)
        elif self._traffic.bodies and self._record.protocol == "upgraded":
            self._traffic.body(self._record, outbound, data)
