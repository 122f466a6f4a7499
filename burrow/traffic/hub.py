"""
Where requests and connections are told to those who listen: screen, inspector, log, API, metrics.

One L{Traffic} is at the edge of each server process, and one in each agent. Who makes a record tests
C{traffic.listening} first: while nobody listens, that test is all that a request costs. A record begun while
somebody listened is told to its end.
"""

from __future__ import annotations

from twisted.logger import Logger

from burrow.traffic.record import Message, Record


class Listener:
    """
    Who is told. A subclass overrides what it wants. All calls are made on the reactor thread, in the middle
    of a request: they have to be short, and must not write to the request's transports.

    @cvar bodies: whether L{body} and L{message} are to be called.
    @ivar tunnels: the names of the tunnels that it wants to be told of; None: of all. It may be told of
        others, too. After a change L{Traffic.changed} has to be called.
    """

    bodies = False
    tunnels: frozenset[str] | None = None

    def begun(self, record: Record) -> None:
        """A request's head, or a connection, has come."""

    def answered(self, record: Record) -> None:
        """The head of its final answer has come, or of a 101. Not called for what is not HTTP."""

    def ended(self, record: Record) -> None:
        """It is over. Called once for each that was begun."""

    def body(self, record: Record, outbound: bool, data: bytes) -> None:
        """
        Bytes of a body, without their framing, as they pass.

        @param outbound: whether they go to the visitor. @param data: not empty.
        """

    def message(self, record: Record, outbound: bool, message: Message) -> None:
        """A WebSocket message, or an event of an event stream."""


class Traffic:
    """
    @ivar listening: whether anybody listens.
    @ivar bodies: whether anybody wants bodies and messages.
    @ivar tunnels: the names of the tunnels that somebody wants to be told of; None: of all.
    """

    log = Logger()

    def __init__(self) -> None:
        self.listening = False
        self.bodies = False
        self.tunnels: frozenset[str] | None = None
        self._listeners: tuple[Listener, ...] = ()

    def add(self, listener: Listener) -> None:
        """Tell C{listener} of all that begins from now on, and of what goes on of what began before."""
        self._changed((*self._listeners, listener))

    def remove(self, listener: Listener) -> None:
        """Tell C{listener} nothing more. Nothing happens if it does not listen."""
        self._changed(tuple(each for each in self._listeners if each is not listener))

    def _changed(self, listeners: tuple[Listener, ...]) -> None:
        self._listeners = listeners
        self.listening = bool(listeners)
        self.bodies = any(each.bodies for each in listeners)
        wanted = [each.tunnels for each in listeners]
        self.tunnels = frozenset().union(*(names for names in wanted if names is not None))
        if None in wanted:
            self.tunnels = None

    def changed(self) -> None:
        """What a listener wants has changed."""
        self._changed(self._listeners)

    def wants(self, host: str) -> bool:
        """Whether anybody who listens wants to be told of the tunnel of a host."""
        if self.tunnels is None:
            return True
        # A tunnel is called by the first label of its host, by all of it, or by an asterisk and the second.
        first, _, rest = host.partition(".")
        return not self.tunnels.isdisjoint((first, host, f"*.{rest.partition('.')[0]}"))

    def begun(self, record: Record) -> None:
        """See L{Listener.begun}."""
        for each in self._listeners:
            try:
                each.begun(record)
            except Exception:
                self._failed()

    def answered(self, record: Record) -> None:
        """See L{Listener.answered}. C{first_byte} is set."""
        record.first_byte = record.now()
        for each in self._listeners:
            try:
                each.answered(record)
            except Exception:
                self._failed()

    def ended(self, record: Record, error: str = "") -> None:
        """See L{Listener.ended}. C{took} and C{error} are set; nothing happens if they were before."""
        if record.took is not None:
            return
        record.took = record.now()
        record.error = error
        for each in self._listeners:
            try:
                each.ended(record)
            except Exception:
                self._failed()

    def body(self, record: Record, outbound: bool, data: bytes) -> None:
        """See L{Listener.body}. The record's count is kept by its owner."""
        for each in self._listeners:
            if each.bodies:
                try:
                    each.body(record, outbound, data)
                except Exception:
                    self._failed()

    def message(self, record: Record, outbound: bool, message: Message) -> None:
        """See L{Listener.message}."""
        for each in self._listeners:
            if each.bodies:
                try:
                    each.message(record, outbound, message)
                except Exception:
                    self._failed()

    def _failed(self) -> None:
        """A listener that fails neither keeps the others from being told nor harms the request."""
        self.log.failure("a listener of the traffic failed")
