"""
The streams of one session: those that have a protocol, and those that linger.

A stream lingers when it is closed for its protocol and the peer has not ended its half. The peer has
L{LINGER} seconds to do so. The stream is reset after that, or when data comes on it, which no protocol would
read.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime
from twisted.python.failure import Failure

from burrow.mux.stream import Stream, StreamAddress
from burrow.wire.stream import YamuxStream
from burrow.wire.yamux import Yamux

LINGER = 60.0


class Streams:
    """
    @param schedule: sends what is queued at the end of the reactor turn.
    @ivar by_id: the streams that have a protocol.
    """

    def __init__(self, clock: IReactorTime, wire: Yamux, schedule: Callable[[], None]) -> None:
        self.clock = clock
        self.schedule = schedule
        self.by_id: dict[int, Stream] = {}
        self._wire = wire
        self._lingering: dict[int, float] = {}

    def __len__(self) -> int:
        """How many have a protocol, or still have bytes, FIN or RST to send."""
        return len(self.by_id) + sum(stream_id not in self.by_id for stream_id in self._wire.sending())

    def add(self, state: YamuxStream, protocol: IProtocol, peer: IAddress) -> Stream:
        """Give a protocol to a stream that was just opened. L{Stream.connect} is still to be called."""
        stream_id = state.stream_id
        stream = self.by_id[stream_id] = Stream(self, state, protocol, StreamAddress(peer, stream_id))
        return stream

    def lose(self) -> None:
        """The session is lost, and so is each stream."""
        for state in list(self._wire.streams.values()):
            self._wire.forget(state)
        streams, self.by_id = self.by_id, {}
        for stream in streams.values():
            stream.session_lost(Failure(ConnectionLost("the session is lost")))

    def sweep(self) -> None:
        """Reset the streams that have lingered too long. No stream has a timer of its own."""
        now = self.clock.seconds()
        for stream_id in [i for i, deadline in self._lingering.items() if deadline <= now]:
            self.reset(stream_id)

    # -- events of the wire ----------------------------------------------------------------------

    def reset(self, stream_id: int) -> None:
        """Reset a stream that has no protocol, if it is still open."""
        self._lingering.pop(stream_id, None)
        state = self._wire.streams.get(stream_id)
        if state is not None:
            state.reset()

    def ended(self, stream_id: int) -> None:
        """The peer's FIN."""
        self._lingering.pop(stream_id, None)
        stream = self.by_id.get(stream_id)
        if stream is not None:
            stream.ended()

    def was_reset(self, stream_id: int) -> None:
        """The peer's RST."""
        self._lingering.pop(stream_id, None)
        stream = self.by_id.pop(stream_id, None)
        if stream is not None:
            stream.was_reset(Failure(ConnectionLost("the peer reset the stream")))

    def drained(self, stream_id: int) -> None:
        """A stream is to be reported: see L{YamuxStream.report_drained}."""
        stream = self.by_id.get(stream_id)
        if stream is not None:
            stream.drained()
        elif stream_id not in self._wire.streams:
            self._lingering.pop(stream_id, None)

    # -- for the streams: IOwner ---------------------------------------------------------------------

    def forget(self, stream_id: int) -> None:
        """See L{IOwner}."""
        self.by_id.pop(stream_id, None)

    def release(self, stream_id: int) -> None:
        """See L{IOwner}: the stream lingers, if the peer may still be sending."""
        if self.by_id.pop(stream_id, None) is not None and stream_id in self._wire.streams:
            self._lingering[stream_id] = self.clock.seconds() + LINGER
