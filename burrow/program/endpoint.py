"""A Twisted endpoint whose connections are the visitors of a tunnel: C{burrow:name=demo}."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.address import HostnameAddress, IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    ISSLTransport,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from zope.interface import alsoProvides, implementer

from burrow.client.settings import credentials_of
from burrow.client.tunnels import TunnelRequest, find_kind, tunnel_request
from burrow.errors import BurrowError, ConfigError
from burrow.mux.control import VisitorHead, tcp_address
from burrow.program.api import SETTINGS, settings
from burrow.program.home import GivenReactor
from burrow.program.serving import name_of
from burrow.program.tunnel import Plan, Tunnel
from burrow.protocols.access import SHARE_LINKS
from burrow.protocols.base import AgentTunnel, Kind
from burrow.protocols.options import Side
from burrow.protocols.routing import ROUTE
from burrow.protocols.tcp import AS
from burrow.wording import ENDPOINT

KINDS = ("http", "tcp", "tls")
"""Those whose visitors' bytes are a connection's, as they are."""

_FOR_AGENTS = (AS.key, SHARE_LINKS.key)
"""Options of the agent's that are not about its service."""


def parse_endpoint(reactor: Any, words: Sequence[Any], given: Mapping[str, Any]) -> TunnelEndpoint:
    """
    @param words: what has no name in the string. @param given: what has. @raise ConfigError: see
        L{TunnelEndpoint}.
    """
    if len(words) > 1 or (words and "name" in given):
        raise ConfigError(f"{words[-1]!r} is one name too many: write burrow:name=demo:kind=tcp")
    options: dict[str, Any] = dict(given)
    name = words[0] if words else options.pop("name", None)
    return TunnelEndpoint(reactor, name, kind=options.pop("kind", "http"), **options)


class _Program:
    """The upstream of such a tunnel, as the server and people see it."""

    def __init__(self, factory: Any) -> None:
        self._name = name_of(factory)

    def __str__(self) -> str:
        return self._name


class _Turned(Protocol):
    """A connection that the program's factory does not take."""

    transport: Any

    def connectionMade(self) -> None:
        """Reset it."""
        self.transport.abortConnection()


class _ToFactory:
    """A kind whose visitors' streams go to a factory of the program's. All else is the kind's."""

    def __init__(self, kind: Kind, factory: IProtocolFactory) -> None:
        self._kind = kind
        self._factory = factory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kind, name)

    def agent_protocol(self, tunnel: AgentTunnel, head: VisitorHead) -> IProtocol:
        """See L{ITunnelProtocol<burrow.protocols.base.ITunnelProtocol>}."""
        host, _, port = head.visitor.rpartition(":")
        peer = tcp_address(host.strip("[]"), int(port))
        protocol: Any = self._factory.buildProtocol(peer)
        if protocol is None:
            return _Turned()
        parts = urlsplit(tunnel.url)
        here = IPv4Address(
            "TCP", "127.0.0.1", parts.port or {"http": 80, "private": 0}.get(parts.scheme, 443)
        )
        connect = protocol.makeConnection

        def make_connection(transport: Any) -> None:
            del protocol.makeConnection
            transport.getPeer, transport.getHost = lambda: peer, lambda: here
            if head.scheme == "https":  # so that twisted.web knows that its visitor has TLS
                transport.getPeerCertificate = lambda: None
                alsoProvides(transport, ISSLTransport)
            connect(transport)

        protocol.makeConnection = make_connection
        made: IProtocol = protocol
        return made


@implementer(IStreamServerEndpoint)
class TunnelEndpoint:
    """
    Opens a tunnel, and has a factory serve its visitors, without a port on this machine::

        endpoint = serverFromString(reactor, "burrow:name=demo")
        port = await endpoint.listen(factory)
        print(port.url)

    What a protocol gets is the visitor's connection, with the visitor's address; of kind "http" it is
    HTTP/1.1, as a server would read it.

    @param name: see L{forward<burrow.program.api.forward>}. @param kind: one of L{KINDS}.
    @param options: likewise, as texts: settings as in C{server} or C{token-file}, and options of the kind.
    @raise ConfigError: it cannot be opened so.
    """

    def __init__(self, reactor: Any, name: str | None = None, *, kind: str = "http", **options: Any) -> None:
        if kind not in KINDS:
            raise ConfigError(
                f"tunnels of kind {kind} bring a program no connections: write kind={', kind='.join(KINDS)}; "
                "for a kind that the server has a plugin for, kind=tcp:as=KIND"
            )
        self._reactor = reactor
        flags, given = _sorted(options)
        self._config, _ = settings(flags)
        self._request = _request(kind, name, given)
        credentials_of(self._config, os.environ)

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        Open the tunnel. May be cancelled.

        @return: fires with a L{TunnelPort} when visitors can come; fails with a L{BurrowError}, whose
            sentence is logged, too, since C{twistd} tells nothing of what fails later than its start.
        """
        return Deferred.fromCoroutine(self._listen(protocolFactory))

    async def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        request = replace(
            self._request, kind=_ToFactory(self._request.kind, factory), upstream=_Program(factory)
        )
        home = GivenReactor(self._reactor, threading.get_ident())
        port = TunnelPort(factory)
        factory.doStart()
        try:
            port.opened(await Plan(self._config, request, home=home, told=port.tell).aopen())
        except BaseException as error:
            factory.doStop()
            if isinstance(error, BurrowError):
                port.log.error("no tunnel is opened: {error}", error=error)
            raise
        return port


@implementer(IListeningPort)
class TunnelPort:
    """
    An open tunnel, as Twisted has ports.

    @ivar tunnel: the L{Tunnel}. @ivar url: where visitors reach it.
    """

    log = Logger()
    tunnel: Tunnel
    url: str

    def __init__(self, factory: IProtocolFactory) -> None:
        self._factory = factory

    def opened(self, tunnel: Tunnel) -> None:
        """It is open."""
        self.tunnel, self.url = tunnel, tunnel.url
        self.log.info("{url} leads to this program", url=tunnel.url)
        tunnel.when_ended(self._ended)

    def tell(self, event: str, text: str) -> None:
        """What happens to its session."""
        self.log.info("{event}: {text}", event=event, text=text)

    def _ended(self, error: BaseException | None) -> None:
        if error is not None:
            self.log.error("{url} has ended: {error}", url=self.url, error=error)
        self._factory.doStop()

    def startListening(self) -> None:
        """It listens from the beginning. @raise CannotListenError: it was closed; a new one can be opened."""
        if self.tunnel.closed:
            raise CannotListenError(None, None, OSError("the tunnel is closed: open another one"))

    def stopListening(self) -> Deferred[None]:
        """Close the tunnel: fires when what runs has ended, or after the setting C{stop-grace}."""
        return Deferred.fromCoroutine(self.tunnel.aclose())

    def getHost(self) -> IAddress:
        """The URL's host and port; of a private tunnel its name, and 0."""
        host = urlsplit(self.url).hostname or ""
        address: IAddress = HostnameAddress(host.encode(), _port_of(self.url))
        return address


def _port_of(url: str) -> int:
    """The port where visitors reach it; 0 of a private tunnel."""
    parts = urlsplit(url)
    return parts.port or {"http": 80, "private": 0}.get(parts.scheme, 443)


def _sorted(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The agent's settings, by field name, and the kind's options, by key."""
    flags, given = {}, {}
    for key, value in options.items():
        field, key = key.replace("-", "_"), key.replace("_", "-")
        if field in SETTINGS - {"no_inspect", "inspect_memory"}:
            flags[field] = value
        else:
            given[key] = value
    return {**flags, "no_inspect": True}, given


def _request(kind: str, name: str | None, given: Mapping[str, Any]) -> TunnelRequest:
    """@raise ConfigError: an option is not possible, or about a service that has a port."""
    for each in find_kind(kind).options:
        about_service = each.side is Side.AGENT and each.key not in _FOR_AGENTS
        if (about_service or each == ROUTE) and each.key in given:
            raise ConfigError(
                f"{each.key} is about a service with an address, and a program has none: leave it out"
            )
    return tunnel_request(kind, "unix:/program", name, given, ENDPOINT)
