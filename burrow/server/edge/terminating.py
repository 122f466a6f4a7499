"""
Connections to names of kind tls whose TLS ends here (C{--terminate}): the tunnel gets the plain bytes, from
the end of the handshake on, so that who does not complete one costs no stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.server.edge.sweep import Sweep
from burrow.sockets import swap_protocol


def agreed(wanted: Sequence[str], offered: Sequence[bytes]) -> list[bytes] | None:
    """
    What ALPN may choose (RFC 7301 section 3.2): one protocol, or none where one side speaks of none. None if
    both name some, and have none in common.

    @param wanted: C{--alpn}, the preferred first. @param offered: by the visitor.
    """
    if not wanted or not offered:
        return []
    chosen = [name.encode() for name in wanted if name.encode() in offered][:1]
    return chosen or None


@implementer(IHandshakeListener)
class Handshaking(Protocol):
    """
    Inside TLS until the handshake is done.

    @param within: seconds for that. @param make: called with the connection's
        L{Shown<burrow.server.edge.shown.Shown>}, returns what serves the visitor then; None if it is refused.
    @ivar deadline: see L{burrow.server.edge.sweep.Deadlined}.
    """

    transport: Any

    def __init__(self, sweep: Sweep, within: float, make: Callable[[Any], Any]) -> None:
        self._sweep = sweep
        self._within = within
        self._make = make
        self.deadline: float | None = None

    def connectionMade(self) -> None:
        """Begin the time."""
        self._sweep.add(self, self._within)

    def handshakeCompleted(self) -> None:
        """See L{IHandshakeListener<twisted.internet.interfaces.IHandshakeListener>}."""
        self._sweep.discard(self)
        protocol = self._make(self.transport.shown)
        if protocol is None:
            self.transport.abortConnection()
        else:
            swap_protocol(self.transport, protocol)

    def timed_out(self) -> None:
        """Called by the sweep."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor left, or does not believe the certificate."""
        self._sweep.discard(self)
