"""
A connection below its protocol: which protocol it has, and what the kernel knows of it (Linux's TCP_INFO,
tcp(7)), so that nothing is counted while bytes pass.
"""

from __future__ import annotations

import array
import contextlib
import socket
import struct
import sys
from typing import Any, NamedTuple

from twisted.protocols.tls import TLSMemoryBIOProtocol

from burrow.allocator import LARGE, large_buffers_are_cheap

try:  # at import: a server that has no descriptor left could not load them
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = termios = None  # type: ignore[assignment]

QUIET = 2.0
"""Seconds without data in either direction after which a connection may count as idle."""

# struct tcp_info of Linux's <linux/tcp.h>: 8 bytes of other things, then 32-bit numbers, times in ms; further
# behind, since Linux 4.1, tcpi_bytes_acked.
_TCP_INFO = struct.Struct("=8B13I")
_LAST_DATA_SENT, _LAST_DATA_RECEIVED = 8 + 9, 8 + 11
_BYTES_ACKED = 120


def lowest_transport(transport: Any) -> Any:
    """The transport that owns the socket, under whatever TLS there is."""
    while getattr(transport, "transport", None) is not None:
        transport = transport.transport
    return transport


def acknowledge_now(transport: Any) -> None:
    """Have the system acknowledge what has come without waiting for what we send, where it can (Linux)."""
    option = getattr(socket, "TCP_QUICKACK", None)
    handle = getattr(lowest_transport(transport), "socket", None)
    if option is not None and handle is not None:
        with contextlib.suppress(OSError):  # a socket of another family
            handle.setsockopt(socket.IPPROTO_TCP, option, 1)


def read_large(transport: Any) -> None:
    """
    Read L{LARGE} bytes at a time from a connection that brings many, where such a buffer is cheap: by a third
    less CPU for bulk. Its producer, if it has one that pushes, is then paused at as many bytes, too.
    """
    if large_buffers_are_cheap():
        lowest_transport(transport).bufferSize = LARGE


def swap_protocol(transport: Any, protocol: Any) -> None:
    """
    Put another protocol on a connection, in or outside TLS: what comes from now on, and the connection's end,
    go to it alone. The protocol before gets no call.
    """
    if isinstance(transport, TLSMemoryBIOProtocol):
        transport.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)


def _handle(transport: Any) -> Any:
    """A connection's socket on a system that has TCP_INFO as we read it; else None."""
    return getattr(lowest_transport(transport), "socket", None) if sys.platform.startswith("linux") else None


def taken(transport: Any) -> int | None:
    """
    The bytes that a connection's peer has acknowledged so far.

    @return: None where the system does not tell: only Linux does. Then a slow reader cannot be told from one
        for which the system still has megabytes.
    """
    handle = _handle(transport)
    if handle is None:
        return None
    try:
        info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
    except OSError:
        return None
    return struct.unpack_from("=Q", info, _BYTES_ACKED)[0] if len(info) >= _BYTES_ACKED + 8 else None


class Way(NamedTuple):
    """
    What is between us and a connection's peer.

    @ivar taken: bytes that the peer has acknowledged so far. @ivar sent: bytes that the system was given.
    """

    taken: int
    sent: int


def way(transport: Any) -> Way | None:
    """See L{Way}; None where the system does not tell."""
    before, handle = taken(transport), _handle(transport)
    if before is None or fcntl is None:
        return None
    try:
        return Way(before, before + _unacknowledged(handle))
    except OSError:
        return None


def idle(transport: Any) -> bool:
    """
    Whether a visitor's connection has been silent for L{QUIET} seconds both ways, everything that was sent to
    the visitor arrived, and the visitor did not speak last: then it waits for no answer.

    False where the system cannot tell (not Linux), and for what is not a TCP socket.
    """
    handle = _handle(transport)
    if handle is None or fcntl is None:
        return False
    try:
        info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        numbers = _TCP_INFO.unpack(info)
        waiting = _unacknowledged(handle)
    except (OSError, struct.error):
        return False
    sent, received = numbers[_LAST_DATA_SENT] / 1000, numbers[_LAST_DATA_RECEIVED] / 1000
    return not waiting and min(sent, received) >= QUIET and sent <= received


def _unacknowledged(handle: Any) -> int:
    """Bytes in a socket's send queue, sent or not, that the peer has not acknowledged (SIOCOUTQ, tcp(7))."""
    count = array.array("i", [0])
    fcntl.ioctl(handle.fileno(), termios.TIOCOUTQ, count)
    return count[0]
