"""What a yamux session tells its user: one small class an event."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class StreamOpened:
    """The peer opened a stream; it may be written to at once."""

    stream_id: int


@dataclass(slots=True)
class StreamAccepted:
    """The peer took a stream that we opened: it acknowledged it, or used it."""

    stream_id: int


@dataclass(slots=True)
class DataReceived:
    """Bytes came in. Give them back with L{YamuxStream.consumed} once they are used."""

    stream_id: int
    data: bytes


@dataclass(slots=True)
class StreamEnded:
    """The peer sends no more on this stream; we still may."""

    stream_id: int


@dataclass(slots=True)
class StreamReset:
    """The stream is gone in both directions, whatever was under way."""

    stream_id: int


@dataclass(slots=True)
class PongReceived:
    """The peer answered L{Yamux.ping}."""

    opaque: int


@dataclass(slots=True)
class GoAwayReceived:
    """
    The peer takes no more streams; those that it took go on. A L{StreamReset} follows for each stream of
    ours that it has not taken. A code other than 0 says that it ends the session.
    """

    code: int


Event = (
    StreamOpened | StreamAccepted | DataReceived | StreamEnded | StreamReset | PongReceived | GoAwayReceived
)
