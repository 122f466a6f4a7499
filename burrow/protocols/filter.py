"""On the agent: changes what passes between a visitor and the upstream, for kinds that understand it."""

from __future__ import annotations

from collections.abc import Callable

from burrow.mux.pipe import PipeEnd
from burrow.protocols.connecting import Connector
from burrow.protocols.forward import Forward
from burrow.protocols.upstream import Upstream, UpstreamFailed


class Filter:
    """
    What becomes of one connection's bytes. A subclass overrides one method or both.

    A method gets the bytes as they come, cut anywhere, and returns what is passed on in their place, at once.
    What it keeps for later it has to bound. Who reads too slowly pauses the other side: nothing else waits
    here. An exception is logged, and resets the connection.
    """

    def from_visitor(self, data: bytes) -> bytes:
        """What the upstream gets in the place of C{data}."""
        return data

    def from_upstream(self, data: bytes) -> bytes:
        """What the visitor gets in the place of C{data}."""
        return data


class Filtered(Forward):
    """A L{Forward} whose bytes pass through a L{Filter}. @param kind: its tunnel's, for the log."""

    def __init__(
        self,
        connector: Connector,
        upstream: Upstream,
        refuse: Callable[[Forward, UpstreamFailed], None],
        filter: Filter,
        kind: str,
    ) -> None:
        super().__init__(connector, upstream, refuse)
        self._filter = filter
        self._kind = kind

    def join(self, other: PipeEnd) -> None:
        """See L{PipeEnd}."""
        # Set on this one object: a pipe without a filter pays nothing for there being filters.
        other.dataReceived = self._from_upstream  # type: ignore[method-assign]
        super().join(other)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the visitor's."""
        self._pass(self._filter.from_visitor, data, self.other)

    def _from_upstream(self, data: bytes) -> None:
        if self.other is not None:
            self._pass(self._filter.from_upstream, data, self)

    def _pass(self, change: Callable[[bytes], bytes], data: bytes, to: PipeEnd | None) -> None:
        if to is None:
            return
        try:
            changed = change(data)
        except Exception:
            self.log.failure(
                "the plugin for tunnels of kind {kind} failed; a visitor's connection is reset",
                kind=self._kind,
            )
            self._break()
            return
        if changed:
            to.transport.write(changed)

    def _break(self) -> None:
        upstream = self.other
        self.transport.abortConnection()
        if upstream is not None:
            upstream.transport.abortConnection()
