"""The border between a session and whatever carries its bytes."""

from __future__ import annotations

from enum import IntEnum

from twisted.internet.address import IPv4Address
from zope.interface import Interface

UNKNOWN_PEER = IPv4Address("TCP", "0.0.0.0", 0)
"""The peer of a session that had no connection yet, or one without an address, as in tests."""


class CloseCode(IntEnum):
    """
    Why a carrier is closed: the code of a WebSocket's close frame (RFC 6455 section 7.4). What is ours begins
    at 4000, which section 7.4.2 leaves to applications.

    REVOKED: the agent's token was revoked. PROTOCOL_ERROR: the peer broke yamux, or what is on it.
    UNSUPPORTED: the peer sent a text message. RESTART: the server restarts or stops.
    """

    NORMAL = 1000
    REVOKED = 4001
    PROTOCOL_ERROR = 4002
    UNSUPPORTED = 4003
    RESTART = 4012


class ICarrier(Interface):
    """
    One connection that carries a session's bytes, in order, for a while.

    It calls the session back: C{carrier_received(data)} for what comes in (bytes, or a memoryview that is not
    to be kept), C{carrier_drained()} when it takes more after a C{send} that returned False,
    C{carrier_lost(reason)} once.
    """

    def send(data: bytes, header: bytes = b"") -> bool:
        """
        Send whole frames.

        @param header: what goes before them in the same message, of a carrier that outlives this one.
        @return: whether the carrier takes more at once; otherwise C{carrier_drained} follows.
        """

    def close(reason: str, code: int) -> None:
        """Flush, send a L{CloseCode}, and close; C{carrier_lost} follows."""

    def abort() -> None:
        """Close at once, dropping what is unsent; C{carrier_lost} follows."""
