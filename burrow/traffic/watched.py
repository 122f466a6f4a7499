"""A connection that passes bytes of no request: counted, and its end told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from burrow.traffic.hub import Traffic
from burrow.traffic.record import Record


def watch(traffic: Traffic, record: Record, protocol: Any) -> None:
    """
    Count what a visitor's connection brings and is sent, and tell its end.

    The protocol's own methods are covered by ones that count, for this object alone: a connection that nobody
    watches costs nothing, and one that is watched keeps the interfaces that it provides.

    @param record: was told to have begun. @param protocol: not connected yet.
    """
    received, made, lost = protocol.dataReceived, protocol.makeConnection, protocol.connectionLost

    def data_received(data: bytes) -> None:
        record.received += len(data)
        received(data)

    def make_connection(transport: Any) -> None:
        write, write_all = transport.write, transport.writeSequence

        def count_written(data: bytes) -> None:
            record.sent += len(data)
            write(data)

        def count_all(pieces: Iterable[bytes]) -> None:
            pieces = list(pieces)
            record.sent += sum(map(len, pieces))
            write_all(pieces)

        transport.write, transport.writeSequence = count_written, count_all
        made(transport)

    def connection_lost(reason: Failure = connectionDone) -> None:
        traffic.ended(record, "" if reason.check(ConnectionDone) else "the connection was broken off")
        lost(reason)

    protocol.dataReceived, protocol.makeConnection = data_received, make_connection
    protocol.connectionLost = connection_lost
