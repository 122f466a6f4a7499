"""h2's connection as both ends here need it, the edge for visitors and the agent for upstreams. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event
from h2.exceptions import FrameTooLargeError
from h2.settings import SettingCodes
from hpack import Encoder, NeverIndexedHeaderTuple
from hpack.hpack import encode_integer
from hpack.table import HeaderTable

if TYPE_CHECKING:
    from typing_extensions import Buffer


MAX_ENCODER_TABLE = 4096
"""Bytes of the table that heads are written with, whatever the peer allows: HPACK's default."""


_INDEXED = [bytes([0x80 | index]) for index in range(127)]
"""Of each index, the form of a field that is in the table (RFC 7541 section 6.1), where it is one byte."""


class Http2Encoder(Encoder):
    """
    hpack's encoder, of which two things differ. An answer's head takes 3 us of CPU, and took 14.

    - A value that is not the one that its name last had goes without being put into the table (RFC 7541
      section 6.2.2), and without Huffman's code, unless the name is one of HPACK's own: it will be another
      one the next time, as a request's id. It would push out of the table what does not change, and the
      longer the table, the longer is each search in it.
    - Nothing is logged, and nothing is made anew of what is in the table.
    """

    def encode(self, headers: Any, huffman: bool = True) -> bytes:
        """See L{Encoder}. @param headers: pairs of bytes, as h2 passes them."""
        table = self.header_table
        block = []
        if table.resized:
            block.append(self._encode_table_size_change())
            table.resized = False
        for header in headers:
            name, value = header
            if type(header) is NeverIndexedHeaderTuple:
                block.append(self.add((name, value), True, huffman))
                continue
            index, _, known = table.search(name, value) or (0, name, None)
            if known is not None:
                block.append(_INDEXED[index] if index < 127 else self._encode_indexed(index))
            elif index > HeaderTable.STATIC_TABLE_LENGTH:
                block += (bytes(encode_integer(index, 4)), bytes(encode_integer(len(value), 7)), value)
            else:
                block.append(self.add((name, value), False, huffman))
        return b"".join(block)


class Http2Connection(H2Connection):
    """
    An L{H2Connection} of which four things differ.

    - A frame that is longer than allowed is refused at its head (RFC 9113 section 4.2). h2 gathers all of it
      before, up to 16 MiB.
    - A GOAWAY of the peer's lets go on what is under way (RFC 9113 section 6.8). h2 takes the connection for
      closed, and neither reads nor sends any more.
    - The encoder's table has L{MAX_ENCODER_TABLE} bytes at most, and less if the peer says so (RFC 7541
      section 4.2). h2's grows as far as the peer's SETTINGS say, up to 4 GiB, and each field is searched
      for in all of it.
    - The encoder is an L{Http2Encoder}.
    """

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.encoder = Http2Encoder()

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
