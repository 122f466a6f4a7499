"""This program's standard input and output as one connection, for L{burrow.client.connecting}."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure

from burrow.mux.pipe import PipeEnd


class StandardEnd(PipeEnd):
    """
    Standard input and output, to be joined to a tunnel.

    @ivar done: fires when all is written, or nobody reads what is written any more.
    """

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()

    def writeConnectionLost(self) -> None:
        """All is written after the tunnel's end; or whoever read standard output has left."""
        if self.other is not None and not self.other.ended:
            self.other.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Both are closed."""
        super().connectionLost(reason)
        if not self.done.called:
            self.done.callback(None)


class Standard(StandardIO):
    """Twisted's, which tells no end if the two halves are closed one after the other."""

    def loseConnection(self) -> None:
        """See L{ITransport<twisted.internet.interfaces.ITransport>}."""
        this: Any = self
        super().loseConnection()
        if this._writer is None and not this.disconnected:
            this.connectionLost(Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        """What is written already goes out: that it is not the whole, the exit code tells."""
        self.loseConnection()


def connect_standard(reactor: Any, end: StandardEnd) -> Standard:
    """Put an end on standard input and output."""
    return Standard(end, reactor=reactor)


class Blocking:
    """
    Keeps whether standard files block, which who started this program may share, and Twisted changes.
    """

    def __init__(self) -> None:
        self._were: dict[int, bool] = {}
        for number in (0, 1, 2):
            with contextlib.suppress(OSError):
                self._were[number] = os.get_blocking(number)

    def restore(self) -> None:
        """Make them as they were."""
        for number, blocking in self._were.items():
            with contextlib.suppress(OSError):
                os.set_blocking(number, blocking)
