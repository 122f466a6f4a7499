"""h2's connection as both ends here need it, the edge for visitors and the agent for upstreams. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event
from h2.exceptions import FrameTooLargeError
from h2.settings import SettingCodes

if TYPE_CHECKING:
    from typing_extensions import Buffer


MAX_ENCODER_TABLE = 4096
"""Bytes of the table that heads are written with, whatever the peer allows: HPACK's default."""


class Http2Connection(H2Connection):
    """
    An L{H2Connection} of which three things differ.

    - A frame that is longer than allowed is refused at its head (RFC 9113 section 4.2). h2 gathers all of it
      before, up to 16 MiB.
    - A GOAWAY of the peer's lets go on what is under way (RFC 9113 section 6.8). h2 takes the connection for
      closed, and neither reads nor sends any more.
    - The encoder's table has L{MAX_ENCODER_TABLE} bytes at most, and less if the peer says so (RFC 7541
      section 4.2). h2's grows as far as the peer's SETTINGS say, up to 4 GiB, and each field is searched
      for in all of it.
    """

    def receive_data(self, data: Buffer) -> list[Event]:
        """See L{H2Connection}."""
        events = super().receive_data(data)
        head = self.incoming_buffer._data[:3]
        if len(head) == 3 and int.from_bytes(head, "big") > self.max_inbound_frame_size:
            self.close_connection(ErrorCodes.FRAME_SIZE_ERROR)
            raise FrameTooLargeError("a frame is longer than allowed")
        return events

    def _receive_settings_frame(self, frame: Any) -> tuple[list[Any], list[Event]]:
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
