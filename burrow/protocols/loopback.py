"""
Connections to a port of this machine, made within one reactor turn.

Twisted's endpoint waits for a turn before it connects, and for another until the socket is writable, and its
wrapper around the protocol then sees each byte. On the loopback the kernel completes a connection, or refuses
it, before C{connect} returns.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.posixbase import PosixReactorBase

_FLAGS = getattr(socket, "SOCK_CLOEXEC", 0)


def is_loopback(host: str) -> bool:
    """Whether a host is an address of the loopback; names are not."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def connect_now(reactor: Any, host: str, port: int, factory: IProtocolFactory) -> Any:
    """
    Connect without waiting.

    @param host: an address of the loopback.
    @param factory: builds the protocol that gets the connection.
    @return: the protocol, connected; None if that takes time, fails, or cannot be done with this reactor:
        an endpoint tries again, and tells why it fails.
    """
    if not isinstance(reactor, PosixReactorBase):
        return None
    take_connected = getattr(reactor, "take_connected", None)  # our own reactor's
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    handle = None
    try:
        handle = socket.socket(family, socket.SOCK_STREAM | _FLAGS)
        handle.setblocking(False)
        status = handle.connect_ex((host, port))
        if status == errno.EINPROGRESS:
            # Linux handles the answer when connect lets go of the socket: asked again, it knows.
            status = handle.connect_ex((host, port))
        if status not in (0, errno.EISCONN):
            return None
        if take_connected is not None:
            taken, handle = handle, None
            return take_connected(
                taken, (host, port) if family == socket.AF_INET else (host, port, 0, 0), factory
            )
        return reactor.adoptStreamConnection(handle.fileno(), family, factory).protocol  # it duplicates it
    except OSError:
        return None
    finally:
        if handle is not None:
            handle.close()
