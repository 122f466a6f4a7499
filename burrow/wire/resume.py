"""
The resume envelope: a byte stream that survives the loss of what carries it. No I/O.

Each message of C{burrow.resume.v1} is one packet, all numbers big endian::

    DATA (1)   type 0 | offset (8) | bytes     offset: of the first byte, in the sender's byte stream
    ACK        type 1 | offset (8)             all bytes before offset were received

The sender keeps what is not acknowledged. When a new carrier takes over, each side sends the number of bytes
that it received, and the other sends again from there. The offset shows which bytes come twice; they are
dropped.

What bounds the buffer: L{Replay.full} is true while C{limit} bytes are not acknowledged, and the session then
sends no more.
"""

from __future__ import annotations

from struct import Struct

from burrow.errors import WireError

_PACKET = Struct("!BQ")
PACKET_OVERHEAD = _PACKET.size
DATA, ACK = 0, 1

ACK_EVERY = 64 * 1024
"""Bytes received after which they are acknowledged at once; fewer wait for the heartbeat's next check."""

FEW = 1024
"""Fewer bytes than this wait for several checks: an idle session's pings need no answer each."""

REPLAY_LIMIT = 16 * 1024 * 1024
"""Bytes not acknowledged, at most: the bandwidth-delay product of 160 MB/s at 100 ms."""


class Replay:
    """
    One side's half of a resumable byte stream.

    @param limit: bytes not acknowledged above which L{full} is true.
    @ivar received: bytes that came in whole, so far. @ivar sent: bytes given to L{keep}, so far.
    @ivar full: whether nothing more should be sent before the peer acknowledges.
    @ivar due: whether L{ACK_EVERY} bytes came since the last acknowledgement: send the next at once.
    """

    def __init__(self, limit: int = REPLAY_LIMIT) -> None:
        self._limit = limit
        self._kept: list[bytes] = []
        self._acknowledged = 0
        self._told = 0
        self.received = 0
        self.sent = 0
        self.full = False
        self.due = False

    @property
    def unacknowledged(self) -> int:
        """Bytes that are kept to be sent again."""
        return self.sent - self._acknowledged

    def keep(self, data: bytes) -> bytes:
        """
        Keep C{data}, which is sent now, until it is acknowledged.

        @return: the header of its packet: what goes before C{data}, which is not copied.
        """
        header = _PACKET.pack(DATA, self.sent)
        self._kept.append(data)
        self.sent += len(data)
        self.full = self.sent - self._acknowledged >= self._limit
        return header

    def receive(self, packet: bytes | memoryview) -> bytes | memoryview:
        """
        Take one packet; return the bytes in it that are new, as what C{packet} is.

        @raise WireError: it is not a packet, skips bytes, or acknowledges bytes that were never sent.
        """
        if len(packet) < PACKET_OVERHEAD:
            raise WireError("a packet is shorter than its header")
        kind, offset = _PACKET.unpack_from(packet)
        if kind == DATA:
            if offset > self.received:
                raise WireError(f"bytes {self.received} to {offset} of the session are missing")
            new = packet[PACKET_OVERHEAD + self.received - offset :]
            self.received += len(new)
            self.due = self.received - self._told >= ACK_EVERY
            return new
        if kind != ACK or len(packet) != PACKET_OVERHEAD:
            raise WireError(f"no packet has type {kind}")
        self.acknowledge(offset)
        return b""

    def acknowledge(self, offset: int) -> None:
        """
        Drop what the peer has: all bytes before C{offset}.

        @raise WireError: fewer bytes were sent.
        """
        if offset > self.sent:
            raise WireError(f"byte {offset} is acknowledged, and {self.sent} were sent")
        whole = 0
        for data in self._kept:
            if self._acknowledged + len(data) > offset:
                break
            self._acknowledged += len(data)
            whole += 1
        del self._kept[:whole]
        self.full = self.unacknowledged >= self._limit

    @property
    def few(self) -> bool:
        """Whether less than L{FEW} bytes came since the last acknowledgement."""
        return self.received - self._told < FEW

    def acknowledgement(self) -> bytes | None:
        """The packet that acknowledges what came; None if nothing came since the last one."""
        if self._told == self.received:
            return None
        self._told = self.received
        self.due = False
        return _PACKET.pack(ACK, self.received)

    def again(self, peer_received: int) -> list[bytes]:
        """
        The packets to send on a new carrier before anything else.

        @param peer_received: how many bytes the peer has, at least: while this number was on its way, the
            previous carrier may have brought it more, and brought us their acknowledgement.
        @raise WireError: fewer bytes were sent.
        """
        self.acknowledge(peer_received)
        packets = []
        offset = self._acknowledged
        for data in self._kept:
            skip = max(0, peer_received - offset)
            if skip < len(data):
                packets.append(_PACKET.pack(DATA, offset + skip) + data[skip:])
            offset += len(data)
        return packets
