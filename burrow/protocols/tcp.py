"""The kind "tcp": a public port, each connection to it one to the upstream, byte for byte."""

from __future__ import annotations

import re
from typing import Any, ClassVar
from urllib.parse import urlsplit

from twisted.internet.interfaces import IProtocol, IProtocolFactory

from burrow.errors import ConfigError
from burrow.mux.control import VisitorHead
from burrow.protocols.admission import ALLOW, DENY, Admission
from burrow.protocols.base import AgentTunnel
from burrow.protocols.kind import PORT, TunnelKind
from burrow.protocols.options import KindOption, Side, kind_option
from burrow.protocols.private import PRIVACY
from burrow.protocols.proxy_header import VERSIONS, proxy_header
from burrow.protocols.sharing import SHARE
from burrow.protocols.visitor import VisitorFactory


def _parse_kind(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9]{0,30}", text):
        raise ValueError("write the name of a kind, as in --as redis")
    return text


AS = kind_option(
    "as",
    "ask for a tunnel of this kind, which the server has a plugin for and this machine has not; its bytes go "
    "to the upstream as they are",
    "",
    side=Side.AGENT,
    parse=_parse_kind,
    metavar="KIND",
)

PROXY_PROTOCOL = kind_option(
    "proxy-protocol",
    "tell the service each visitor's address by a header of the PROXY protocol, which it has to expect",
    side=Side.AGENT,
    choices=VERSIONS,
)
"""What goes to an upstream before a visitor's bytes."""


class TcpProtocol(TunnelKind):
    """See L{ITunnelProtocol<burrow.protocols.base.ITunnelProtocol>}."""

    name = "tcp"
    summary = "a TCP port: databases, SSH, anything"
    options: ClassVar[tuple[KindOption, ...]] = (PORT, ALLOW, DENY, PROXY_PROTOCOL, SHARE, AS, *PRIVACY)

    def check_options(self, options: dict[str, Any]) -> None:
        """See L{TunnelKind}: of a kind that is the server's alone, this one's options are not."""
        super().check_options(options)
        for each in self.options:
            own = each not in (PORT, AS, *PRIVACY)
            if own and options.get("as") and options.get(each.key) != each.default:
                raise ConfigError(f"{each.flag} is an option of tunnels of kind tcp: leave it or --as out")
        Admission.check(options)

    def visitor_factory(self, tunnel: Any) -> IProtocolFactory:
        """See L{TunnelKind}."""
        return VisitorFactory(tunnel, self.scheme, Admission(tunnel.options).admits)

    def agent_protocol(self, tunnel: AgentTunnel, head: VisitorHead) -> IProtocol:
        """See L{TunnelKind}."""
        protocol: Any = super().agent_protocol(tunnel, head)
        version = tunnel.options.get("proxy-protocol")
        if version:  # a URL without a port is one of the kind tls
            protocol.first = proxy_header(version, head.visitor, _public_port(tunnel.url))
        made: IProtocol = protocol
        return made


class AsKind(TunnelKind):
    """A kind that is the server's alone. @param name: what the server calls it."""

    summary = "a kind of the server's"

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]


def _public_port(url: str) -> int:
    """The port in a tunnel's URL; 0 without a URL."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "tls" else 0)
