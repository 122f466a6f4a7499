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
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM | getattr(socket, "SOCK_CLOEXEC", 0)) as handle:
            handle.setblocking(False)
            status = handle.connect_ex((host, port))
            if status == errno.EINPROGRESS:
                # Linux handles the answer when connect lets go of the socket: asked again, it knows.
                status = handle.connect_ex((host, port))
            if status not in (0, errno.EISCONN):
                return None
            # The reactor takes a duplicate.
            return reactor.adoptStreamConnection(handle.fileno(), family, factory).protocol
    except OSError:
        return None
