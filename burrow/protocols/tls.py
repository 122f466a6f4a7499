"""The kind "tls": a name on the server's TLS port, whose connections go to the upstream with their TLS."""

from __future__ import annotations

from typing import ClassVar

from burrow.protocols.admission import ALLOW, DENY
from burrow.protocols.base import Reach
from burrow.protocols.options import KindOption
from burrow.protocols.sharing import SHARE
from burrow.protocols.tcp import PROXY_PROTOCOL, TcpProtocol


class TlsProtocol(TcpProtocol):
    """
    See L{ITunnelProtocol<burrow.protocols.base.ITunnelProtocol>}. The upstream has the certificate; the
    server reads the ClientHello, which is in clear, and nothing else.
    """

    name = "tls"
    summary = "a name on the TLS port, whose TLS is the upstream's: its certificate, its ALPN"
    reach = Reach.SNI
    upstream_help = "what to open, which speaks TLS itself: PORT, HOST:PORT or unix:/PATH"
    options: ClassVar[tuple[KindOption, ...]] = (ALLOW, DENY, PROXY_PROTOCOL, SHARE)
