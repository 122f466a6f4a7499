"""The port that other nodes link to."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from burrow import __version__
from burrow.addresses import ListenAddress
from burrow.errors import ConfigError
from burrow.server.listening import wait_when_exhausted
from burrow.server.nodes.link import make_certificate, node_context
from burrow.server.nodes.records import Node
from burrow.wording import system_words

BACKLOG = 64
"""Nodes' connections that wait in the kernel to be accepted."""


def listen_for_nodes(
    reactor: Any,
    where: ListenAddress,
    factory: IProtocolFactory,
    *,
    node: str,
    secret: str,
    group: str,
    door: str,
) -> tuple[IListeningPort, Node]:
    """
    Listen for the links of other nodes: without TLS on the loopback, with TLS elsewhere.

    @param node: this node's id, as the next three a field of L{Node}.
    @return: the port, and the note by which they find this node.
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
            f"cannot listen on {where}: {system_words(error)}; choose another with --node HOST:PORT, "
            "where HOST is an IP address of this machine's"
        ) from error
    port: Any = wait_when_exhausted(reactor, listening)
    return port, Node(
        id=node,
        host=where.host,
        port=port.getHost().port,
        secret=secret,
        certificate=certificate,
        version=__version__,
        started=time.time(),
        group=group,
        door=door,
    )
