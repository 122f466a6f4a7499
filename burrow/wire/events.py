"""What a yamux session tells its user: one small class an event."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class StreamOpened:
    """The peer opened a stream; it may be written to at once."""

    stream_id: int


@dataclass(slots=True)
class StreamAccepted:
    """The peer acknowledged a stream that we opened."""

    stream_id: int


@dataclass(slots=True)
class DataReceived:
    """Bytes came in. Give them back with L{Session.consumed} once they are used."""

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
    """The peer answered L{Session.ping}."""

    opaque: int


@dataclass(slots=True)
class GoAwayReceived:
    """The peer opens no more streams and takes none; those that are open go on."""

    code: int


Event = (
    StreamOpened | StreamAccepted | DataReceived | StreamEnded | StreamReset | PongReceived | GoAwayReceived
)
