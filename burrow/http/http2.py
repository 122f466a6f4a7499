"""
h2's connection as the agent needs it, the client of upstreams that speak HTTP/2. No I/O.

Visitors are spoken to by code of ours: see L{burrow.http.http2_server}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event
from h2.exceptions import FrameTooLargeError
from h2.settings import SettingCodes

from burrow.http.hpack import MAX_ENCODER_TABLE, Http2Decoder, Http2Encoder

if TYPE_CHECKING:
    from typing_extensions import Buffer


MAX_CLOSED = 1024
"""Streams that are closed of which it is known how, so that late frames for them are no error, at most."""

_KNOWN_SETTINGS = frozenset(SettingCodes)


class Http2Connection(H2Connection):
    """
    An L{H2Connection} of which seven things differ.

    - A frame that is longer than allowed is refused at its head (RFC 9113 section 4.2). h2 gathers all of it
      before, up to 16 MiB.
    - A GOAWAY of the peer's lets go on what is under way (RFC 9113 section 6.8). h2 takes the connection for
      closed, and neither reads nor sends any more.
    - The encoder's table has L{MAX_ENCODER_TABLE} bytes at most, and less if the peer says so (RFC 7541
      section 4.2). h2's grows as far as the peer's SETTINGS say, up to 4 GiB, and each field is searched
      for in all of it.
    - How a stream was closed is known of the last L{MAX_CLOSED}. h2 keeps 65,536, of 100 bytes each.
    - Settings that are not known are ignored (RFC 9113 section 6.5.2). h2 keeps up to 65,536, of 700 bytes
      each, and goes through all of them at each SETTINGS.
    - A head may be as long as our SETTINGS say. h2 lets it be of 64 KiB, unless they are changed later.
    - Heads are compressed by an L{Http2Encoder} and an L{Http2Decoder}.
    """

    MAX_CLOSED_STREAMS = MAX_CLOSED

    encoder: Http2Encoder

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.encoder = Http2Encoder()
        self.decoder = Http2Decoder(self.decoder.max_header_list_size)

    def initiate_connection(self) -> None:
        """See L{H2Connection}."""
        super().initiate_connection()
        longest = self.local_settings.max_header_list_size
        if longest is not None:
            self.decoder.max_header_list_size = longest

    def receive_data(self, data: Buffer) -> list[Event]:
        """See L{H2Connection}."""
        events = super().receive_data(data)
        head = self.incoming_buffer._data[:3]
        if len(head) == 3 and int.from_bytes(head, "big") > self.max_inbound_frame_size:
            self.close_connection(ErrorCodes.FRAME_SIZE_ERROR)
            raise FrameTooLargeError("a frame is longer than allowed")
        return events

    def _receive_settings_frame(self, frame: Any) -> tuple[list[Any], list[Event]]:
        if not frame.settings.keys() <= _KNOWN_SETTINGS:
            frame.settings = {
                code: value for code, value in frame.settings.items() if code in _KNOWN_SETTINGS
            }
        size = frame.settings.get(SettingCodes.HEADER_TABLE_SIZE)
        if size is not None:
            frame.settings[SettingCodes.HEADER_TABLE_SIZE] = min(size, MAX_ENCODER_TABLE)
        answer = super()._receive_settings_frame(frame)
        self.encoder.join_changes()
        return answer

    def _receive_goaway_frame(self, frame: Any) -> tuple[list[Any], list[Event]]:
        event = ConnectionTerminated()
        event.error_code, event.last_stream_id = frame.error_code, frame.last_stream_id
        event.additional_data = frame.additional_data or None
        return [], [event]
