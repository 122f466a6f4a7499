"""The border between a session and whatever carries its bytes."""

from __future__ import annotations

from zope.interface import Interface


class ICarrier(Interface):
    """
    One connection that carries a session's bytes, in order, for a while.

    It calls the session back: C{carrier_received(data)} for what comes in, C{carrier_paused()} when
    its socket has bytes waiting, C{carrier_drained()} when it has none, C{carrier_lost(reason)} once.
    """

    def send(data: bytes) -> None:
        """Send whole frames. May call C{carrier_paused} before it returns."""

    def close(reason: str, code: int) -> None:
        """Flush, say good-bye with a WebSocket close code, and close; C{carrier_lost} follows."""

    def abort() -> None:
        """Close at once, dropping what is unsent; C{carrier_lost} follows."""
