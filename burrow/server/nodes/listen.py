"""The port that other nodes link to."""

from __future__ import annotations

import ipaddress
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from burrow.addresses import ListenAddress
from burrow.errors import ConfigError
from burrow.server.listening import wait_when_exhausted
from burrow.server.nodes.link import make_certificate, node_context

BACKLOG = 64
"""Nodes' connections that wait in the kernel to be accepted."""


def listen_for_nodes(
    reactor: Any, where: ListenAddress, factory: IProtocolFactory
) -> tuple[IListeningPort, str]:
    """
    Listen for the links of other nodes: without TLS on the loopback, with TLS elsewhere.

    @return: the port, and its certificate in PEM form; empty without TLS.
    @raise ConfigError: the address is not this machine's, or is in use.
    """
    certificate = ""
    options: dict[str, Any] = {"backlog": BACKLOG, "interface": where.host}
    try:
        if ipaddress.ip_address(where.host).is_loopback:
            listening = reactor.listenTCP(where.port, factory, **options)
        else:
            identity, certificate = make_certificate(where.host)
            listening = reactor.listenSSL(where.port, factory, node_context(*identity), **options)
    except (CannotListenError, ValueError) as error:
        raise ConfigError(
            f"cannot listen on {where}: {error}; choose another with --node HOST:PORT, "
            "where HOST is an IP address of this machine's"
        ) from error
    return wait_when_exhausted(reactor, listening), certificate
