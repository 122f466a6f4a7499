"""h2's connection as both ends here need it, the edge for visitors and the agent for upstreams. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event
from h2.exceptions import FrameTooLargeError
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from burrow.http.hpack import Http2Decoder, Http2Encoder

if TYPE_CHECKING:
    from typing_extensions import Buffer


MAX_ENCODER_TABLE = 4096
"""Bytes of the table that heads are written with, whatever the peer allows: HPACK's default."""

MAX_CLOSED = 1024
"""Streams that are closed of which it is known how, so that late frames for them are no error, at most."""

SMALL = 1024
"""Bytes of a frame that costs its sender less than its reader."""

_KNOWN_SETTINGS = frozenset(SettingCodes)


class Http2Connection(H2Connection):
    """
    An L{H2Connection} of which eight things differ.

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
    - A server's leaves it to its user to compare a body with its Content-Length. h2 ends the whole connection
      for one that is not as long, and does not see it where trailers follow.
    - A head may be as long as our SETTINGS say. h2 lets it be of 64 KiB, unless they are changed later.
    - Heads are compressed by an L{Http2Encoder} and an L{Http2Decoder}.

    @ivar idle: how many frames of less than L{SMALL} bytes have come that were for nothing: on streams that
        are closed, or of types that are ignored without an event. Whoever counts them may set it back.
    """

    MAX_CLOSED_STREAMS = MAX_CLOSED

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.idle = 0
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

    def _begin_new_stream(self, stream_id: int, allowed_ids: Any) -> Any:
        stream: Any = super()._begin_new_stream(stream_id, allowed_ids)
        if not self.config.client_side:
            stream._initialize_content_length = _expects_any
        return stream

    def _receive_frame(self, frame: Any) -> list[Event]:
        events = super()._receive_frame(frame)
        if not events and frame.body_len < SMALL:
            self.idle += 1
        return events

    def shut_down(self) -> None:
        """
        Have the peer open no more streams, as soon as it knows. All that it opens before go on: 2^31-1 says
        so, since which is the last is not known yet (RFC 9113 section 6.8). h2's C{close_connection} lets
        none go on; it may follow.
        """
        self._prepare_for_sending([GoAwayFrame(0, last_stream_id=2**31 - 1)])

    def _receive_settings_frame(self, frame: Any) -> tuple[list[Any], list[Event]]:
        if not frame.settings.keys() <= _KNOWN_SETTINGS:
            frame.settings = {
                code: value for code, value in frame.settings.items() if code in _KNOWN_SETTINGS
            }
        size = frame.settings.get(SettingCodes.HEADER_TABLE_SIZE)
        if size is not None:
            frame.settings[SettingCodes.HEADER_TABLE_SIZE] = min(size, MAX_ENCODER_TABLE)
        answer = super()._receive_settings_frame(frame)
        # The next head tells the smallest size since the last one, and the present one. h2 keeps all of them,
        # and forgets to tell any if the last SETTINGS change nothing.
        changes = self.encoder.table_size_changes
        if changes:
            changes[:] = [min(changes), changes[-1]]
            self.encoder.header_table.resized = True
        return answer

    def _receive_goaway_frame(self, frame: Any) -> tuple[list[Any], list[Event]]:
        event = ConnectionTerminated()
        event.error_code, event.last_stream_id = frame.error_code, frame.last_stream_id
        event.additional_data = frame.additional_data or None
        return [], [event]


def _expects_any(headers: Any) -> None:
    """In place of h2's method that reads the Content-Length of a stream."""
