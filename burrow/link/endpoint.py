"""The way to a server: through a proxy or not, with TLS or not."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from burrow.addresses import is_localhost
from burrow.identity import client_tls
from burrow.link.address import Credentials
from burrow.link.proxy import ConnectProxyEndpoint, connect_request, proxy_for
from burrow.link.secure import SecureEndpoint
from burrow.trust import trust_root

CONNECT_TIMEOUT = 10.0
"""Seconds for TCP, and as many for the WebSocket handshake."""


def server_endpoint(reactor: Any, credentials: Credentials) -> IStreamClientEndpoint:
    """
    Connects to a server, through the proxy that the environment names, and with TLS if its address says so.

    @raise ConfigError: the proxy's URL or the file of CAs is not usable.
    """
    address = credentials.address
    # RFC 6761 section 6.3: names under localhost are the loopback, whatever the resolver knows of them.
    host = "localhost" if is_localhost(address.host) else address.host
    proxy = proxy_for("https" if address.secure else "http", host)
    endpoint: IStreamClientEndpoint
    if proxy is None:
        endpoint = HostnameEndpoint(reactor, host, address.port, timeout=CONNECT_TIMEOUT)
    else:
        via = HostnameEndpoint(reactor, proxy[0], proxy[1], timeout=CONNECT_TIMEOUT)
        endpoint = ConnectProxyEndpoint(reactor, via, connect_request(host, address.port, proxy[2]))
    if address.secure:
        options = client_tls(address.host, trust_root(credentials.ca_file, credentials.ca_pem))
        endpoint = SecureEndpoint(reactor, options, endpoint)
    return endpoint
