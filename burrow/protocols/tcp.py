"""The kind "tcp": a public port, each connection to it one to the upstream, byte for byte."""

from __future__ import annotations

from burrow.protocols.kind import TunnelKind


class TcpProtocol(TunnelKind):
    """See L{ITunnelProtocol<burrow.protocols.base.ITunnelProtocol>}."""

    name = "tcp"
    summary = "a TCP port: databases, SSH, anything"
