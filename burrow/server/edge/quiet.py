"""
Whether a connection that carries no requests and answers, only bytes, has anything to finish.

The kernel knows when a socket last sent and received data, so nothing is counted while bytes pass.
"""

from __future__ import annotations

import array
import socket
import struct
import sys
from typing import Any

from burrow.link.carrier import lowest_transport

try:  # at import: a server that has no descriptor left could not load them
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = termios = None  # type: ignore[assignment]

QUIET = 2.0
"""Seconds without data in either direction after which a connection may count as idle."""

# struct tcp_info of Linux's <linux/tcp.h>: 8 bytes of other things, then 32-bit numbers; times in ms.
_TCP_INFO = struct.Struct("=8B13I")
_LAST_DATA_SENT, _LAST_DATA_RECEIVED = 8 + 9, 8 + 11


def idle(transport: Any) -> bool:
    """
    Whether a visitor's connection has been silent for L{QUIET} seconds both ways, everything that was sent to
    the visitor arrived, and the visitor did not speak last: then it waits for no answer.

    False where the system cannot tell (not Linux), and for what is not a TCP socket.
    """
    handle = getattr(lowest_transport(transport), "socket", None)
    if handle is None or fcntl is None or not sys.platform.startswith("linux"):
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
