"""
Watches one visitor's stream at the agent: what the protocol of the tunnel's kind reads, and what it writes.

The methods of that protocol and of its stream are covered by the observer's, for these two objects alone: a
stream that nobody watches costs nothing more, and what is watched passes at once and as it is, whatever the
observer makes of it. A stream is watched if somebody listened when it began.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.traffic.hub import Traffic
from burrow.traffic.record import Record

BROKEN = "the connection to the upstream failed or was reset"
LEFT = "the visitor left"


class Observer:
    """
    The base of all observers. A subclass overrides the section "what is seen".

    @param tunnel: the tunnel's name. @param visitor: the visitor's address, C{host:port}, and C{scheme}.
    """

    log = Logger()

    def __init__(self, traffic: Traffic, kind: str, tunnel: str, visitor: str, scheme: str) -> None:
        self.traffic = traffic
        self.kind, self.tunnel, self.visitor, self.scheme = kind, tunnel, visitor, scheme
        self._watching = True

    def cover(self, protocol: Any, transport: Any) -> None:
        """
        Begin to watch.

        @param protocol: of the tunnel's kind, not connected yet. @param transport: the visitor's stream.
        """
        self.protocol = protocol
        self._data_received = protocol.dataReceived
        self._connection_lost = protocol.connectionLost
        self._write = transport.write
        protocol.dataReceived = self._on_data
        protocol.connectionLost = self._on_lost
        transport.write = self._on_write
        for name in ("loseConnection", "loseWriteConnection"):
            setattr(transport, name, self._before(self.upstream_ended, getattr(transport, name)))
        for name in ("abortConnection", "breakConnection"):
            setattr(transport, name, self._before(self.broken, getattr(transport, name)))
        self._see(self.begun)

    def _before(self, seen: Callable[[], None], call: Callable[[], None]) -> Callable[[], None]:
        def covered() -> None:
            self._see(seen)
            call()

        return covered

    def _on_data(self, data: bytes) -> None:
        """Bytes from the visitor. They are looked at first: the answer may come before this returns."""
        if self._watching:
            self._see(self.received, data)
        self._data_received(data)

    def _on_write(self, data: bytes) -> None:
        """Bytes to the visitor."""
        self._write(data)
        if self._watching:
            self._see(self.sent, data)

    def _on_lost(self, reason: Failure = connectionDone) -> None:
        self._see(self.lost, "" if reason.check(ConnectionDone) else LEFT)
        self._connection_lost(reason)

    def _see(self, seen: Callable[..., None], *arguments: Any) -> None:
        """What an observer cannot read ends its watching, and nothing else."""
        try:
            seen(*arguments)
        except Exception as error:
            self.log.debug(
                "a stream of {tunnel} is watched no more: {error}", tunnel=self.tunnel, error=error
            )
            self.stop()

    def stop(self) -> None:
        """Watch no more of this stream."""
        self._watching = False

    # -- what is seen ---------------------------------------------------------------------------------------

    def begun(self) -> None:
        """The stream began."""

    def received(self, data: bytes) -> None:
        """The protocol is about to read this, which the visitor sent."""

    def sent(self, data: bytes) -> None:
        """The protocol wrote this to the visitor."""

    def upstream_ended(self) -> None:
        """The protocol closes the stream, or its half of it: the upstream closed its connection, or half."""

    def broken(self) -> None:
        """The protocol resets the stream."""

    def lost(self, error: str) -> None:
        """The stream is closed. @param error: empty for a clean end."""


class ConnectionObserver(Observer):
    """
    One record for the whole connection: the kind "tcp", and any that does not bring an observer of its own.
    """

    def begun(self) -> None:
        """See L{Observer}."""
        self._record = Record(self.kind, self.tunnel, self.visitor, self.scheme)
        self.traffic.begun(self._record)

    def received(self, data: bytes) -> None:
        """See L{Observer}. The first byte is read once the upstream is connected."""
        record = self._record
        if record.waited is None:
            record.waited = record.now()
        record.received += len(data)
        if self.traffic.bodies:
            self.traffic.body(record, False, data)

    def sent(self, data: bytes) -> None:
        """See L{Observer}."""
        record = self._record
        if record.first_byte is None:
            record.first_byte = record.now()
            if record.waited is None:  # the upstream speaks first
                record.waited = record.first_byte
        record.sent += len(data)
        if self.traffic.bodies:
            self.traffic.body(record, True, data)

    def broken(self) -> None:
        """See L{Observer}."""
        self.traffic.ended(self._record, getattr(self.protocol, "refused", "") or BROKEN)

    def lost(self, error: str) -> None:
        """See L{Observer}."""
        self.traffic.ended(self._record, error)
