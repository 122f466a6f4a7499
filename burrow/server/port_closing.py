"""
Closing a listening socket without a reset for whoever has just connected.

The kernel completes handshakes by itself, and resets those connections that nobody has accepted when the
socket closes. So whoever closes one accepts all that wait, and closes in the same moment. What completes its
handshake between the two is left, and a handshake that has begun. Where no other process goes on with the
socket, the kernel drops new SYNs first (L{drop_new_connections}): their senders ask again after a second, as
for a lost packet, and are refused then. L{HANDSHAKES_END} later no handshake is under way.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import sys
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IListeningPort
from twisted.python.failure import Failure

BACKLOG = 1024
"""Connections that wait in the kernel to be accepted."""

HANDSHAKES_END = 0.05
"""
Seconds from L{drop_new_connections} until handshakes that had begun are complete: a round trip to a balancer.
A longer time would make more visitors wait for their second SYN.
"""

_SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>; the socket module has no name for it
_FLAGS, _SYN, _SYN_ACK = 13, 0x02, 0x12  # the flags' offset in a TCP header (RFC 9293, section 3.1)

# A classic BPF program (Linux, networking/filter.rst): returns how many bytes of a segment to keep.
_NO_SYN = [
    (0x30, 0, 0, _FLAGS),  # ldb [13]
    (0x54, 0, 0, _SYN_ACK),  # and #SYN|ACK
    (0x15, 0, 1, _SYN),  # jeq #SYN, else skip the next one
    (0x06, 0, 0, 0),  # ret #0
    (0x06, 0, 0, 0xFFFFFFFF),  # ret #-1
]


def drop_new_connections(handle: Any) -> None:
    """
    Make the kernel drop the SYNs that a listening socket gets from now on, in whatever process it is open.
    Only Linux can; elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in _NO_SYN))
    program = struct.pack("HP", len(_NO_SYN), ctypes.addressof(code))
    with contextlib.suppress(OSError):  # a sandbox: a moment between accept and close is left
        handle.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


async def stop_listening(listening: IListeningPort) -> None:
    """Close a listening socket, after accepting the connections that wait. Returns when it is closed."""
    port: Any = listening
    if getattr(port, "doRead", None) is not None and getattr(port, "connected", False):
        port.numberAccepts = BACKLOG  # else it accepts as many as last time
        port.doRead()
        # As stopListening() does, a turn of the reactor later: who came meanwhile would be reset.
        port.disconnecting = True
        port.stopReading()
        port.connectionLost(Failure(ConnectionDone()))
        return
    stopping = listening.stopListening()
    if stopping is not None:
        await stopping
