"""
Autobahn's timers, on a reactor that is passed in. Its own are those of the global reactor, where another one
may run, or none, if Burrow is used in a Python program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

DROP_WITHIN = 1.0
"""Seconds that a server has to end the connection after both close frames (RFC 6455 section 7.1.1)."""


class Timers:
    """Stands in for a factory's C{txaio.IBatchedTimer}."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def call_later(self, delay: float, call: Callable[..., object], *arguments: Any) -> Timer:
        """Call something once, C{delay} seconds from now, unless it is cancelled."""
        return Timer(self._reactor.callLater(delay, call, *arguments))


class Timer:
    """One timer, which may be cancelled late."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def cancel(self) -> None:
        """Do not call it. Nothing happens if it was called already."""
        if self._call.active():
            self._call.cancel()


class DropsInTime:
    """Mixed into an Autobahn client's protocol, whose factory has C{serverConnectionDropTimeout} 0."""

    factory: Any
    serverConnectionDropTimeoutCall: Any

    def onCloseFrame(self, code: int | None, reason: bytes | None) -> Any:
        """The server answers our close frame: see L{DROP_WITHIN}. Autobahn stops this timer at the end."""
        ours: Any = self
        closing = ours.state == ours.STATE_CLOSING
        result = super().onCloseFrame(code, reason)  # type: ignore[misc]
        if closing:
            self.serverConnectionDropTimeoutCall = Timers(self.factory.reactor).call_later(
                DROP_WITHIN, ours.onServerConnectionDropTimeout
            )
        return result
