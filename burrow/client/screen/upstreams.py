"""
Whether something listens on each upstream, for a warning on the screen.

An upstream is asked by a connection that is closed at once: when its tunnel is first open, and after a
visitor met an error; then, only while nothing listens there, every few seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from burrow.protocols.connecting import Connector
from burrow.protocols.upstream import Upstream, UpstreamFailed, UpstreamTLS

FIRST, LATER = 1.0, 5.0
"""Seconds between two questions while nothing listens: at first, and at most."""

_WARNED = ("refused", "timeout", "unknown-host")


class Upstreams:
    """
    Asks the upstreams.

    @param changed: called when there is a warning more or less.
    @ivar warnings: a sentence for each upstream on which nothing listens.
    """

    log = Logger()

    def __init__(self, reactor: Any, changed: Callable[[], None]) -> None:
        self._reactor = reactor
        self._changed = changed
        self._asking: dict[Upstream, Deferred[None]] = {}
        self.warnings: dict[Upstream, str] = {}

    def ask(self, upstream: object) -> None:
        """Ask whether something listens, unless that is being asked. UDP has no connections to ask by."""
        if isinstance(upstream, Upstream) and upstream.scheme != "udp" and upstream not in self._asking:
            asking = self._asking[upstream] = Deferred.fromCoroutine(self._ask(upstream))
            asking.addErrback(self._failed)

    def stop(self) -> None:
        """Ask no more."""
        for asking in list(self._asking.values()):
            asking.cancel()

    async def _ask(self, upstream: Upstream) -> None:
        # Without TLS: whether the certificate is believed is not the question.
        scheme = "tcp" if upstream.scheme != "unix" else "unix"
        connector = Connector(self._reactor, replace(upstream, scheme=scheme, tls=UpstreamTLS(), http2=False))
        delay = FIRST
        try:
            await deferLater(self._reactor, 0)  # the caller has to know of it first
            while True:
                warning = ""
                try:
                    end = await connector.connect()
                    end.transport.loseConnection()
                except UpstreamFailed as error:
                    if error.code in _WARNED:
                        warning = str(error)
                if warning != self.warnings.get(upstream, ""):
                    self.warnings[upstream] = warning
                    self._changed()
                if not warning:
                    return
                await deferLater(self._reactor, delay)
                delay = min(delay * 1.5, LATER)
        finally:
            self._asking.pop(upstream, None)

    def _failed(self, reason: Any) -> None:
        if not reason.check(CancelledError):
            self.log.failure("cannot tell whether something listens on an upstream", reason)
