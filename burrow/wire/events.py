"""
The events that L{Yamux.receive_data<burrow.wire.yamux.Yamux.receive_data>} returns, one small class each.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class StreamOpened:
    """The peer opened a stream; it may be written to at once."""

    stream_id: int


@dataclass(slots=True)
class StreamAccepted:
    """The peer accepted a stream that we opened: it sent an ACK, or anything else, on it."""

    stream_id: int


@dataclass(slots=True)
class DataReceived:
    """Bytes came in. Call L{YamuxStream.consumed} when they are used, so that the peer may send more."""

    stream_id: int
    data: bytes


@dataclass(slots=True)
class StreamEnded:
    """The peer sends no more on this stream; we still may."""

    stream_id: int


@dataclass(slots=True)
class StreamReset:
    """The stream is closed in both directions; what was under way is lost."""

    stream_id: int


@dataclass(slots=True)
class PongReceived:
    """The peer answered L{Yamux.ping}."""

    opaque: int


@dataclass(slots=True)
class GoAwayReceived:
    """
    The peer accepts no more streams; those that it has accepted go on. A L{StreamReset} follows for each
    other stream of ours. A code other than 0 means that the peer ends the session because of an error.
    """

    code: int


Event = (
    StreamOpened | StreamAccepted | DataReceived | StreamEnded | StreamReset | PongReceived | GoAwayReceived
)
